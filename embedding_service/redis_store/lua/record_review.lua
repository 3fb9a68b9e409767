-- Adds one review to a user's state, once.
--
-- KEYS: accumulator, outbox, log, seen, tombstones
-- ARGV: review id, log entry, now in µs, most reviews a user may have, most products to state
-- Returns {outcome, review count, time of the last change in µs, seen products as HGETALL gives them}; the
-- last is empty if nothing changed, or if they are more than that.

local accumulator, outbox, log, seen, tombstones = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local review_id, entry, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
local limit, most_stated = tonumber(ARGV[4]), tonumber(ARGV[5])

local old = redis.call('HGET', log, review_id)
local state = read_state(accumulator)
if old and same_content(old, entry) then
    return { OUTCOME_DUPLICATE, state.count, state.changed, {} }
end
if not old and state.count >= limit then
    return { OUTCOME_FULL, state.count, state.changed, {} }
end

if old then add_vector(state, old, -1) end
add_vector(state, entry, 1)
if not fits(state) then
    return { OUTCOME_FULL, state.count, state.changed, {} }
end
state.changed = next_change(state, now)

-- What a full memory refuses comes first. Added before the old one is subtracted: the product of both stays listed.
local words = {}
local others = add_seen(seen, entry, 1, words) - 1
if old then
    local same = product_of(old) == product_of(entry) and 1 or 0
    others = others - same + add_seen(seen, old, -1, words) - same
end
write_state(accumulator, state, words)
redis.call('ZREM', tombstones, review_id) -- its author has written it again
if others == 0 then -- the usual case: the user has no other review of the product
    if old then push_popularity(outbox, '-', old) end
    push_popularity(outbox, '+', entry)
else
    local products = { [product_of(entry)] = true }
    if old then products[product_of(old)] = true end
    push_recounted(outbox, log, products, { [review_id] = entry })
end
redis.call('HSET', log, review_id, entry)
local outcome = old and OUTCOME_REPLACED or OUTCOME_RECORDED
return { outcome, state.count, state.changed, stated(seen, most_stated) }
