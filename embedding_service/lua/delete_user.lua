-- Forgets a user in one encoder's space.
--
-- KEYS: log, outbox, then every other key to delete
-- Returns the number of keys that were there.

local log, outbox = KEYS[1], KEYS[2]
for _, entry in ipairs(redis.call('HVALS', log)) do
    push_popularity(outbox, '-', entry)
end
local deleted = redis.call('DEL', log)
for i = 3, #KEYS do deleted = deleted + redis.call('DEL', KEYS[i]) end
return deleted
