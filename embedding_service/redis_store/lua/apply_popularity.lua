-- Adds entries of an outbox to the counters, once: only if exactly those before them are applied.
--
-- KEYS: days, positions, then one hash per day
-- ARGV: outbox, position of the first entry, number of entries, then for each day: day, number of fields, and
--       field and change by turns
-- Returns the position up to which the outbox is applied.

local days, positions = KEYS[1], KEYS[2]
local outbox, first, entries = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local applied = tonumber(redis.call('HGET', positions, outbox) or '0')
if applied ~= first then
    return applied
end
local next_argument = 4
for k = 3, #KEYS do
    local counters, day, fields = KEYS[k], ARGV[next_argument], tonumber(ARGV[next_argument + 1])
    next_argument = next_argument + 2
    for _ = 1, fields do
        local field, change = ARGV[next_argument], ARGV[next_argument + 1]
        next_argument = next_argument + 2
        -- The sum may be beyond 2^53, where Lua loses digits; only a true zero reads as zero.
        if redis.call('HINCRBY', counters, field, change) == 0 then redis.call('HDEL', counters, field) end
    end
    if redis.call('EXISTS', counters) == 1 then
        redis.call('ZADD', days, day, day)
    else
        redis.call('ZREM', days, day)
    end
end
redis.call('HSET', positions, outbox, string.format('%.0f', first + entries))
return first + entries
