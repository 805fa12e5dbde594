-- Remembers an event and puts it in its lane, once. Returns {what became of it, whether mine,
-- whether it was another's or nobody's before, how many events wait in its lane}.
-- ARGV: 3 place, 4 conversation, 5 event id, 6 record, 7 '1' where it may open a conversation,
-- 8 how long its keys are remembered (ms), 9... its keys.

local place, conversation, id, record = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
-- An hour (ms): what opens the conversation may come as late as Slack's last try.
local STRANGER_MS = 3600000

local seen = {}
for i = 9, #ARGV do
  seen[#seen + 1] = key('seen', ARGV[i])
end
local known = exists(unpack(seen))
local lane = key('lane', conversation)
local function heard_of()
  return exists(lane, key('conv', conversation), key('tomb', conversation))
end
if not known and ARGV[7] ~= '1' and not heard_of() then
  redis.call('SET', key('stranger', conversation), '', 'PX', STRANGER_MS)
  return { 'stranger', mine(place) and 1 or 0, 0, 0 }
end

if not known then
  put_in_lane(place, conversation, id, record)
end
for _, name in ipairs(seen) do
  redis.call('SET', name, '', 'NX', 'PX', ARGV[8])
end
if known then
  return { 'repeat', mine(place) and 1 or 0, 0, 0 }
end

local ours, taken = tell_owner(place, conversation, record)
return { 'stored', ours and 1 or 0, taken and 1 or 0, redis.call('HLEN', lane) }
