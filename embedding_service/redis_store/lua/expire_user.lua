-- Removes the state of a user who was idle for too long, unless it has changed since that was found.
--
-- KEYS: log, outbox, accumulator, then every other key to delete
-- ARGV: stamp of the state that was found
-- Returns 1 if it was removed.

local log, outbox, accumulator = KEYS[1], KEYS[2], KEYS[3]
if redis.call('GETRANGE', accumulator, STAMP_START, STAMP_STOP) ~= ARGV[1] then return 0 end
forget(log, outbox, { unpack(KEYS, 3) })
return 1
