-- Adds one review to a user's state, once.
--
-- KEYS: accumulator, log, seen
-- ARGV: review id, log entry, now in µs, most reviews a user may have
-- Returns {outcome, review count, time of the last change in µs, seen products as HGETALL gives them}; the last only if something changed.

local NEW, DUPLICATE, REPLACED, FULL = 1, 2, 3, 4
local accumulator, log, seen = KEYS[1], KEYS[2], KEYS[3]
local review_id, entry, now, limit = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

local TIME_GIVEN, DIGEST_GIVEN = 1, 2
local function has(candidate, flag)
    return math.floor(string.byte(candidate, 1) / flag) % 2 == 1
end

-- Two entries from texts are compared by the digest of all that the author wrote. An imported one has no text, so its vector stands for it.
local function same_content(a, b)
    if has(a, DIGEST_GIVEN) and has(b, DIGEST_GIVEN) then
        return string.sub(a, 14, 29) == string.sub(b, 14, 29)
    end
    if has(a, TIME_GIVEN) ~= has(b, TIME_GIVEN) then return false end
    if has(a, TIME_GIVEN) and string.sub(a, 2, 9) ~= string.sub(b, 2, 9) then return false end
    return string.sub(a, 10, 13) == string.sub(b, 10, 13) and string.sub(a, VECTOR_AT) == string.sub(b, VECTOR_AT)
end

local old = redis.call('HGET', log, review_id)
local state = read_state(accumulator)
if old and same_content(old, entry) then
    return { DUPLICATE, state.count, state.changed, {} }
end
if not old and state.count >= limit then
    return { FULL, state.count, state.changed, {} }
end

if old then add_vector(state, old, -1) end
add_vector(state, entry, 1)
if not fits(state) then
    return { FULL, state.count, state.changed, {} }
end
state.changed = next_change(state, now)

write_state(accumulator, state)
redis.call('HSET', log, review_id, entry)
if old then add_seen(seen, old, -1) end
add_seen(seen, entry, 1)
return { old and REPLACED or NEW, state.count, state.changed, redis.call('HGETALL', seen) }
