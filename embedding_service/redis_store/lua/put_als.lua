-- Stores an ALS record unless the user's state has changed since it was made.
--
-- KEYS: accumulator, ALS record
-- ARGV: stamp of the state that it was made from, ALS record

if redis.call('GETRANGE', KEYS[1], STAMP_START, STAMP_STOP) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
