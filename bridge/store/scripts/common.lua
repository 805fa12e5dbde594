-- Stands in front of every script. ARGV[1] is the prefix of all keys, ARGV[2] the caller's
-- incarnation, ARGV[3] (taken out here) the id of the Redis that the caller works with, '' before it
-- knows. Keys are computed here, not declared: there is one primary and no cluster.
-- In a script that writes, the first write is one that Redis refuses when it is out of memory:
-- only the first is checked, so a script happens as a whole or not at all.

local me = ARGV[2]
local working = table.remove(ARGV, 3)

-- The id of the data set: another one after a restart, and on a replica that was promoted. '' where
-- INFO is refused.
local function identity()
  local info = redis.pcall('INFO', 'replication')
  return type(info) == 'string' and string.match(info, 'master_replid:(%w+)') or ''
end

local present = identity()
if working ~= '' and present ~= '' and present ~= working then
  -- Nothing is read or written before the caller has taken back what is its own.
  return redis.error_reply('REPLACED another Redis than before answers')
end

local function key(kind, name)
  return ARGV[1] .. ':' .. kind .. ':' .. name
end

local members = ARGV[1] .. ':members' -- incarnations that may own something
local vacancies = ARGV[1] .. ':vacancies' -- channel: places lost their owner
local redises = ARGV[1] .. ':redis' -- which Redis this was, and how often it was another
local settling = ARGV[1] .. ':settling' -- there while others may have places that we know nothing of
local gap = ARGV[1] .. ':gap' -- hash: the last time in which nobody took events in
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
local function give(place, from, to)
  redis.call('SET', key('place', place), to)
  redis.call('SADD', key('owned', to), place)
  redis.call('SADD', members, to)
  if from and from ~= to then
    redis.call('SREM', key('owned', from), place)
  end
end

local function take(place, from)
  give(place, from, me)
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

-- Whoever owns the place is told of an event for it, and how many wait in its lane, so that one of
-- which the owner was not told is missed at once. Without a living owner the place becomes ours.
-- Returns whether the place is ours, and whether it was not before.
local function tell_owner(place, conversation, record)
  local owner = owner_of(place)
  if alive(owner) then
    if owner ~= me then
      local count = redis.call('HLEN', key('lane', conversation))
      redis.call('PUBLISH', key('owner', owner), count .. ' ' .. conversation .. ' ' .. record)
    end
    return owner == me, false
  end
  if exists(settling) then
    -- Whoever has the place in memory takes it back; else it is claimed, as a dead replica's is.
    if not owner then
      give(place, owner, 'vacant')
    end
    return false, false
  end
  -- Without a lease of ours the place still counts as ownerless, but whoever claims will find it.
  take(place, owner)
  return alive(me), owner ~= me
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
