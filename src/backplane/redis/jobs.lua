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

-- Adds one, unless one with its dedupe key is there. Says its number, whether it is new, and whether it wakes.
local function push(payload, delay, priority, max, dedupe)
    if dedupe ~= '' then
        local known = redis.call('HGET', key('dedupe'), dedupe)
        if known then
            return {known, '0', '0'}
        end
    end
    -- Grows over a server that lost everything: a lease from before is nobody else's.
    local id = text(math.max(now_us, (tonumber(redis.call('GET', base .. ':last')) or 0) + 1))
    redis.call('SET', base .. ':last', id)
    local rank = text(redis.call('INCR', base .. ':order') - priority * 10000000000000)
    redis.call('HSET', job(id), 'payload', payload, 'priority', priority, 'rank', rank, 'attempt', 0, 'max', max)
    if dedupe ~= '' then
        redis.call('HSET', job(id), 'dedupe', dedupe)
        redis.call('HSET', key('dedupe'), dedupe, id)
    end
    local wakes = redis.call('EXISTS', key('ready')) == 0 or delay > 0
    wait(id, delay)
    return {id, '1', wakes and '1' or '0'}
end

-- A schedule is a hash for each name; the sorted set `schedules` has their names by when they are due.
local function schedule(name)
    -- With its length a queue cannot be taken for another one and the beginning of a name.
    return base .. ':schedule:' .. #queue .. ':' .. queue .. ':' .. name
end

if op == 'push' then
    -- payload, delay, priority, max attempts, dedupe key or ''
    return push(ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7])
elseif op == 'take' then
    -- worker, visibility, count, most dead, reason of those whose worker went, schedules to tell of
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('running'), '-inf', now, 'LIMIT', 0, 1000)) do
        again(id, 0, tonumber(ARGV[6]), ARGV[7])
    end
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', now, 'LIMIT', 0, 1000)) do
        redis.call('ZREM', key('delayed'), id)
        wait(id, 0)
    end
    local taken = {'-1', text(now), '-1', '0'}
    local schedules = redis.call('ZRANGE', key('schedules'), 0, ARGV[8] - 1, 'WITHSCORES')
    if schedules[2] then
        taken[3] = text(math.max(schedules[2] - now, 0))
    end
    local due = 0
    for index = 1, #schedules, 2 do
        if tonumber(schedules[index + 1]) <= now then
            due = due + 1
            taken[#taken + 1] = schedules[index]
            taken[#taken + 1] = redis.call('HGET', schedule(schedules[index]), 'rhythm') or ''
            taken[#taken + 1] = text(tonumber(schedules[index + 1]))
        end
    end
    taken[4] = text(due)
    local popped = {}
    if tonumber(ARGV[5]) > 0 then
        popped = redis.call('ZPOPMIN', key('ready'), ARGV[5])
    end
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
elseif op == 'count' then
    local counts = {}
    for index, name in ipairs({'waiting', 'held', 'dead'}) do
        counts[index] = text(redis.call('ZCARD', key(name)))
    end
    return counts
elseif op == 'retry' then
    -- number
    if redis.call('ZREM', key('dead'), ARGV[3]) == 0 then
        return {}
    end
    redis.call('HSET', job(ARGV[3]), 'attempt', 0)
    redis.call('HDEL', job(ARGV[3]), 'dedupe')
    wait(ARGV[3], 0)
    return {ARGV[3]}
elseif op == 'clock' then
    return {text(now)}
elseif op == 'schedule' then
    -- name, rhythm, when it is due, payload, priority, max attempts, dedupe key or '', most of the queue
    local name, at = ARGV[3], ARGV[5]
    local before = redis.call('ZSCORE', key('schedules'), name)
    if not before and redis.call('ZCARD', key('schedules')) >= tonumber(ARGV[10]) then
        return {'full'}
    end
    if before and redis.call('HGET', schedule(name), 'rhythm') == ARGV[4] then
        at = text(tonumber(before))
    end
    redis.call('HSET', schedule(name), 'rhythm', ARGV[4], 'payload', ARGV[6], 'priority', ARGV[7], 'max', ARGV[8],
        'dedupe', ARGV[9])
    redis.call('ZADD', key('schedules'), at, name)
    return {before and at or 'new'}
elseif op == 'fire' then
    -- name, rhythm, when it was due, when it is due again
    local at = redis.call('ZSCORE', key('schedules'), ARGV[3])
    local its = redis.call('HMGET', schedule(ARGV[3]), 'rhythm', 'payload', 'priority', 'max', 'dedupe')
    if not at or text(tonumber(at)) ~= ARGV[5] or its[1] ~= ARGV[4] then
        return {}
    end
    redis.call('ZADD', key('schedules'), ARGV[6], ARGV[3])
    return push(its[2], 0, its[3], its[4], its[5])
elseif op == 'schedules' then
    local found = {}
    local all = redis.call('ZRANGE', key('schedules'), 0, -1, 'WITHSCORES')
    for index = 1, #all, 2 do
        local its = redis.call('HMGET', schedule(all[index]), 'rhythm', 'payload', 'priority', 'max', 'dedupe')
        for _, text in ipairs({all[index], its[1] or '', text(tonumber(all[index + 1])), its[2] or 'null',
            its[3] or '0', its[4] or '0', its[5] or ''}) do
            found[#found + 1] = text
        end
    end
    return found
elseif op == 'unschedule' then
    -- name
    redis.call('DEL', schedule(ARGV[3]))
    if redis.call('ZREM', key('schedules'), ARGV[3]) == 0 then
        return {}
    end
    return {ARGV[3]}
end
