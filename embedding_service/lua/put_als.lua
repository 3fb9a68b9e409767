-- Stores an ALS vector unless the user's state has changed since it was folded in.
--
-- KEYS: accumulator, ALS vector
-- ARGV: time of the change that the vector was made from (8 bytes), ALS record (265 bytes)

if redis.call('GETRANGE', KEYS[1], 1540, 1547) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
