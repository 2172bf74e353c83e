-- Leases: who runs which shard, until when. All at once, by the server's clock.
-- KEYS: leases by shard ("TOKEN UNTIL WORKER"; "-" is nobody), workers ("UNTIL TOTAL SHARES WHEREABOUTS"), since
-- when this server grants, the last token.
-- ARGV: what to do, the worker, then see below.
local op, worker = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)
local day = 86400000

local function text(number)
    return string.format('%.0f', number)
end
local function lease(shard)
    local found = redis.call('HGET', KEYS[1], shard)
    if found then
        local token, ends, holder = string.match(found, '^(%d+) (%d+) (%S+)$')
        return token, tonumber(ends), holder
    end
end

if op == 'release' then
    -- '1' if the worker leaves, then shard and token of each
    for index = 4, #ARGV, 2 do
        local token, _, holder = lease(ARGV[index])
        if holder == worker and token == ARGV[index + 1] then
            redis.call('HSET', KEYS[1], ARGV[index], token .. ' 0 -')
        end
    end
    if ARGV[3] == '1' then
        redis.call('HDEL', KEYS[2], worker)
    end
    return {}
end

-- hold: whereabouts, total, TTL, 'share', 'join' or 'these', number of what is held, shard and token of each,
-- number of what is wanted, each, and workers that are gone.
-- Answers {'total', other}, or {share, workers, milliseconds until the next lease of another ends or 0, number of
-- what is held, shard and token of each, then shard, worker and whereabouts of what others hold}.
local where, total, ttl, wants = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local shares = wants ~= 'these'
local workers = {}
local all = redis.call('HGETALL', KEYS[2])
for index = 1, #all, 2 do
    local ends, its_total, its_shares, its_where = string.match(all[index + 1], '^(%d+) (%d+) ([01]) (.*)$')
    if not ends or tonumber(ends) <= now then
        redis.call('HDEL', KEYS[2], all[index])
    else
        if shares and its_shares == '1' and all[index] ~= worker and tonumber(its_total) ~= total then
            return {'total', its_total}
        end
        workers[all[index]] = {shares = its_shares == '1', where = its_where}
    end
end
workers[worker] = {shares = shares, where = where}
redis.call('HSET', KEYS[2], worker, text(now + ttl) .. ' ' .. total .. (shares and ' 1 ' or ' 0 ') .. where)
redis.call('PEXPIRE', KEYS[2], day)

-- A server that knows nothing may have forgotten: until then those who hold something can say so.
local since = redis.call('GET', KEYS[3])
if not since then
    since = now + ttl
end
redis.call('SET', KEYS[3], text(math.min(tonumber(since), now + ttl)), 'PX', day)
local grants = not shares or tonumber(since) <= now

local rows = {}
all = redis.call('HGETALL', KEYS[1])
for index = 1, #all, 2 do
    local token, ends, holder = string.match(all[index + 1], '^(%d+) (%d+) (%S+)$')
    rows[tonumber(all[index])] = {token = token, ends = tonumber(ends), holder = holder}
end
local last = tonumber(redis.call('GET', KEYS[4]) or '0')
local held, count = {}, 0
local function write(shard, token)
    redis.call('HSET', KEYS[1], shard, token .. ' ' .. text(now + ttl) .. ' ' .. worker)
    rows[shard] = {token = token, ends = now + ttl, holder = worker}
    held[shard] = token
    count = count + 1
    last = math.max(last, tonumber(token))
end
local next_index = 8 + 2 * ARGV[7]
for index = 8, next_index - 1, 2 do
    local shard, row = tonumber(ARGV[index]), rows[tonumber(ARGV[index])]
    if (row and row.holder == worker and row.token == ARGV[index + 1]) or (not row and shard < total) then
        write(shard, ARGV[index + 1])
    end
end

-- What the worker does not know that it holds was granted in an answer that it has not heard.
local function is_free(shard)
    local row = rows[shard]
    return not row or row.ends <= now or (row.holder == worker and not held[shard])
end
local function grant(shard)
    last = math.max(now_us, last + 1)
    write(shard, text(last))
end

local share, sharers, taken = 0, 0, {}
if shares then
    local pool, order = total, {}
    for name, its in pairs(workers) do
        its.count = 0
    end
    for shard, row in pairs(rows) do
        local its = workers[row.holder]
        if row.ends > now and row.holder ~= worker then
            if its and its.shares then
                its.count = its.count + 1
            elseif shard < total then
                pool = pool - 1
            end
        end
    end
    workers[worker].count = count
    for name, its in pairs(workers) do
        if its.shares then
            order[#order + 1] = {name = name, count = its.count}
        end
    end
    table.sort(order, function(one, other)
        if one.count ~= other.count then
            return one.count > other.count
        end
        return one.name < other.name
    end)
    sharers = #order
    share = math.floor(pool / sharers)
    for place, its in ipairs(order) do
        if its.name == worker and place <= pool % sharers then
            share = share + 1
        end
    end
    if grants and wants == 'share' then
        for shard = 0, total - 1 do
            if count >= share then
                break
            end
            if is_free(shard) then
                grant(shard)
            end
        end
    end
else
    local gone, free = {}, {}
    local wanted = tonumber(ARGV[next_index])
    for index = next_index + wanted + 1, #ARGV do
        gone[ARGV[index]] = true
    end
    for index = next_index + 1, next_index + wanted do
        local shard = tonumber(ARGV[index])
        local row = rows[shard]
        if not held[shard] then
            if is_free(shard) or gone[row.holder] then
                free[#free + 1] = shard
            else
                local its = workers[row.holder]
                taken[#taken + 1] = ARGV[index]
                taken[#taken + 1] = row.holder
                taken[#taken + 1] = its and its.where or ''
            end
        end
    end
    if #taken == 0 or count > 0 then
        for _, shard in ipairs(free) do
            grant(shard)
        end
    end
end
redis.call('SET', KEYS[4], text(last), 'PX', day)
redis.call('PEXPIRE', KEYS[1], day)
local next_end = 0
for _, row in pairs(rows) do
    if row.holder ~= worker and row.ends > now and (next_end == 0 or row.ends - now < next_end) then
        next_end = row.ends - now
    end
end
local answer = {text(share), text(sharers), text(next_end), text(count)}
for shard, token in pairs(held) do
    answer[#answer + 1] = text(shard)
    answer[#answer + 1] = token
end
for _, word in ipairs(taken) do
    answer[#answer + 1] = word
end
return answer
