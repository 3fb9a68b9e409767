-- Forgets a user in one encoder's space, and remembers that, so that no import brings back what was written before.
--
-- KEYS: log, outbox, what is remembered, then every other key to delete
-- ARGV: now in µs
-- Returns the number of keys that were there.

local log, outbox, gone = KEYS[1], KEYS[2], KEYS[3]
remember_gone(gone, '', tonumber(ARGV[1]))
return forget(log, outbox, { unpack(KEYS, 4) })
