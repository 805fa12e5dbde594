-- Takes places back after Redis was replaced. Returns those that are ours now.
-- ARGV: 3 '1' where nobody can have claimed them meanwhile, 4... places.

local answer = {}
for i = 4, #ARGV do
  local place = ARGV[i]
  local owner = owner_of(place)
  local free = not owner or owner == 'vacant' or (ARGV[3] == '1' and not alive(owner))
  if owner == me or free then
    take(place, owner)
    answer[#answer + 1] = place
  end
end
return answer
