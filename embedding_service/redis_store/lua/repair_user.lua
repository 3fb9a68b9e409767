-- Makes a user's accumulator and seen products those of the log.
--
-- KEYS: accumulator, log, seen
-- ARGV: now in µs
-- Returns the number of reviews in the log.

local accumulator, log, seen = KEYS[1], KEYS[2], KEYS[3]
local entries = redis.call('HVALS', log)
local is_whole = redis.call('STRLEN', accumulator) >= HEAD_BYTES
local changed = is_whole and read_state(accumulator).changed or 0
redis.call('DEL', accumulator, seen)
if #entries == 0 then return 0 end
local state, words = read_state(accumulator), {}
for _, entry in ipairs(entries) do
    add_vector(state, entry, 1)
    add_seen(seen, entry, 1, words)
end
state.changed = next_change({ changed = changed }, tonumber(ARGV[1]))
write_state(accumulator, state, words)
return #entries
