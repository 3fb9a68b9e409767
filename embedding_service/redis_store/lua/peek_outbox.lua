-- The oldest entries of an outbox.
--
-- KEYS: outbox, its position
-- ARGV: most entries to return
-- Returns {number of entries ever taken out before these, entries}.

return { tonumber(redis.call('GET', KEYS[2]) or '0'), redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1) }
