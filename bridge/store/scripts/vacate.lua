-- Gives places of ours back, for anybody to claim; from then on we claim nothing.
-- ARGV: 3... places.

redis.call('SET', key('lease', me), 'leaving', 'XX', 'KEEPTTL')
local any = false
for i = 3, #ARGV do
  local place = ARGV[i]
  if owner_of(place) == me then
    -- Nobody lives by this name, so what it owns is claimed as a dead replica's is.
    redis.call('SET', key('place', place), 'vacant')
    redis.call('SMOVE', key('owned', me), key('owned', 'vacant'), place)
    redis.call('SADD', members, 'vacant')
    any = true
  end
end
if any then
  redis.call('PUBLISH', vacancies, '')
end
return 1
