# What the processes of a bot share: messages, calls, a cache, jobs (`backplane`), and documents (`store`).

# Sends a command and waits for its answer. What is nothing is left out, but for what may be null.
function ask(client::Client, type; fields...)
    command = Dict{String,Any}("type" => type)
    for (key, value) in fields
        value === nothing && !(key in (:data, :payload, :value)) && continue
        command[String(key)] = value
    end
    return fetch(send_command(client, command))
end

milliseconds(seconds::Real) = round(Int, seconds * 1000)
milliseconds(::Nothing) = nothing

"The topic of a `:MESSAGE` or a `:CALL`, the queue of a `:JOB`."
topic(event::Event) = getfield(event, :topic)

# -- messages and calls -------------------------------------------------------

"""
    publish(client, topic, data = nothing)

Says something to every process of the bot that listens to the topic; see [`on_message`](@ref).
"""
publish(client::Client, topic::AbstractString, data = nothing) = ask(client, "publish"; topic = topic, data = data)

"Gets what is said and asked on a topic, as `:MESSAGE` and `:CALL` events."
subscribe(client::Client, topic::AbstractString) = ask(client, "subscribe"; topic = topic)

"Gets it no longer."
unsubscribe(client::Client, topic::AbstractString) = ask(client, "unsubscribe"; topic = topic)

"""
    on_message(client, topic) do c, data … end

Calls the function with what any process of the bot, this one too, [`publish`](@ref)es on the topic.
"""
function on_message(handler, client::Client, name::AbstractString)
    on(client, :MESSAGE) do c, event
        topic(event) == name && handler(c, event.data)
    end
    at_start(() -> subscribe(client, name), client)
    return handler
end

"""
    on_call(client, topic) do c, data … end

Answers every [`call`](@ref) on the topic with what the function returns; with an error when it throws.
"""
function on_call(handler, client::Client, name::AbstractString)
    on(client, :CALL) do c, event
        topic(event) == name || return
        result = try
            handler(c, event.data)
        catch problem
            answer(c, event; error = sprint(showerror, problem))
            rethrow()
        end
        answer(c, event, result)
    end
    at_start(() -> subscribe(client, name), client)
    return handler
end

"""
    call(client, topic, data = nothing; timeout = 5)

Asks every process of the bot that listens to the topic, this one too. Returns `answers`, each with `from` and `data` or
`error`, and `missing`: those that did not answer within `timeout` seconds, at most 300.
"""
call(client::Client, topic::AbstractString, data = nothing; timeout::Real = 5) =
    ask(client, "call"; topic = topic, data = data, timeout_ms = milliseconds(timeout))

"""
    answer(client, event, data = nothing)
    answer(client, event; error = "…")

Answers a `:CALL` event.
"""
function answer(client::Client, event::Event, data = nothing; error = nothing)
    error === nothing && return ask(client, "answer"; call = event.call, data = data)
    return fetch(send_command(client, (type = "answer", call = event.call, error = error)))
end

"How all processes of the bot are doing: `total`, and each of `workers`."
cluster_stats(client::Client) = ask(client, "cluster_stats")

# -- cache --------------------------------------------------------------------

"A value that all processes see: `value`, `version` and `ttl_ms`; `nothing` where there is none."
cache_get(client::Client, key::AbstractString) = ask(client, "cache_get"; key = key)

"""
    cache_set(client, key, value; ttl, expected_version, announce = false)

Sets it, for `ttl` seconds or for ever, and returns its version. With `expected_version` only over that one, 0 being
none. With `announce` every process gets a `:MESSAGE` with the topic `"_cache"`.
"""
cache_set(client::Client, key::AbstractString, value; ttl = nothing, expected_version = nothing, announce = false) =
    ask(client, "cache_set"; key = key, value = value, ttl_ms = milliseconds(ttl), expected_version = expected_version,
        announce = announce).version

"Deletes it; whether there was one."
cache_delete(client::Client, key::AbstractString; announce = false) =
    ask(client, "cache_delete"; key = key, announce = announce).deleted

"Adds to a whole number, which is 0 where there is nothing; the sum."
cache_increment(client::Client, key::AbstractString, by::Integer = 1; ttl = nothing) =
    ask(client, "cache_increment"; key = key, by = by, ttl_ms = milliseconds(ttl)).value

# -- jobs ---------------------------------------------------------------------

"""
    job_push(client, queue, payload; delay = 0, priority = 0, max_attempts, dedupe)

Adds a job, to be done by some process after `delay` seconds, higher priorities (-100 to 100) first. Returns `job_id` and
`new`, which is false when one with the same `dedupe` waits or runs.
"""
job_push(client::Client, queue::AbstractString, payload; delay = 0, priority = 0, max_attempts = nothing,
         dedupe = nothing) =
    ask(client, "job_push"; queue = queue, payload = payload, delay_ms = milliseconds(delay), priority = priority,
        max_attempts = max_attempts, dedupe = dedupe)

