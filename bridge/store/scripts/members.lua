-- Reads what is in any of these sets.
-- ARGV: 3... kind and name of each.

local sets = {}
for i = 3, #ARGV, 2 do
  sets[#sets + 1] = key(ARGV[i], ARGV[i + 1])
end
return redis.call('SUNION', unpack(sets))
