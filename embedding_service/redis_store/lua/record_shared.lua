-- Counts one review of an anonymous name in live popularity, once as long as it is remembered.
--
-- KEYS: what is remembered of the review, outbox
-- ARGV: digest, time and product as the outbox has them, seconds to remember it
-- Returns the outcome.

local old = redis.call('GET', KEYS[1])
if old and string.sub(old, 1, DIGEST_BYTES) == ARGV[1] then
    return OUTCOME_DUPLICATE
end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'EX', ARGV[3])
if old then redis.call('RPUSH', KEYS[2], '-' .. KIND_ANONYMOUS .. string.sub(old, DIGEST_BYTES + 1)) end
redis.call('RPUSH', KEYS[2], '+' .. KIND_ANONYMOUS .. ARGV[2])
return old and OUTCOME_REPLACED or OUTCOME_RECORDED
