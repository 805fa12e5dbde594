-- Writes a conversation's state and removes events from its lane. Returns 0 where we may not.
-- ARGV: 3 place, 4 conversation, 5 state, 6 '1' where it is active, 7 '1' where the mark is to go,
-- 8 how long an ended conversation is kept (ms), 9 what is known of it after that ('': nothing),
-- 10 how long that is kept (ms), 11... ids of events.

local place, conversation = ARGV[3], ARGV[4]
if not mine(place) then
  return 0
end

local state = key('conv', conversation)
redis.call('HSET', state, 'state', ARGV[5])
if ARGV[7] == '1' then
  redis.call('HDEL', state, 'mark', 'marked')
end
local empty = drop_events(place, conversation, 11)
if ARGV[6] == '1' then
  redis.call('SADD', key('active', place), conversation)
else
  redis.call('SREM', key('active', place), conversation)
end
if empty and ARGV[6] ~= '1' then
  redis.call('PEXPIRE', state, ARGV[8])
  if ARGV[9] ~= '' then
    redis.call('SET', key('tomb', conversation), ARGV[9], 'PX', ARGV[10])
  end
else
  redis.call('PERSIST', state)
end
return 1
