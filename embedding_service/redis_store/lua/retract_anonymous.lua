-- Takes a remembered review of an anonymous name out of live popularity.
--
-- KEYS: what is remembered of the review, outbox
-- Returns 1 if it was remembered.

local remembered, outbox = KEYS[1], KEYS[2]
local old = redis.call('GET', remembered)
if not old then return 0 end
redis.call('DEL', remembered)
redis.call('RPUSH', outbox, '-' .. KIND_ANONYMOUS .. string.sub(old, DIGEST_BYTES + 1))
return 1
