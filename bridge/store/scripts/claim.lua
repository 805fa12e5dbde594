-- Takes places whose owner's lease is gone. Returns {whether there may be more, places...}.
-- ARGV: 3 how many to take at most, 4 how many to look at, 5 how many one replica may own.
-- A place with nothing to do gets no new owner: it has none until somebody writes there.

if not alive(me) or not staying(me) or exists(settling) then
  return { 0 }
end

-- A fair share of everything that is owned by anybody, dead or alive: whoever asks first must not
-- get all that a dead replica leaves, and together the shares are never less than there is.
local incarnations = redis.call('SMEMBERS', members)
local sharing, total = 0, 0
for _, incarnation in ipairs(incarnations) do
  sharing = sharing + (staying(incarnation) and 1 or 0)
  total = total + redis.call('SCARD', key('owned', incarnation))
end
local own = redis.call('SCARD', key('owned', me))
local share = math.min(math.ceil(total / sharing), tonumber(ARGV[5])) - own
local wanted = math.min(tonumber(ARGV[3]), share)

local answer = { 0 }
local looked = 0
for _, incarnation in ipairs(incarnations) do
  if not alive(incarnation) then
    while exists(key('owned', incarnation)) do
      if #answer - 1 >= wanted or looked >= tonumber(ARGV[4]) then
        answer[1] = share > #answer - 1 and 1 or 0
        return answer
      end
      local place = redis.call('SPOP', key('owned', incarnation))
      looked = looked + 1
      if exists(key('active', place), key('pending', place)) then
        take(place, incarnation)
        answer[#answer + 1] = place
      else
        redis.call('DEL', key('place', place))
      end
    end
    redis.call('SREM', members, incarnation)
  end
end
return answer
