-- Stores an ALS record unless the user's state has changed since it was made.
--
-- KEYS: accumulator, ALS record
-- ARGV: time of the change that it was made from (8 bytes), ALS record

if redis.call('GETRANGE', KEYS[1], 1540, 1547) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
