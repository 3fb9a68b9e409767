-- A user's accumulator and seen products of one moment.
--
-- KEYS: accumulator, seen
-- Returns {accumulator or nil, seen products as HGETALL gives them}.

return { redis.call('GET', KEYS[1]), redis.call('HGETALL', KEYS[2]) }
