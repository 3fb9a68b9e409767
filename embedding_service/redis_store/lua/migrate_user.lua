-- Brings a user's accumulator of schema version 2 to version 3, which has the list of products.
--
-- KEYS: accumulator, seen
-- Returns 1 if it was of version 2.

local accumulator, seen = KEYS[1], KEYS[2]
if redis.call('STRLEN', accumulator) ~= STAMPED_BYTES then return 0 end
local products = redis.call('HKEYS', seen)
table.sort(products)
local list = table.concat(products, '\0')
if #list > MAX_LIST_BYTES then list = live_products(list, KEPT_LIST_BYTES) end
redis.call('APPEND', accumulator, struct.pack(REMOVED, 0) .. list)
return 1
