-- The records of the workers that are there. KEYS: records by worker, when each ends.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local records = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now, '+inf')) do
    local record = redis.call('HGET', KEYS[1], worker)
    if record then
        records[#records + 1] = record
    end
end
return records
