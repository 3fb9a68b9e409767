-- Removes entries that were applied, unless someone else has.
--
-- KEYS: outbox, its position
-- ARGV: position of the oldest entry, number of entries to remove
-- Returns 1 if they were removed.

if tonumber(redis.call('GET', KEYS[2]) or '0') ~= tonumber(ARGV[1]) then return 0 end
redis.call('LTRIM', KEYS[1], ARGV[2], -1)
redis.call('SET', KEYS[2], string.format('%.0f', ARGV[1] + ARGV[2]))
return 1
