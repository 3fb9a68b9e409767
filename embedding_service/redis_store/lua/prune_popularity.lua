-- Forgets the counters of early days; what is written of them later is counted no more.
--
-- KEYS: days, floor, then the hashes of the days before the floor
-- ARGV: first day that is counted
-- Returns the number of hashes that were there.

local days, floor, first = KEYS[1], KEYS[2], tonumber(ARGV[1])
local before = redis.call('GET', floor)
if before and tonumber(before) >= first then return 0 end
redis.call('SET', floor, ARGV[1])
redis.call('ZREMRANGEBYSCORE', days, '-inf', '(' .. ARGV[1])
local dropped = 0
for k = 3, #KEYS do dropped = dropped + redis.call('UNLINK', KEYS[k]) end
return dropped
