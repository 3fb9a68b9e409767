-- All of a user's state in one encoder's space, of one moment.
--
-- KEYS: accumulator, log, seen
-- Returns {accumulator or nil, log as HGETALL gives it, seen products as HGETALL gives them}.

return { redis.call('GET', KEYS[1]), redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3]) }
