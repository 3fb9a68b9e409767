-- Counts one review of an anonymous name in live popularity, once as long as it is remembered.
--
-- KEYS: what is remembered of the review, outbox
-- ARGV: digest, time and product as the outbox has them, seconds to remember it
-- Returns the outcome.

local remembered, outbox = KEYS[1], KEYS[2]
local digest, counted, ttl_s = ARGV[1], ARGV[2], ARGV[3]
local old = redis.call('GET', remembered)
if old and string.sub(old, 1, DIGEST_BYTES) == digest then return OUTCOME_DUPLICATE end
redis.call('SET', remembered, digest .. counted, 'EX', ttl_s)
if old then redis.call('RPUSH', outbox, '-' .. KIND_ANONYMOUS .. string.sub(old, DIGEST_BYTES + 1)) end
redis.call('RPUSH', outbox, '+' .. KIND_ANONYMOUS .. counted)
return old and OUTCOME_REPLACED or OUTCOME_RECORDED
