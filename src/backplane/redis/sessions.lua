-- Sessions of leased shards, all at once: whoever has an older token than the last that was seen changes nothing.
-- KEYS: sessions, when each was alive, guilds, tokens. ARGV: what to do, milliseconds that all is kept, then see
-- below.
local function seen(shard)
    return tonumber(redis.call('HGET', KEYS[4], shard) or '0')
end

local answer = {}
if ARGV[1] == 'take' then
    -- shard and token of each. Answers the token before, the session, when it was alive, and its guilds.
    for index = 3, #ARGV, 2 do
        local shard, token = ARGV[index], ARGV[index + 1]
        answer[#answer + 1] = redis.call('HGET', KEYS[4], shard) or '0'
        answer[#answer + 1] = redis.call('HGET', KEYS[1], shard) or ''
        answer[#answer + 1] = redis.call('HGET', KEYS[2], shard) or '0'
        answer[#answer + 1] = redis.call('HGET', KEYS[3], shard) or ''
        if seen(shard) < tonumber(token) then
            redis.call('HSET', KEYS[4], shard, token)
        end
    end
else
    -- now, then 'keep', 'forget' or 'alive', shard, token, session, whether there are guilds, guilds of each
    for index = 4, #ARGV, 6 do
        local what, shard, token = ARGV[index], ARGV[index + 1], ARGV[index + 2]
        if seen(shard) <= tonumber(token) then
            redis.call('HSET', KEYS[4], shard, token)
            if what == 'forget' then
                for key = 1, 3 do
                    redis.call('HDEL', KEYS[key], shard)
                end
            else
                redis.call('HSET', KEYS[2], shard, ARGV[3])
            end
            if what == 'keep' then
                redis.call('HSET', KEYS[1], shard, ARGV[index + 3])
                if ARGV[index + 4] == '1' then
                    redis.call('HSET', KEYS[3], shard, ARGV[index + 5])
                end
            end
        end
    end
end
for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, ARGV[2])
end
return answer
