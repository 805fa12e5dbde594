-- Notes that the channels were read after a time in which nobody took events in.
-- ARGV: 3 when that ended.

if redis.call('HGET', gap, 'ended') == ARGV[3] then
  redis.call('HSET', gap, 'done', 1)
end
return 1
