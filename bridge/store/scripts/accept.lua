-- Remembers an event and puts it in its lane, once. Returns {what became of it, whether mine,
-- whether it was another's or nobody's before, how many events wait in its lane}.
-- ARGV: 3 place, 4 conversation, 5 event id, 6 record, 7 '1' where it may open a conversation,
-- 8 how long its keys are remembered (ms), 9... its keys.

local place, conversation, id, record = ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local known = false
for i = 9, #ARGV do
  known = known or exists(key('seen', ARGV[i]))
end
local lane, state = key('lane', conversation), key('conv', conversation)
local heard_of = exists(lane, state, key('tomb', conversation))
local stranger = not known and ARGV[7] ~= '1' and not heard_of

if not known and not stranger then
  put_in_lane(place, conversation, id, record)
end
if not stranger then
  for i = 9, #ARGV do
    redis.call('SET', key('seen', ARGV[i]), '', 'NX', 'PX', ARGV[8])
  end
end
if known or stranger then
  return { known and 'repeat' or 'stranger', mine(place) and 1 or 0, 0, 0 }
end

local taken = tell_owner(place, conversation, record)
return { 'stored', mine(place) and 1 or 0, taken and 1 or 0, redis.call('HLEN', lane) }
