-- Takes the products out of an ALS record of schema version 2.
--
-- KEYS: ALS record
-- Returns 1 if it had some.

if redis.call('STRLEN', KEYS[1]) <= ALS_BYTES then return 0 end
redis.call('SET', KEYS[1], redis.call('GETRANGE', KEYS[1], 0, ALS_BYTES - 1))
return 1
