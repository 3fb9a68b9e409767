-- Adds entries of an outbox to the counters, once: only if exactly those before them are applied. What can't be added
-- is left out: nothing is ever added twice because something else failed.
--
-- KEYS: days, positions, changes, floor, then one hash per day
-- ARGV: outbox, position of the first entry, number of entries, most changes to remember, then for each day: day,
--       number of fields, and field and change by turns
-- Returns the position up to which the outbox is applied.

local days, positions, changes, floor = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local outbox, first, entries, most_changes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local applied = tonumber(redis.call('HGET', positions, outbox) or '0')
if applied ~= first then
    return applied
end
local first_day = tonumber(redis.call('GET', floor) or nil)
local made, page = 0, {}

local function push_page()
    if #page > 0 then redis.call('RPUSH', changes, unpack(page)) end
    made, page = made + #page, {}
end

local function add(counters, day, field, change)
    -- It fails at eight million reviews of a product in an hour, where the sum has no room.
    local sum = redis.pcall('HINCRBY', counters, field, change)
    if type(sum) ~= 'number' then return end
    -- The sum may be beyond 2^53, where Lua loses digits; only a true zero reads as zero.
    if sum == 0 then redis.call('HDEL', counters, field) end
    page[#page + 1] = day .. ':' .. change .. ':' .. field
    if #page == 1000 then push_page() end -- a call takes only so many arguments
end

local next_argument = 5
for k = 5, #KEYS do
    local counters, day, fields = KEYS[k], ARGV[next_argument], tonumber(ARGV[next_argument + 1])
    next_argument = next_argument + 2
    for _ = 1, fields do
        if not first_day or tonumber(day) >= first_day then
            add(counters, day, ARGV[next_argument], ARGV[next_argument + 1])
        end
        next_argument = next_argument + 2
    end
    if redis.call('EXISTS', counters) == 1 then
        redis.call('ZADD', days, day, day)
    else
        redis.call('ZREM', days, day)
    end
end
push_page()
if made > 0 then
    redis.call('LTRIM', changes, '-' .. most_changes, -1)
    redis.call('HINCRBY', positions, 'changes', made)
end
redis.call('HSET', positions, outbox, string.format('%.0f', first + entries))
return first + entries
