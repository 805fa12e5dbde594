-- Renews our lease, lets go of places that have nothing to do and of what was parked for too long.
-- Returns {whether it was still there, the time, when any lease was renewed before (0: never), how
-- many replicas live, '1' where a dead one may have left places, how many entries are parked, which
-- Redis this is, '1' where it may lack what another one knew, the last time that no lease was renewed
-- for long: its begin, its end ('0': none), '1' where we are to read what was written then; then each
-- place of ours with waiting events, and how many...}.
-- ARGV: 3 lease (ms), 4 how many places to name, 5 how many to look at, 6 how long what is parked is
-- kept (ms), 7 the id of the Redis that we worked with until now ('': none), 8 for how long a clean
-- end counts (ms), 9 '1' where a lease may begin, 10... places we have no use for.

local replaced = ARGV[7] ~= '' and present ~= '' and present ~= ARGV[7]

local lease = redis.call('GET', key('lease', me))
if lease or ARGV[9] == '1' or replaced then
  redis.call('SET', key('lease', me), lease or '', 'PX', ARGV[3])
end
redis.call('SADD', members, me)
for i = 10, #ARGV do
  local place = ARGV[i]
  -- Somebody may have written there since we looked.
  if owner_of(place) == me and not exists(key('active', place), key('pending', place)) then
    redis.call('DEL', key('place', place))
    redis.call('SREM', key('owned', me), place)
  end
end

local time = now()

-- An epoch begins with each Redis that may have lost the last writes of the one before. Where the
-- last replica's last write (release) is still there, so is every earlier one; but not for long, or
-- it is a copy that was put back.
local last, epoch, closed = unpack(redis.call('HMGET', redises, 'id', 'epoch', 'closed'))
local clean = closed and (time - closed) * 1000 < tonumber(ARGV[8])
local lost = replaced
if replaced then
  redis.call('SET', settling, '', 'PX', ARGV[3], 'NX')
end
if not epoch or (last ~= present and present ~= '') then
  if replaced or (epoch and not clean) then
    lost = true
    redis.call('HSET', redises, 'since', time)
  end
  if lost or not epoch then
    redis.call('HINCRBY', redises, 'epoch', 1)
  end
  redis.call('HSET', redises, 'id', present)
end
if closed then
  redis.call('HDEL', redises, 'closed')
end

local before = redis.call('GET', ARGV[1] .. ':renewed') or '0'
redis.call('SET', ARGV[1] .. ':renewed', time)
if tonumber(before) > 0 and (time - before) * 1000 > tonumber(ARGV[3]) then
  local since, done = unpack(redis.call('HMGET', gap, 'since', 'done'))
  redis.call('DEL', gap)
  -- An earlier one that nobody finished reading is part of this one.
  redis.call('HSET', gap, 'since', since and not done and since or before, 'ended', time)
  redis.call('EXPIRE', gap, 6 * 3600)
end
local since, ended, reader, done = unpack(redis.call('HMGET', gap, 'since', 'ended', 'reader', 'done'))
if ended and not done and not alive(reader) then
  reader = me
  redis.call('HSET', gap, 'reader', me)
end

local replicas, vacant = 0, 0
for _, incarnation in ipairs(redis.call('SMEMBERS', members)) do
  if alive(incarnation) then
    replicas = replicas + 1
  else
    vacant = 1
  end
end
local expired = tonumber(time) - ARGV[6] / 1000
for _, id in ipairs(redis.call('ZRANGEBYSCORE', parked_at, '-inf', expired, 'LIMIT', 0, 100)) do
  unpark(id)
end

local answer = { lease and 1 or 0, time, before, replicas, vacant }
answer[6], answer[7], answer[8] = redis.call('ZCARD', parked_at), present, lost and 1 or 0
answer[9], answer[10], answer[11] = since or '0', ended or '0', reader == me and not done and 1 or 0
local told = #answer
for _, place in ipairs(redis.call('ZRANGE', waiting, 0, ARGV[5] - 1)) do
  if owner_of(place) == me then
    -- To the end of the line: a place that stays stuck must not hide the ones behind it.
    redis.call('ZADD', waiting, 'XX', time, place)
    local count = 0
    for _, conversation in ipairs(redis.call('SMEMBERS', key('pending', place))) do
      count = count + redis.call('HLEN', key('lane', conversation))
    end
    answer[#answer + 1] = place
    answer[#answer + 1] = count
    if #answer - told >= 2 * ARGV[4] then
      break
    end
  end
end
return answer
