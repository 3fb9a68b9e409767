-- Gives a lock back, if its owner still has it.
--
-- KEYS: lock
-- ARGV: owner
-- Returns 1 if it was given back.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
