-- Takes a remembered review of an anonymous name out of live popularity.
--
-- KEYS: what is remembered of the review, outbox, beginning of the names of the numbers counted
-- Returns 1 if it was remembered.

local remembered, outbox, counts = KEYS[1], KEYS[2], KEYS[3]
local old = redis.call('GET', remembered)
if not old then return 0 end
redis.call('DEL', remembered)
forget_anonymous(outbox, counts, old)
return 1
