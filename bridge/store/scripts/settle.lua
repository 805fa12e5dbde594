-- Writes a conversation's state, removes events from its lane and parks what was given up. Returns
-- 0 where we may not, else 1 and how many entries were dropped because too many are parked.
-- ARGV: 3 place, 4 conversation, 5 state, 6 '1' where it is active, 7 '1' where the mark is to go,
-- 8 how long an ended conversation is kept (ms), 9 what is known of it after that ('': nothing),
-- 10 how long that is kept (ms), 11 how many entries may be parked, 12 '1' where the state may lack
-- what another Redis knew, 13 how many entries are to be parked, then id, record and time (Unix
-- seconds) of each; then ids of events.

local place, conversation = ARGV[3], ARGV[4]
if not mine(place) then
  return 0
end

local state = key('conv', conversation)
if ARGV[12] == '1' then
  redis.call('HSET', state, 'state', ARGV[5])
else
  local epoch = redis.call('HGET', redises, 'epoch') or ''
  redis.call('HSET', state, 'state', ARGV[5], 'epoch', epoch)
end
if ARGV[7] == '1' then
  redis.call('HDEL', state, 'mark', 'marked')
end
local empty = drop_events(place, conversation, 14 + 3 * ARGV[13])
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

if ARGV[13] == '0' then
  return 1
end
for i = 14, 13 + 3 * ARGV[13], 3 do
  -- Told again after its answer was lost: what somebody took out meanwhile stays out.
  if not exists(key('seen', 'parked:' .. ARGV[i])) then
    redis.call('HSET', parked, ARGV[i], ARGV[i + 1])
    redis.call('ZADD', parked_at, ARGV[i + 2], ARGV[i])
  end
end
local over = redis.call('ZCARD', parked_at) - ARGV[11]
for _, id in ipairs(over > 0 and redis.call('ZRANGE', parked_at, 0, over - 1) or {}) do
  unpark(id)
end
return 1 + math.max(over, 0)
