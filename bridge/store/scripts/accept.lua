-- Remembers an event and puts it in its lane, once. Returns {what became of it, whether mine}.
-- ARGV: 3 place, 4 conversation, 5 event id, 6 record, 7 '1' where it may open a conversation,
-- 8 how long its keys are remembered (ms), 9... its keys.

local place, conversation, id, record = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local lane, state = key('lane', conversation), key('conv', conversation)
local tombstone = key('tomb', conversation)

local known = false
for i = 9, #ARGV do
  known = known or exists(key('seen', ARGV[i]))
end
local stranger = not known and ARGV[7] ~= '1' and not exists(lane, state, tombstone)

if not known and not stranger then
  redis.call('HSET', lane, id, record)
  redis.call('PERSIST', state)
  redis.call('SADD', key('pending', place), conversation)
  redis.call('ZADD', waiting, 'NX', now(), place)
end
if not stranger then
  for i = 9, #ARGV do
    redis.call('SET', key('seen', ARGV[i]), '', 'NX', 'PX', ARGV[8])
  end
end
if known or stranger then
  return { known and 'repeat' or 'stranger', mine(place) and 1 or 0 }
end

local owner = owner_of(place)
if alive(owner) then
  if owner ~= me then
    redis.call('PUBLISH', key('owner', owner), record)
  end
else
  -- Without a lease of ours the place still counts as ownerless, but whoever claims will find it.
  take(place, owner)
end
return { 'stored', mine(place) and 1 or 0 }
