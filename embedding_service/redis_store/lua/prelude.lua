-- What the scripts that handle log entries have in common, put in front of each of them. The constants that
-- are declared nowhere here (formats, positions, flags, kinds, outcomes) are those of layouts.py, put in
-- front of that.
--
-- The sums are added here and written with one SET rather than with BITFIELD INCRBY: every bound is checked
-- before anything is written, and the append-only file and the replicas get 1.5 kB per review rather than 20
-- kB (docs/adr/0009-sums-in-lua.md).

local MAX_SUM = 2 ^ 31 - 1
local HALF = 2 ^ 32 -- a stamp is read and written in two halves

-- The user's sums, review count, time of the last change in µs, and bytes of the list of products that count no
-- more; zeros for a user without state.
local function read_state(key)
    local raw = redis.call('GETRANGE', key, 0, HEAD_BYTES - 1)
    if #raw < HEAD_BYTES then
        local zeros = {}
        for i = 1, DIM do zeros[i] = 0 end
        return { sums = zeros, count = 0, changed = 0, removed = 0 }
    end
    local sums = { struct.unpack(SUMS, raw) }
    sums[DIM + 1] = nil -- struct.unpack adds the next position
    local count, high, low, removed = struct.unpack(COUNT .. STAMP .. REMOVED, raw, COUNT_FIRST)
    return { sums = sums, count = count, changed = high * HALF + low, removed = removed }
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

