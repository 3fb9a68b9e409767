-- Takes a remembered review of an anonymous name out of live popularity.
--
-- KEYS: what is remembered of the review, outbox
-- Returns 1 if it was remembered.

local old = redis.call('GET', KEYS[1])
if not old then return 0 end
redis.call('DEL', KEYS[1])
redis.call('RPUSH', KEYS[2], '-' .. KIND_ANONYMOUS .. string.sub(old, DIGEST_BYTES + 1))
return 1
