-- Changes of counters from a position on.
--
-- KEYS: positions, changes
-- ARGV: position, most changes to return
-- Returns the changes; false if those are no longer remembered, or were never made.

local position = tonumber(ARGV[1])
local made = tonumber(redis.call('HGET', KEYS[1], 'changes') or '0')
local first = made - redis.call('LLEN', KEYS[2])
if position < first or position > made then return false end
return redis.call('LRANGE', KEYS[2], position - first, position - first + ARGV[2] - 1)
