-- Takes a lock, or keeps it: whoever has it is named in it.
--
-- KEYS: lock
-- ARGV: owner, how long in ms
-- Returns 1 if the owner has it.

local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
