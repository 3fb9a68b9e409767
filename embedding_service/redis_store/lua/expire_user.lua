-- Removes the state of a user who was idle for too long, unless it has changed since that was found.
--
-- KEYS: log, outbox, accumulator, then every other key to delete
-- ARGV: time of the last change (8 bytes)
-- Returns 1 if it was removed.

local log, outbox, accumulator = KEYS[1], KEYS[2], KEYS[3]
if redis.call('GETRANGE', accumulator, 1540, 1547) ~= ARGV[1] then return 0 end
forget(log, outbox, { unpack(KEYS, 3) })
return 1