"""
    job_schedule(client, queue, name, payload; every, cron, priority = 0, max_attempts, dedupe)

Adds a job again and again: `every` so many seconds, or by a `cron` expression of five fields in UTC. All processes may say so at
their start: it is one schedule, by its name, and each time makes one job. Returns `name`, `new` and `next_at_ms`.
"""
function job_schedule(client::Client, queue::AbstractString, name::AbstractString, payload; every = nothing, cron = nothing,
                      priority = 0, max_attempts = nothing, dedupe = nothing)
    rhythm = Dict{String,Any}("name" => name)
    every === nothing || (rhythm["every_ms"] = milliseconds(every))
    cron === nothing || (rhythm["cron"] = cron)
    return ask(client, "job_push"; queue = queue, payload = payload, priority = priority, max_attempts = max_attempts,
               dedupe = dedupe, repeat = rhythm)
end

"The schedules of a queue, by name."
job_schedules(client::Client, queue::AbstractString) = ask(client, "job_schedules"; queue = queue).schedules

"Ends a schedule; whether there was one. Jobs that it made stay."
job_unschedule(client::Client, queue::AbstractString, name::AbstractString) =
    ask(client, "job_unschedule"; queue = queue, name = name).removed

"""
    on_job(client, queue; concurrency = 8, visibility = 30) do c, job … end

Does the jobs of a queue, at most `concurrency` at once; `job.payload` is what was pushed. When the function returns the job is
done, when it throws the job is tried again later. When this process dies, others get its jobs after `visibility` seconds.
"""
function on_job(handler, client::Client, queue::AbstractString; concurrency::Integer = 8, visibility::Real = 30)
    on(client, :JOB) do c, job
        topic(job) == queue || return
        try
            handler(c, job)
        catch problem
            problem isa ClosedError || job_fail(c, job, sprint(showerror, problem))
            rethrow()
        end
        job_ack(c, job)
    end
    at_start(() -> job_consume(client, queue, concurrency; visibility = visibility), client)
    return handler
end

"Takes jobs from a queue from now on, at most so many at once, as `:JOB` events; 0 takes no more."
job_consume(client::Client, queue::AbstractString, concurrency::Integer; visibility::Real = 30) =
    ask(client, "job_consume"; queue = queue, concurrency = concurrency, visibility_ms = milliseconds(visibility))

number_of(job::Event) = job.job_id
number_of(job::Integer) = job

"The job is done."
job_ack(client::Client, job::Union{Event,Integer}) = ask(client, "job_ack"; job_id = number_of(job))

"The job failed: tried again after `delay` seconds (ever longer by default), or with `retry = false` dead."
job_fail(client::Client, job::Union{Event,Integer}, error::AbstractString = ""; retry = true, delay = nothing) =
    ask(client, "job_fail"; job_id = number_of(job), error = first(error, 1000), retry = retry,
        delay_ms = milliseconds(delay))

"Jobs of a queue that are `:waiting`, `:running` or `:dead`: `jobs`, and `next`, the `after` of the next page."
job_list(client::Client, queue::AbstractString, state = :waiting; after = nothing, limit::Integer = 100) =
    ask(client, "job_list"; queue = queue, state = String(state), after = after, limit = limit)

"Lets a dead job wait again."
job_retry(client::Client, queue::AbstractString, job::Union{Event,Integer}) =
    ask(client, "job_retry"; queue = queue, job_id = number_of(job))

# -- store --------------------------------------------------------------------

"A document that lasts: `value`, `version` and `updated_at_ms`; `nothing` where there is none."
store_get(client::Client, collection::AbstractString, key::AbstractString) =
    ask(client, "store_get"; collection = collection, key = key)

"Stores it, with `expected_version` only over that one, 0 being none; its version."
store_put(client::Client, collection::AbstractString, key::AbstractString, value; expected_version = nothing) =
    ask(client, "store_put"; collection = collection, key = key, value = value, expected_version = expected_version).version

"Deletes it; whether there was one."
store_delete(client::Client, collection::AbstractString, key::AbstractString; expected_version = nothing) =
    ask(client, "store_delete"; collection = collection, key = key, expected_version = expected_version).deleted

"Documents whose keys begin with `prefix`, by key: `documents`, and `next`, the `after` of the next page."
store_list(client::Client, collection::AbstractString; prefix = "", after = "", limit::Integer = 100) =
    ask(client, "store_list"; collection = collection, prefix = prefix, after = after, limit = limit)
