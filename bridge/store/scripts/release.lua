-- Drops our lease: whatever is still ours may be claimed. Notes where no replica is left: then nobody
-- writes any more.

redis.call('DEL', key('lease', me))
redis.call('PUBLISH', vacancies, '')
for _, incarnation in ipairs(redis.call('SMEMBERS', members)) do
  if alive(incarnation) then
    return 1
  end
end
-- Out of memory is no reason to keep the lease.
redis.pcall('HSET', redises, 'closed', now())
return 1
