-- What the scripts that handle log entries have in common, put in front of each of them. The constants that
-- are declared nowhere here (formats, positions, flags, kinds, outcomes) are those of layouts.py, put in
-- front of that.
--
-- The sums are added here and written with one SET rather than with BITFIELD INCRBY: every bound is checked
-- before anything is written, and the append-only file and the replicas get 1.5 kB per review rather than 20
-- kB (docs/adr/0009-sums-in-lua.md).

local MAX_SUM = 2 ^ 31 - 1
local HALF = 2 ^ 32 -- a stamp is read and written in two halves

-- The user's sums, review count and time of the last change in µs; zeros for a user without state.
local function read_state(key)
    local raw = redis.call('GET', key)
    if not raw then
        local zeros = {}
        for i = 1, DIM do zeros[i] = 0 end
        return { sums = zeros, count = 0, changed = 0 }
    end
    local sums = { struct.unpack(SUMS, raw) }
    sums[DIM + 1] = nil -- struct.unpack adds the next position
    local count, high, low = struct.unpack(COUNT .. STAMP, raw, COUNT_FIRST)
    return { sums = sums, count = count, changed = high * HALF + low }
end

local function pack_changed(changed)
    return struct.pack(STAMP, math.floor(changed / HALF), changed % HALF)
end

-- Strictly later than the last change, so that it also serves as the state's version, whatever the callers'
-- clocks say.
local function next_change(state, now)
    return math.max(state.changed + 1, now)
end

-- Adds (sign 1) or subtracts (sign -1) an entry's vector. Nothing is written.
local function add_vector(state, entry, sign)
    local sums, vector = state.sums, { struct.unpack(VECTOR, entry, VECTOR_FIRST) }
    for i = 1, DIM do sums[i] = sums[i] + sign * vector[i] end
    state.count = state.count + sign
end

local function fits(state)
    for i = 1, DIM do
        if state.sums[i] > MAX_SUM or state.sums[i] < -MAX_SUM then return false end
    end
    return true
end

local function write_state(key, state)
    local sums_and_count = struct.pack(SUMS, unpack(state.sums)) .. struct.pack(COUNT, state.count)
    redis.call('SET', key, sums_and_count .. pack_changed(state.changed))
end

local function product_of(entry)
    return string.sub(entry, PRODUCT_FIRST)
end

local function micro_stars_of(entry)
    return (struct.unpack(RATING, entry, RATING_FIRST))
end

local function pack_seen(reviews, micro_stars)
    return string.format('%.0f:%.0f', reviews, micro_stars)
end

-- Adds (sign 1) or subtracts (sign -1) one review of the entry's product from what the user has seen.
local function add_seen(key, entry, sign)
    local product = product_of(entry)
    local reviews, micro_stars = 0, 0
    local old = redis.call('HGET', key, product)
    if old then
        reviews, micro_stars = string.match(old, '^(%d+):(%d+)$') -- Lua reads them as numbers below
    end
    reviews = reviews + sign
    micro_stars = micro_stars + sign * micro_stars_of(entry)
    if reviews > 0 then
        redis.call('HSET', key, product, pack_seen(reviews, micro_stars))
    else
        redis.call('HDEL', key, product)
    end
end

local function has(entry, flag)
    return math.floor(string.byte(entry, FLAGS_FIRST) / flag) % 2 == 1
end

-- Two entries from texts are compared by the digest of all that the author wrote. An imported one has no
-- text, so its vector stands for it.
local function same_content(a, b)
    if a == b then return true end
    local function same(first, last)
        return string.sub(a, first, last) == string.sub(b, first, last)
    end
    if has(a, DIGEST_GIVEN) and has(b, DIGEST_GIVEN) then return same(DIGEST_FIRST, DIGEST_LAST) end
    if has(a, TIME_GIVEN) ~= has(b, TIME_GIVEN) then return false end
    if has(a, TIME_GIVEN) and not same(TIME_FIRST, TIME_LAST) then return false end
    return same(RATING_FIRST, RATING_LAST) and same(VECTOR_FIRST, -1)
end

-- Live popularity follows by the outbox: what a review adds to its product's counter or takes from it is
-- pushed in the same atomic step. A review that was imported without a time is in no counter.
local function is_counted(entry)
    return string.byte(entry, FLAGS_FIRST) ~= 0
end

local function popularity_entry(sign, entry)
    return sign .. KIND_NAMED .. string.sub(entry, TIME_FIRST, TIME_LAST) .. product_of(entry)
end

local function push_popularity(outbox, sign, entry)
    if is_counted(entry) then redis.call('RPUSH', outbox, popularity_entry(sign, entry)) end
end

local function time_of(entry)
    return (struct.unpack(TIME, entry, TIME_FIRST))
end

-- Tombstones remember what was taken back, so that an import of an older file does not bring it back: review
-- id → time in µs, and under the empty id, which no review has, the time of the user's deletion.
local TOMBSTONE_TTL_US, MAX_TOMBSTONES = 90 * 86400 * 1000000, 10000
local function add_tombstone(tombstones, review_id, now)
    redis.call('ZADD', tombstones, string.format('%.0f', now), review_id)
    redis.call('ZREMRANGEBYSCORE', tombstones, '-inf', string.format('%.0f', now - TOMBSTONE_TTL_US))
    redis.call('ZREMRANGEBYRANK', tombstones, 0, -MAX_TOMBSTONES - 1)
    redis.call('PEXPIRE', tombstones, TOMBSTONE_TTL_US / 1000)
end

-- When a review was retracted, or its user deleted, if that is still remembered; otherwise nil or false.
local function tombstone_time(tombstones, review_id, now)
    local since = tonumber(redis.call('ZSCORE', tombstones, review_id) or nil)
    return since and since > now - TOMBSTONE_TTL_US and since
end

-- Removes a user's state in one encoder's space, and its reviews from live popularity.
local function forget(log, outbox, others)
    for _, entry in ipairs(redis.call('HVALS', log)) do push_popularity(outbox, '-', entry) end
    return redis.call('DEL', log, unpack(others))
end
