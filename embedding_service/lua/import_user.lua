-- Replaces a user's whole state. The same state again changes nothing, its age included.
--
-- KEYS: accumulator, log, seen, ALS vector
-- ARGV: sums and review count (1,540 bytes), ALS vector (256 bytes), ALS origin (1 byte), now in µs, then review id and log entry by turns
-- Returns 1 if anything but the ALS vector changed.

local accumulator, log, seen, als = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local sums_and_count, als_vector, als_origin, now = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local FIRST = 5

local function is_there()
    if redis.call('GETRANGE', accumulator, 0, #sums_and_count - 1) ~= sums_and_count then return false end
    if redis.call('HLEN', log) ~= (#ARGV - FIRST + 1) / 2 then return false end
    for i = FIRST, #ARGV, 2 do
        if redis.call('HGET', log, ARGV[i]) ~= ARGV[i + 1] then return false end
    end
    return true
end

if #ARGV < FIRST then -- no review, no state
    redis.call('DEL', accumulator, log, seen, als)
    return 1
end
if is_there() then
    redis.call('SET', als, als_vector .. redis.call('GETRANGE', accumulator, #sums_and_count, -1) .. als_origin)
    return 0
end

local changed = pack_changed(next_change(read_state(accumulator), now))
redis.call('DEL', log, seen)
for i = FIRST, #ARGV, 2 do
    redis.call('HSET', log, ARGV[i], ARGV[i + 1])
    add_seen(seen, ARGV[i + 1], 1)
end
redis.call('SET', accumulator, sums_and_count .. changed)
redis.call('SET', als, als_vector .. changed .. als_origin)
return 1
