-- Takes places whose owner's lease is gone. Returns {whether there may be more, places...}.
-- ARGV: 3 how many to take at most, 4 how many to look at.
-- A place with nothing to do gets no new owner: it has none until somebody writes there.

if not alive(me) then
  return { 0 }
end

local answer = { 0 }
local looked = 0
for _, incarnation in ipairs(redis.call('SMEMBERS', members)) do
  if incarnation ~= me and not alive(incarnation) then
    while true do
      if #answer - 1 >= tonumber(ARGV[3]) or looked >= tonumber(ARGV[4]) then
        answer[1] = 1
        return answer
      end
      local place = redis.call('SPOP', key('owned', incarnation))
      if not place then
        redis.call('SREM', members, incarnation)
        break
      end
      looked = looked + 1
      if exists(key('active', place), key('pending', place)) then
        take(place, incarnation)
        answer[#answer + 1] = place
      else
        redis.call('DEL', key('place', place))
      end
    end
  end
end
return answer