-- A list of products in which each stands once and none that was removed; of a list that is too long the newest.
local function live_products(list, limit)
    local words, is_told, kept, bytes = {}, {}, {}, 0
    for word in string.gmatch(list, '[^%z]+') do words[#words + 1] = word end
    for i = #words, 1, -1 do -- the last word about a product holds
        local word = words[i]
        local is_removed = string.byte(word) == REMOVED_CODE
        local product = is_removed and string.sub(word, 2) or word
        if not is_told[product] then
            is_told[product] = true
            bytes = bytes + (is_removed and 0 or #product + 1)
            if not is_removed and bytes <= limit then kept[#kept + 1] = product end
        end
    end
    for i = 1, math.floor(#kept / 2) do kept[i], kept[#kept - i + 1] = kept[#kept - i + 1], kept[i] end
    return table.concat(kept, '\0')
end

-- Writes the state, and adds words to the list of products: ids, with a mark before those that are reviewed no more.
-- A long list is only appended to, so that a user of many products costs no more per change than others; now and then
-- it is written anew without what was removed.
local function write_state(key, state, words)
    local size = math.max(redis.call('STRLEN', key) - HEAD_BYTES, 0)
    local more, removed = table.concat(words, '\0'), state.removed
    for _, word in ipairs(words) do
        if string.byte(word) == REMOVED_CODE then removed = removed + 2 * #word + 1 end
    end
    if size > 0 and more ~= '' then more = '\0' .. more end
    local total = size + #more
    local sums_and_count = struct.pack(SUMS, unpack(state.sums)) .. struct.pack(COUNT, state.count)
    local stamped = sums_and_count .. pack_changed(state.changed)
    if size > SMALL_LIST_BYTES and total <= MAX_LIST_BYTES and 2 * removed <= total then
        redis.call('SETRANGE', key, 0, stamped .. struct.pack(REMOVED, removed))
        if more ~= '' then redis.call('APPEND', key, more) end
        return
    end
    local list = redis.call('GETRANGE', key, HEAD_BYTES, -1) .. more
    if removed > 0 or total > MAX_LIST_BYTES then list = live_products(list, KEPT_LIST_BYTES) end
    redis.call('SET', key, stamped .. struct.pack(REMOVED, 0) .. list)
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

-- Adds (sign 1) or subtracts (sign -1) one review of the entry's product from what the user has seen, and adds to
-- words what the list of products must be told. Returns how many reviews of the product there are then.
local function add_seen(key, entry, sign, words)
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
        words[#words + 1] = string.char(REMOVED_CODE) .. product
    end
    if sign > 0 and reviews == 1 then words[#words + 1] = product end
    return reviews
end

-- Products and sums as HGETALL gives them, unless there are more than so many: then the next look-up folds in.
local function stated(seen, limit)
    if limit <= 0 or redis.call('HLEN', seen) > limit then return {} end
    return redis.call('HGETALL', seen)
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
-- pushed in the same atomic step. A review that was imported without a time is in no counter. Of a user's
-- reviews of one product on one day (UTC) the earliest is counted, so that the counters follow from the logs.
local DAY_US = 86400 * 1000000

local function is_counted(entry)
    return string.byte(entry, FLAGS_FIRST) ~= 0
end

local function popularity_entry(sign, entry)
    return sign .. KIND_NAMED .. string.sub(entry, TIME_FIRST, TIME_LAST) .. product_of(entry)
end

local function push_popularity(outbox, sign, entry)
    if is_counted(entry) then redis.call('RPUSH', outbox, popularity_entry(sign, entry)) end
end

-- Number of the day (UTC) of a time in µs that begins at a byte. Exact: a Lua number holds 53 bits, so that times
-- of later centuries must be divided in two halves.
local function day_at(bytes, first)
    local low, high = struct.unpack(HALVES_OF_TIME, bytes, first)
    local rest = math.fmod(high * HALF, DAY_US)
    return (high * HALF - rest) / DAY_US + math.floor((rest + low) / DAY_US)
end

local function is_earlier(a, b)
    local a_low, a_high = struct.unpack(HALVES_OF_TIME, a, TIME_FIRST)
    local b_low, b_high = struct.unpack(HALVES_OF_TIME, b, TIME_FIRST)
    if a_high ~= b_high then return a_high < b_high end
    return a_low < b_low
end

-- Keeps the entry if it is the earliest of its product and day.
local function add_earliest(earliest, entry)
    if not is_counted(entry) then return end
    local product_and_day = string.format('%.0f:', day_at(entry, TIME_FIRST)) .. product_of(entry)
    local other = earliest[product_and_day]
    if not other or is_earlier(entry, other) then earliest[product_and_day] = entry end
end

-- Pushes each entry of a table that another has no equal of.
local function push_missing(outbox, sign, entries, others)
    for product_and_day, entry in pairs(entries) do
        local other = others[product_and_day]
        if not other or is_earlier(entry, other) or is_earlier(other, entry) then
            push_popularity(outbox, sign, entry)
        end
    end
end

-- Pushes what is counted otherwise when the log changes, by reading all of it; to be called before it does. Only
-- where the user has several reviews of a product does this differ from pushing old and new entries.
--
-- changes: review id → the entry that it will have, or false
-- products: the products of these entries and of those that they replace, each with the value true
local function push_recounted(outbox, log, products, changes)
    local before, after, cursor = {}, {}, '0'
    repeat
        local reply = redis.call('HSCAN', log, cursor, 'COUNT', 1000)
        cursor = reply[1]
        for i = 1, #reply[2], 2 do
            local review_id, entry = reply[2][i], reply[2][i + 1]
            if products[product_of(entry)] then
                add_earliest(before, entry)
                if changes[review_id] == nil then add_earliest(after, entry) end
            end
        end
    until cursor == '0'
    for _, entry in pairs(changes) do
        if entry then add_earliest(after, entry) end
    end
    push_missing(outbox, '-', before, after)
    push_missing(outbox, '+', after, before)
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
    local earliest = {}
    for _, entry in ipairs(redis.call('HVALS', log)) do add_earliest(earliest, entry) end
    push_missing(outbox, '-', earliest, {})
    return redis.call('DEL', log, unpack(others))
end

-- Key and field with the number of an anonymous name's reviews of a product and day that are counted, from time
-- and product as the outbox has them. The key is in the slot of the declared ones.
local function anonymous_count(counts, counted)
    return counts .. string.format('%.0f', day_at(counted, 1)), string.sub(counted, TIME_BYTES + 1)
end

-- Takes what is remembered of an anonymous review out of live popularity, if it was counted.
local function forget_anonymous(outbox, counts, old)
    local counted = string.sub(old, DIGEST_BYTES + 1)
    if counted == '' then return end
    redis.call('RPUSH', outbox, '-' .. KIND_ANONYMOUS .. counted)
    local key, product = anonymous_count(counts, counted)
    -- What an earlier version counted is in no number.
    if redis.call('HEXISTS', key, product) == 1 and redis.call('HINCRBY', key, product, -1) <= 0 then
        redis.call('HDEL', key, product)
    end
end
