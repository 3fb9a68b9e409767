-- Merges imported reviews into a user's state: a review of an id that is there is replaced exactly, others
-- stay. The same again changes nothing, the state's age included. What has a tombstone is left out.
--
-- KEYS: accumulator, outbox, log, seen, tombstones, ALS record
-- ARGV: sums and count of the imported reviews, ALS vector or none, its origin as the ALS record has it,
--       now in µs, most reviews a user may have, then review id and log entry by turns, at least one
-- Returns 1 if the state changed, 0 if it was there already, -1 if it would have too many reviews.

local accumulator, outbox, log, seen, tombstones, als = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local sums_and_count, als_vector, als_origin = ARGV[1], ARGV[2], ARGV[3]
local now, limit = tonumber(ARGV[4]), tonumber(ARGV[5])
local FIRST, LAST = 6, #ARGV
local imported = (LAST - FIRST + 1) / 2

local function put_als(stamp)
    if als_vector == '' then return end -- for the service to fold in
    redis.call('SET', als, als_vector .. stamp .. als_origin)
end

local function write_review(index, old, words)
    local entry = ARGV[index + 1]
    redis.call('HSET', log, ARGV[index], entry)
    add_seen(seen, entry, 1, words)
    if old then add_seen(seen, old, -1, words) end
end

-- All of them for a user who has none, some hundred reviews at a time, because a call takes only so many
-- arguments. Returns the list of products.
local function write_all()
    local products, reviews, micro_stars, firsts, earliest = {}, {}, {}, {}, {}
    for first = FIRST, LAST, 1000 do
        redis.call('HSET', log, unpack(ARGV, first, math.min(first + 999, LAST)))
    end
    for i = FIRST + 1, LAST, 2 do
        local entry = ARGV[i]
        local product = product_of(entry)
        if not reviews[product] then
            products[#products + 1] = product
            reviews[product], micro_stars[product], firsts[product] = 0, 0, entry
        else
            if reviews[product] == 1 then add_earliest(earliest, firsts[product]) end
            add_earliest(earliest, entry)
        end
        reviews[product] = reviews[product] + 1
        micro_stars[product] = micro_stars[product] + micro_stars_of(entry)
    end
    local entries = {}
    for _, product in ipairs(products) do
        redis.call('HSET', seen, product, pack_seen(reviews[product], micro_stars[product]))
        local entry = firsts[product]
        if reviews[product] == 1 and is_counted(entry) then entries[#entries + 1] = popularity_entry('+', entry) end
    end
    for first = 1, #entries, 1000 do
        redis.call('RPUSH', outbox, unpack(entries, first, math.min(first + 999, #entries)))
    end
    push_missing(outbox, '+', earliest, {})
    local list = table.concat(products, '\0')
    return #list > MAX_LIST_BYTES and live_products(list, KEPT_LIST_BYTES) or list
end

local has_tombstones = redis.call('EXISTS', tombstones) == 1
local logged = redis.call('HLEN', log)
if logged == 0 and not has_tombstones then -- the usual case: nothing to merge with
    if imported > limit then return -1 end
    local stamp = pack_changed(next_change({ changed = 0 }, now))
    redis.call('SET', accumulator, sums_and_count .. stamp .. struct.pack(REMOVED, 0) .. write_all())
    put_als(stamp)
    return 1
end

local deleted = has_tombstones and tombstone_time(tombstones, '', now)
local function is_taken_back(index)
    if not has_tombstones then return false end
    return deleted and time_of(ARGV[index + 1]) <= deleted or tombstone_time(tombstones, ARGV[index], now)
end

local changed, old, new, left_out = {}, {}, 0, 0
for i = FIRST, LAST, 2 do
    local entry = redis.call('HGET', log, ARGV[i])
    if is_taken_back(i) then
        left_out = left_out + 1
    elseif not entry then
        new = new + 1
        changed[#changed + 1] = i
    elseif not same_content(entry, ARGV[i + 1]) then
        old[i] = entry
        changed[#changed + 1] = i
    end
end
if logged + new > limit then return -1 end
local exact = left_out == 0 and logged + new == imported
if #changed == 0 then
    if exact then put_als(redis.call('GETRANGE', accumulator, STAMP_START, STAMP_STOP)) end
    return 0
end

local state = read_state(accumulator)
for _, i in ipairs(changed) do
    if old[i] then add_vector(state, old[i], -1) end
    add_vector(state, ARGV[i + 1], 1)
end
if not fits(state) then return -1 end
state.changed = next_change(state, now)
local products, changes = {}, {}
for _, i in ipairs(changed) do
    changes[ARGV[i]] = ARGV[i + 1]
    products[product_of(ARGV[i + 1])] = true
    if old[i] then products[product_of(old[i])] = true end
end
push_recounted(outbox, log, products, changes)
local words = {}
for _, i in ipairs(changed) do write_review(i, old[i], words) end
write_state(accumulator, state, words)
if exact then put_als(pack_changed(state.changed)) end
return 1
