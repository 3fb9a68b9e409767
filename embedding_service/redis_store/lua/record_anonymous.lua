-- Counts one review of an anonymous name in live popularity, once as long as it is remembered, and only while fewer
-- than so many of its product and day are counted.
--
-- KEYS: what is remembered of the review, outbox, beginning of the names of the numbers counted
-- ARGV: digest, time and product as the outbox has them, seconds to remember it, most that count
-- Returns the outcome.

local remembered, outbox, counts = KEYS[1], KEYS[2], KEYS[3]
local digest, counted, ttl_s, limit = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local old = redis.call('GET', remembered)
if old and string.sub(old, 1, DIGEST_BYTES) == digest then return OUTCOME_DUPLICATE end
if old then forget_anonymous(outbox, counts, old) end
local key, product = anonymous_count(counts, counted)
if tonumber(redis.call('HGET', key, product) or '0') < limit then
    redis.call('HINCRBY', key, product, 1)
    redis.call('RPUSH', outbox, '+' .. KIND_ANONYMOUS .. counted)
else
    counted = '' -- it is remembered as one that does not count
end
redis.call('EXPIRE', key, ttl_s)
redis.call('SET', remembered, digest .. counted, 'EX', ttl_s)
return old and OUTCOME_REPLACED or OUTCOME_RECORDED
