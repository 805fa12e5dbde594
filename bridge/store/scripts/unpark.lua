-- Takes an entry out of the parked ones and, to have it tried again, puts it into its lane. Returns
-- 0 where it is not there as it was read.
-- ARGV: 3 id, 4 the record that was read, 5 how long its id is remembered (ms); to try it again
-- further 6 place, 7 conversation, 8 event id, 9 event.

local id, place = ARGV[3], ARGV[6]
if redis.call('HGET', parked, id) ~= ARGV[4] then
  return 0
end
if place then
  put_in_lane(place, ARGV[7], ARGV[8], ARGV[9])
end
redis.call('SET', key('seen', 'parked:' .. id), '', 'PX', ARGV[5])
unpark(id)
if place then
  tell_owner(place, ARGV[7], ARGV[9])
end
return 1
