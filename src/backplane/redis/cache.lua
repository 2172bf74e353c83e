-- One value of the cache. KEYS: its hash. ARGV: what to do, then see below.
local time = redis.call('TIME')
-- Grows over deletes, and over a server that lost everything.
local function next_version(last)
    return string.format('%.0f', math.max(time[1] * 1000000 + time[2], (tonumber(last) or 0) + 1))
end

if ARGV[1] == 'get' then
    local value, version = unpack(redis.call('HMGET', KEYS[1], 'value', 'version'))
    if not value or not version then
        return {}
    end
    return {value, version, tostring(redis.call('PTTL', KEYS[1]))}
elseif ARGV[1] == 'set' then
    -- value, ttl in ms or 0, expected version or -1
    local last = redis.call('HGET', KEYS[1], 'version')
    if ARGV[4] ~= '-1' and ARGV[4] ~= (last or '0') then
        return {'conflict', last or '0'}
    end
    local version = next_version(last)
    redis.call('HSET', KEYS[1], 'value', ARGV[2], 'version', version)
    if ARGV[3] == '0' then
        redis.call('PERSIST', KEYS[1])
    else
        redis.call('PEXPIRE', KEYS[1], ARGV[3])
    end
    return {'done', version, '0'}
elseif ARGV[1] == 'increment' then
    -- by, ttl in ms or 0
    local last = redis.call('HGET', KEYS[1], 'version')
    local value = redis.pcall('HINCRBY', KEYS[1], 'value', ARGV[2])
    if type(value) == 'table' then
        return {'no number', '0'}
    end
    local version = next_version(last)
    redis.call('HSET', KEYS[1], 'version', version)
    if not last and ARGV[3] ~= '0' then
        redis.call('PEXPIRE', KEYS[1], ARGV[3])
    end
    -- As text: Lua would round it.
    return {'done', version, redis.call('HGET', KEYS[1], 'value')}
end
