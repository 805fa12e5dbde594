-- Reads conversations of one place as of one moment. Returns {the epoch, when it began, '1' where the
-- place is ours, then for each its state's fields, its lane's (both as in HGETALL), and its
-- tombstone...}.
-- ARGV: 3 place, 4... conversations.

local epoch, since = unpack(redis.call('HMGET', redises, 'epoch', 'since'))
local answer = { epoch or '', since or '0', mine(ARGV[3]) and 1 or 0 }
for i = 4, #ARGV do
  answer[#answer + 1] = redis.call('HGETALL', key('conv', ARGV[i]))
  answer[#answer + 1] = redis.call('HGETALL', key('lane', ARGV[i]))
  answer[#answer + 1] = redis.call('GET', key('tomb', ARGV[i]))
end
return answer
