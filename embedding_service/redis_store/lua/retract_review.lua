-- Takes one review back, and leaves a tombstone. A user whose last review it was has no state afterwards.
--
-- KEYS: accumulator, outbox, log, seen, tombstones, ALS record
-- ARGV: review id, now in µs, most products to state
-- Returns {1 if the review was there, review count, time of the last change in µs, seen products as HGETALL
-- gives them, none if they are more than that}.

local accumulator, outbox, log, seen, tombstones, als = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local review_id, now, most_stated = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local old = redis.call('HGET', log, review_id)
local state = read_state(accumulator)
if not old then
    return { 0, state.count, state.changed, {} }
end
add_tombstone(tombstones, review_id, now)
if state.count <= 1 then
    push_popularity(outbox, '-', old)
    redis.call('DEL', accumulator, log, seen, als)
    return { 1, 0, 0, {} }
end
add_vector(state, old, -1)
state.changed = next_change(state, now)
local words = {}
local others = add_seen(seen, old, -1, words)
write_state(accumulator, state, words)
if others == 0 then
    push_popularity(outbox, '-', old)
else
    push_recounted(outbox, log, { [product_of(old)] = true }, { [review_id] = false })
end
redis.call('HDEL', log, review_id)
return { 1, state.count, state.changed, stated(seen, most_stated) }
