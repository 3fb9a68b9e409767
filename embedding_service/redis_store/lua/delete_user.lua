-- Forgets a user in one encoder's space, and leaves a tombstone, so that no import brings back what was
-- written before.
--
-- KEYS: log, outbox, tombstones, then every other key to delete
-- ARGV: now in µs
-- Returns the number of keys that were deleted.

local log, outbox, tombstones = KEYS[1], KEYS[2], KEYS[3]
add_tombstone(tombstones, '', tonumber(ARGV[1]))
return forget(log, outbox, { unpack(KEYS, 4) })
