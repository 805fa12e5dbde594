-- Removes events, and the conversation too if none are left. Returns 0 where we may not.
-- ARGV: 3 place, 4 conversation, 5... ids of events.

local place, conversation = ARGV[3], ARGV[4]
if not mine(place) then
  return 0
end
if drop_events(place, conversation, 5) then
  redis.call('DEL', key('conv', conversation))
  redis.call('SREM', key('active', place), conversation)
end
return 1
