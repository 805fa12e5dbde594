-- Drops our lease: whatever is still ours may be claimed.

redis.call('DEL', key('lease', me))
redis.call('PUBLISH', vacancies, '')
return 1
