-- Stores an ALS record unless the user's state has changed since it was made.
--
-- KEYS: accumulator, ALS record
-- ARGV: stamp of the state that it was made from, ALS record
-- Returns 1 if it was stored.

local accumulator, als = KEYS[1], KEYS[2]
if redis.call('GETRANGE', accumulator, STAMP_START, STAMP_STOP) ~= ARGV[1] then return 0 end
redis.call('SET', als, ARGV[2])
return 1
