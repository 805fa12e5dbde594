-- Stands in front of every script. ARGV[1] is the prefix of all keys, ARGV[2] the caller's
-- incarnation. Keys are computed here, not declared: there is one primary and no cluster.
-- In a script that writes, the first write is one that Redis refuses when it is out of memory:
-- only the first is checked, so a script happens as a whole or not at all.

local me = ARGV[2]

local function key(kind, name)
  return ARGV[1] .. ':' .. kind .. ':' .. name
end

local members = ARGV[1] .. ':members' -- incarnations that may own something
local vacancies = ARGV[1] .. ':vacancies' -- channel: places lost their owner
local waiting = ARGV[1] .. ':waiting' -- places with lane events, by when they were last told of

local function exists(...)
  return redis.call('EXISTS', ...) > 0
end

local function alive(incarnation)
  return incarnation and exists(key('lease', incarnation))
end

-- A replica that is stopping lives, and works what it still has, but takes nothing new.
local function staying(incarnation)
  return redis.call('GET', key('lease', incarnation)) == ''
end

local function owner_of(place)
  return redis.call('GET', key('place', place))
end

local function mine(place)
  return owner_of(place) == me and alive(me)
end

-- A place is in the set of exactly the incarnation that it names as its owner.
local function take(place, from)
  redis.call('SET', key('place', place), me)
  redis.call('SADD', key('owned', me), place)
  redis.call('SADD', members, me)
  if from and from ~= me then
    redis.call('SREM', key('owned', from), place)
  end
end

local function now()
  local time = redis.call('TIME')
  return time[1] .. '.' .. string.format('%06d', tonumber(time[2]))
end

local function put_in_lane(place, conversation, id, record)
  redis.call('HSET', key('lane', conversation), id, record)
  redis.call('PERSIST', key('conv', conversation))
  redis.call('SADD', key('pending', place), conversation)
  redis.call('ZADD', waiting, 'NX', now(), place)
end

-- Whoever owns the place is told of an event for it; without a living owner it becomes ours.
local function tell_owner(place, record)
  local owner = owner_of(place)
  if alive(owner) then
    if owner ~= me then
      redis.call('PUBLISH', key('owner', owner), record)
    end
  else
    -- Without a lease of ours the place still counts as ownerless, but whoever claims will find it.
    take(place, owner)
  end
end

local parked = ARGV[1] .. ':parked' -- hash: id -> sealed entry
local parked_at = ARGV[1] .. ':parked_at' -- sorted set of their ids by time

local function unpark(id)
  redis.call('ZREM', parked_at, id)
  return redis.call('HDEL', parked, id)
end

local function drop_events(place, conversation, first)
  local lane = key('lane', conversation)
  for i = first, #ARGV do
    redis.call('HDEL', lane, ARGV[i])
  end
  local empty = not exists(lane)
  if empty then
    redis.call('SREM', key('pending', place), conversation)
    if not exists(key('pending', place)) then
      redis.call('ZREM', waiting, place)
    end
  end
  return empty
end
