-- The days that have counters, or the counters of one day, and the position in the changes that they are of.
--
-- KEYS: positions, days, and the hash of a day if that is wanted
-- Returns {number of changes ever remembered, days or the hash as HGETALL gives it}.

local position = tonumber(redis.call('HGET', KEYS[1], 'changes') or '0')
if #KEYS == 3 then return { position, redis.call('HGETALL', KEYS[3]) } end
return { position, redis.call('ZRANGE', KEYS[2], 0, -1) }
