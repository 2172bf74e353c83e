-- Jobs of one queue. KEYS: what all keys of jobs begin with. ARGV: what to do, the queue, then see below.
-- Keys: job:ID (a hash), last and order (counters), and for each queue sorted sets: ready (by priority and
-- order), delayed (by when they are due), running (by when their leases end), and for lists waiting, held
-- and dead (by number); dedupe is a hash of numbers by key.
local base, op, queue = KEYS[1], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)

local function key(name)
    return base .. ':q:' .. queue .. ':' .. name
end
local function job(id)
    return base .. ':job:' .. id
end
local function text(number)
    return string.format('%.0f', number)
end

-- Makes it wait, for so long.
local function wait(id, delay)
    redis.call('ZREM', key('held'), id)
    redis.call('ZADD', key('waiting'), id, id)
    if delay > 0 then
        redis.call('ZADD', key('delayed'), now + delay, id)
    else
        redis.call('ZADD', key('ready'), redis.call('HGET', job(id), 'rank'), id)
    end
end

-- Gives it up. The oldest of those that are kept goes.
local function bury(id, most)
    redis.call('ZREM', key('held'), id)
    redis.call('ZADD', key('dead'), id, id)
    local dedupe = redis.call('HGET', job(id), 'dedupe')
    if dedupe then
        redis.call('HDEL', key('dedupe'), dedupe)
    end
    while redis.call('ZCARD', key('dead')) > most do
        redis.call('DEL', job(redis.call('ZPOPMIN', key('dead'))[1]))
    end
end

-- What was tried too often is dead, and the rest waits.
local function again(id, delay, most, reason)
    redis.call('ZREM', key('running'), id)
    redis.call('HSET', job(id), 'error', reason)
    local attempt, max = unpack(redis.call('HMGET', job(id), 'attempt', 'max'))
    if tonumber(attempt) < tonumber(max) then
        wait(id, delay)
    else
        bury(id, most)
    end
end

-- Whether this worker has it.
local function is_leased(id, worker, attempt)
    local its = redis.call('HMGET', job(id), 'worker', 'attempt')
    return redis.call('ZSCORE', key('running'), id) and its[1] == worker and its[2] == attempt
end

if op == 'push' then
    -- payload, delay, priority, max attempts, dedupe key or ''
    if ARGV[7] ~= '' then
        local known = redis.call('HGET', key('dedupe'), ARGV[7])
        if known then
            return {known, '0', '0'}
        end
    end
    -- Grows over a server that lost everything: a lease from before is nobody else's.
    local id = text(math.max(now_us, (tonumber(redis.call('GET', base .. ':last')) or 0) + 1))
    redis.call('SET', base .. ':last', id)
    local rank = text(redis.call('INCR', base .. ':order') - ARGV[5] * 10000000000000)
    redis.call('HSET', job(id), 'payload', ARGV[3], 'priority', ARGV[5], 'rank', rank, 'attempt', 0, 'max', ARGV[6])
    if ARGV[7] ~= '' then
        redis.call('HSET', job(id), 'dedupe', ARGV[7])
        redis.call('HSET', key('dedupe'), ARGV[7], id)
    end
    local wakes = redis.call('EXISTS', key('ready')) == 0 or tonumber(ARGV[4]) > 0
    wait(id, tonumber(ARGV[4]))
    return {id, '1', wakes and '1' or '0'}
elseif op == 'take' then
    -- worker, visibility, count, most dead, reason of those whose worker went
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('running'), '-inf', now, 'LIMIT', 0, 1000)) do
        again(id, 0, tonumber(ARGV[6]), ARGV[7])
    end
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', now, 'LIMIT', 0, 1000)) do
        redis.call('ZREM', key('delayed'), id)
        wait(id, 0)
    end
    local taken = {'-1'}
    local popped = redis.call('ZPOPMIN', key('ready'), ARGV[5])
    for index = 1, #popped, 2 do
        local id = popped[index]
        redis.call('ZREM', key('waiting'), id)
        redis.call('ZADD', key('held'), id, id)
        redis.call('ZADD', key('running'), now + ARGV[4], id)
        redis.call('HSET', job(id), 'worker', ARGV[3])
        taken[#taken + 1] = id
        taken[#taken + 1] = tostring(redis.call('HINCRBY', job(id), 'attempt', 1))
        taken[#taken + 1] = redis.call('HGET', job(id), 'payload')
    end
    local soonest
    for _, name in ipairs({'delayed', 'running'}) do
        local first = redis.call('ZRANGE', key(name), 0, 0, 'WITHSCORES')[2]
        if first and (not soonest or tonumber(first) < soonest) then
            soonest = tonumber(first)
        end
    end
    if redis.call('EXISTS', key('ready')) == 1 then
        soonest = now
    end
    if soonest then
        taken[1] = text(math.max(soonest - now, 0))
    end
    return taken
elseif op == 'extend' then
    -- worker, visibility, then number and attempt of each
    local extended = {}
    for index = 5, #ARGV, 2 do
        if is_leased(ARGV[index], ARGV[3], ARGV[index + 1]) then
            redis.call('ZADD', key('running'), now + ARGV[4], ARGV[index])
            extended[#extended + 1] = ARGV[index]
        end
    end
    return extended
elseif op == 'end' then
    -- number, worker, attempt, 'done', 'again' or 'dead', delay, error, most dead
    local id = ARGV[3]
    if not is_leased(id, ARGV[4], ARGV[5]) then
        return {}
    end
    if ARGV[6] == 'done' then
        local dedupe = redis.call('HGET', job(id), 'dedupe')
        if dedupe then
            redis.call('HDEL', key('dedupe'), dedupe)
        end
        redis.call('ZREM', key('running'), id)
        redis.call('ZREM', key('held'), id)
        redis.call('DEL', job(id))
    elseif ARGV[6] == 'again' then
        again(id, tonumber(ARGV[7]), tonumber(ARGV[9]), ARGV[8])
    else
        redis.call('ZREM', key('running'), id)
        redis.call('HSET', job(id), 'error', ARGV[8])
        bury(id, tonumber(ARGV[9]))
    end
    return {id}
elseif op == 'list' then
    -- state, after, count
    local found = {}
    local set = key(ARGV[3] == 'running' and 'held' or ARGV[3])
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', set, '(' .. ARGV[4], '+inf', 'LIMIT', 0, ARGV[5])) do
        local its = redis.call('HMGET', job(id), 'payload', 'attempt', 'max', 'priority', 'error')
        for _, text in ipairs({id, its[1] or 'null', its[2] or '0', its[3] or '0', its[4] or '0', its[5] or ''}) do
            found[#found + 1] = text
        end
    end
    return found
elseif op == 'retry' then
    -- number
    if redis.call('ZREM', key('dead'), ARGV[3]) == 0 then
        return {}
    end
    redis.call('HSET', job(ARGV[3]), 'attempt', 0)
    redis.call('HDEL', job(ARGV[3]), 'dedupe')
    wait(ARGV[3], 0)
    return {ARGV[3]}
end
