-- Renews our lease. Returns {whether it was still there, the time, when any lease was renewed before
-- (0: never), how many replicas live, places with waiting events that are ours or ownerless...}.
-- ARGV: 3 lease (ms), 4 how many places to name, 5 how many to look at.

local held = alive(me)
redis.call('SET', key('lease', me), '', 'PX', ARGV[3])
redis.call('SADD', members, me)

local time = now()
local before = redis.call('GET', ARGV[1] .. ':renewed') or '0'
redis.call('SET', ARGV[1] .. ':renewed', time)
local replicas = 0
for _, incarnation in ipairs(redis.call('SMEMBERS', members)) do
  replicas = replicas + (alive(incarnation) and 1 or 0)
end
local answer = { held and 1 or 0, time, before, replicas }
for _, place in ipairs(redis.call('ZRANGE', waiting, 0, ARGV[5] - 1)) do
  local owner = owner_of(place)
  if owner == me or not alive(owner) then
    -- To the end of the line: a place that stays stuck must not hide the ones behind it.
    redis.call('ZADD', waiting, 'XX', time, place)
    answer[#answer + 1] = place
    if #answer - 4 >= tonumber(ARGV[4]) then
      break
    end
  end
end
return answer
