-- Notes that a post is about to be tried. Returns the time, or 0 where we may not.
-- ARGV: 3 place, 4 conversation, 5 record.

if not mine(ARGV[3]) then
  return 0
end
local time = now()
redis.call('HSET', key('conv', ARGV[4]), 'mark', ARGV[5], 'marked', time)
return time
