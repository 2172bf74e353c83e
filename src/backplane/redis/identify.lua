-- Judges a claim to identify, and notes it if it is granted: all at once, by the server's clock.
-- KEYS: identifies of the day (by the latest moment at which each may have gone out), how many of the last led
-- to no READY, since when this server knows.
-- ARGV: shard, max_concurrency, window, what the claim takes for unanswered, milliseconds since the day began,
-- session starts that may be used, id (ends with the shard), slack, milliseconds since Discord was asked, session
-- starts left then, and ids of claims that were not used.
-- Answers {0, used today, unanswered}, {1, milliseconds to wait, 0}, {2, unanswered, 0} or {3, 0, 0}: spent.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local shard, concurrency, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local day, slack = 86400000, tonumber(ARGV[8])

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - day)
local unanswered = tonumber(redis.call('GET', KEYS[2]) or '0')
for index = 11, #ARGV do
    if redis.call('ZREM', KEYS[1], ARGV[index]) == 1 and unanswered > 0 then
        unanswered = redis.call('DECR', KEYS[2])
    end
end
local used = redis.call('ZCOUNT', KEYS[1], '(' .. (now - ARGV[5]), '+inf')
if unanswered > tonumber(ARGV[4]) then
    return {2, unanswered, 0}
end
-- A server that knows nothing may have forgotten: whatever went out before is over after one window.
local opens = redis.call('GET', KEYS[3])
if not opens then
    opens = now + window
end
redis.call('SET', KEYS[3], opens, 'PX', day)
opens = math.min(tonumber(opens), now + window)
local newest = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. (now - window), '+inf', 'WITHSCORES')
for index = 1, #newest, 2 do
    local other = tonumber(string.match(newest[index], '(%d+)$'))
    if other % concurrency == shard % concurrency then
        opens = math.max(opens, math.min(tonumber(newest[index + 1]), now + slack) + window)
    end
end
if opens > now then
    return {1, opens - now, 0}
end
if used >= tonumber(ARGV[6]) then
    return {3, 0, 0}
end
if ARGV[9] ~= '' and redis.call('ZCOUNT', KEYS[1], '(' .. (now - ARGV[9]), '+inf') >= tonumber(ARGV[10]) then
    return {3, 0, 0}
end
redis.call('ZADD', KEYS[1], now + slack, ARGV[7])
redis.call('PEXPIRE', KEYS[1], day)
unanswered = redis.call('INCR', KEYS[2])
redis.call('PEXPIRE', KEYS[2], day)
return {0, used + 1, unanswered}
