-- Counts one review of an anonymous name in live popularity, once as long as it is remembered.
--
-- KEYS: what is remembered of the review, outbox
-- ARGV: digest (16 bytes), time in µs (8 bytes) and product as the outbox has them, seconds to remember it
-- Returns 1 new, 2 the same as before, 3 replaced.

local NEW, DUPLICATE, REPLACED = 1, 2, 3
local old = redis.call('GET', KEYS[1])
if old and string.sub(old, 1, 16) == ARGV[1] then
    return DUPLICATE
end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'EX', ARGV[3])
if old then redis.call('RPUSH', KEYS[2], '-a' .. string.sub(old, 17)) end
redis.call('RPUSH', KEYS[2], '+a' .. ARGV[2])
return old and REPLACED or NEW
