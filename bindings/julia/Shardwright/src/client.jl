# The client: one task (the pump) takes events from the engine and answers from it, another (the dispatcher)
# brings the events to handlers and channels. Both run on the thread that called `start`.

"Most events that can be taken from the engine with one call."
const MAX_BATCH = 256

"Events taken and not yet delivered, above which the pump leaves them in the engine, whose queue is bounded."
const MAX_WAITING = 1024

"The answer to a command, which may still have to come: `fetch` waits for it."
mutable struct Reply
    command_id::UInt64
    what::String # for errors: what was asked
    answer::Channel{Tuple{Int,String}} # status and JSON
end

# What the tasks need. It does not know the client, so that a client nobody holds can be collected; see `on`.
mutable struct Core
    handle::Ptr{Cvoid}
    batch::Int # events of one poll, at most
    started::Bool
    closing::Bool
    ended::Bool # the pump has seen the end of the stream
    fatal::Union{Nothing,String}
    client::WeakRef
    holder::Any # the client, once it is running and has somebody to tell
    pending::Dict{UInt64,Reply}
    lock::ReentrantLock # of `pending`
    handlers::Dict{String,Vector{Any}}
    channels::Vector{Tuple{Set{String},Channel{Event}}}
    takers::Vector{Any} # of whole batches
    first_commands::Vector{Any} # what is to be sent when it starts
    waiting::Vector{Event}
    held::Vector{Lib.ShardEvent} # polled only to get at answers: the engine's memory until there is room
    changed::Threads.Condition
    slots::Channel{Nothing} # one per handler that runs
    finished::Threads.Condition
    stopping::Bool # `stop` was called: what was received is still delivered
    delivered::Bool # the dispatcher has ended
    leases::Union{Nothing,Leases} # where it counts when an event is done
    streams::Vector{EventStream} # the channels of such a client
    changed_state::Bool # a shard did since the number of shards was asked for, which may be another now
end

"""
    Client(token = ENV["DISCORD_TOKEN"]; intents, num_shards, shards, keywords…)

A bot: its shards and what happens on them. Register handlers with [`on`](@ref), then [`start`](@ref) it.

# Keywords
- `intents`: `IntentGuilds | IntentGuildMessages`, or `[:GUILDS, :GUILD_MESSAGES]`.
- `num_shards`: how many shards the bot has; without it as many as Discord recommends.
- `shards`: those to run in this process, such as `0:3` or `[0, 5]`, of `num_shards`.
- `presence`: the presence at the start, `(status = "idle", activities = [(name = "chess", type = 0)])`.
- `events`: the dispatches to let through at all, such as `[:MESSAGE_CREATE]`.
- `log_level`: `:off`, `:error`, `:warn`, `:info` (the default), `:debug`, `:trace`. The engine's log goes to
  Julia's logger.
- `handler_tasks = 64`: handlers that may run at the same time; further events wait.
- `batch = 256`: events taken from the engine with one call, at most.
- `sessions = "sqlite:PATH"`: a file with which a restart resumes.
- `delivery`: `"at_most_once"` (the default) or `"at_least_once"`, see [`hold`](@ref).
- `profile`: `:development` (one shard, a verbose log on stderr) or `:production` (all shards, a log as JSON).
- `metrics_address`: where Prometheus and probes find an HTTP endpoint, such as `"127.0.0.1:9464"`.
- `api_url` and every other key of the [configuration](../../../../docs/configuration.md), by its name.

`client.num_shards` is the number of shards of the bot (`nothing` until it is known), `client.shards` is
[`shard_status(client)`](@ref shard_status), `client.running` whether it was started and not closed.
"""
mutable struct Client
    core::Core
    num_shards::Union{Nothing,Int}
    shard_ids::Union{Nothing,Vector{Int}}
    last_status::Union{Nothing,JSONObject} # of a closed one
end

"Clients to close when Julia exits."
const LIVE = Dict{UInt,WeakRef}()
const LIVE_LOCK = ReentrantLock()

function Client(token::Union{Nothing,AbstractString} = nothing; intents, num_shards = nothing, shards = nothing,
                log_level = nothing, handler_tasks::Integer = 64, batch::Integer = MAX_BATCH, options...)
    handler_tasks > 0 ||
        throw(ArgumentError("handler_tasks is $handler_tasks; at least one handler must be able to run"))
    1 <= batch <= MAX_BATCH || throw(ArgumentError("batch is $batch; it is 1 to $MAX_BATCH"))
    config = Dict{String,Any}("intents" => intents_config(intents))
    for (key, value) in options
        config[string(key)] = value
    end
    token === nothing || isempty(token) || (config["token"] = token)
    total, ids = shards_config!(config, num_shards, shards)
    # Without a wish here, the engine may be told by its profile or its environment.
    is_told = haskey(config, "log") || haskey(config, "profile") || !isempty(get(ENV, "SHARDWRIGHT_LOG", ""))
    if log_level !== nothing || !is_told
        config["log"] = Dict("to" => "events", "level" => string(something(log_level, :info)))
    end
    json = to_json(config)
    handle = Lib.shard_client_new(json, sizeof(json))
    handle == C_NULL && throw(exception(Lib.shard_last_status(), last_error()))
    slots = Channel{Nothing}(handler_tasks)
    core = Core(handle, batch, false, false, false, nothing, WeakRef(), nothing, Dict(), ReentrantLock(), Dict(), [], [], [], [],
        [], Threads.Condition(), slots, Threads.Condition(), false, false,
        string(get(config, "delivery", "")) == "at_least_once" ? Leases() : nothing, [], false)
    client = Client(core, total, ids, nothing)
    core.client = WeakRef(client)
    finalizer(abandon, client)
    lock(LIVE_LOCK) do
        filter!(entry -> entry.second.value !== nothing, LIVE)
        LIVE[objectid(core)] = WeakRef(client)
    end
    return client
end

function shards_config!(config, num_shards, shards)
    if num_shards === nothing || num_shards in (:auto, "auto")
        shards === nothing || throw(ArgumentError("shards = $shards needs num_shards: of how many they are"))
        num_shards === nothing || (config["shards"] = "auto")
        return nothing, nothing
    end
    num_shards isa Integer && num_shards > 0 ||
        throw(ArgumentError("num_shards is $(repr(num_shards)); it is a positive number, or :auto"))
    if shards === nothing
        config["shards"] = num_shards
        return Int(num_shards), collect(0:(num_shards - 1))
    end
    ids = sort!(unique!(Int[id for id in shards]))
    isempty(ids) && throw(ArgumentError("shards is empty"))
    all(id -> 0 <= id < num_shards, ids) ||
        throw(ArgumentError("shards = $shards, but with num_shards = $num_shards they are 0 to $(num_shards - 1)"))
    config["shards"] = Dict("total" => num_shards, "ids" => ids)
    return Int(num_shards), ids
end

# A finalizer may not wait: the engine's threads are told to drop everything, and end by themselves.
function abandon(client::Client)
    core = getfield(client, :core)
    core.handle == C_NULL && return
    Lib.shard_client_stop(core.handle, Lib.SHARD_STOP_ABORT, 0)
    Lib.shard_client_free(core.handle)
    core.handle = C_NULL
    leases = core.leases
    # A finalizer may not wait for a lock, either.
    leases === nothing || isempty(leases.open) || @async end_leases(leases)
end

"Closes whatever is open, so that the engine's threads do not outlive Julia. Waits two seconds at most for each."
function close_all()
    for reference in collect(values(LIVE))
        client = reference.value
        client === nothing && continue
        core = getfield(client, :core)
        core.closing = true
        handle = core.handle
        core.handle = C_NULL
        handle == C_NULL || Lib.shard_client_free(handle) # stops it resumably first
    end
end

function Base.getproperty(client::Client, name::Symbol)
    name === :num_shards && return num_shards(client)
    name === :shards && return shard_status(client)
    name === :running && return getfield(client, :core).started && isopen(client)
    throw(ArgumentError("a Client has num_shards, shards and running, but no $name"))
end

Base.propertynames(::Client, private::Bool = false) = (:num_shards, :shards, :running)

# Asked again only when it may have changed, for handlers want it for each event; a closed client knows what it had.
function num_shards(client::Client)
    core, known = getfield(client, :core), getfield(client, :num_shards)
    if core.handle != C_NULL && (known === nothing || core.changed_state)
        core.changed_state = false # before it is asked, so that no later change is missed
        known = something(status(client).shard_total, Some(known))
        setfield!(client, :num_shards, known)
    end
    return known
end

function Base.show(io::IO, client::Client)
    print(io, "Client(")
    isopen(client) || return print(io, "closed)")
    print(io, client.running ? "running, " : "not started, ")
    count = client.num_shards
    print(io, count === nothing ? "number of shards not known yet" : count == 1 ? "1 shard" : "$count shards", ")")
end

"Whether the client was not closed, and Discord did not refuse it."
Base.isopen(client::Client) = (core = getfield(client, :core); core.handle != C_NULL && !core.closing && !core.ended)

# The handle, or an error that says why there is none.
function handle(client::Client)
    core = getfield(client, :core)
    core.handle == C_NULL && throw(ClosedError("the client was closed"))
    return core.handle
end

"""
    on(handler, client, names…)
    on(client, :MESSAGE_CREATE) do c, event … end

Calls `handler(client, event)` for every event with one of the names: Discord's for dispatches, and
`:SHARD_STATE`, `:FATAL`, `:GUILDS_COMPLETE` and `:OVERFLOW` for the engine's own. Handlers run as tasks of their own,
which start in the order of the events; they may wait for whatever they like. One that throws is logged with its
backtrace. With `delivery = "at_least_once"` an event is done when its last handler has ended, one way or the other.
"""
function on(handler, client::Client, names::Union{Symbol,AbstractString}...)
    isempty(names) && throw(ArgumentError("on(client, :EVENT_NAME, …) needs the name of an event"))
    core = getfield(client, :core)
    for name in names
        push!(get!(Vector{Any}, core.handlers, String(name)), handler)
    end
    keep(client)
    return handler
end

"""
    events(client, names…; size = 1024) -> Channel{Event}

A channel of the events with these names, or without names of all dispatches. It closes with the client:
`for event in events(client) … end` ends by itself. When nobody takes from it, it fills up, then the engine's
queue does, and then the shards leave their sockets unread: nothing is lost. Close it to end the subscription.
With `delivery = "at_least_once"` it is an `AbstractChannel{Event}`, and an event is done when the task that took it
takes the next one, or ends.
"""
function events(client::Client, names::Union{Symbol,AbstractString}...; size::Integer = 1024)
    isopen(client) || throw(ClosedError("the client was closed"))
    channel = Channel{Event}(size)
    core = getfield(client, :core)
    push!(core.channels, (Set{String}(map(String, names)), channel))
    keep(client)
    core.leases === nothing && return channel
    stream = EventStream(channel)
    push!(core.streams, stream)
    return stream
end

# A running client that somebody listens to lives until it is closed, even if no variable holds it; one that
# nobody listens to may be collected.
function keep(client::Client)
    core = getfield(client, :core)
    core.started && !core.ended && (core.holder = client)
    return
end

listens(core::Core) = !isempty(core.handlers) || !isempty(core.channels) || !isempty(core.takers)

"""
    start(client; blocking = true)

Starts the shards, and waits until the client is closed; with `blocking = false` it returns at once. Throws
[`FatalError`](@ref) when Discord refuses the token or the intents. In the REPL, Ctrl-C closes the client and
`start` returns; a script is ended by it. Either way the sessions can be resumed.
"""
function start(client::Client; blocking::Bool = true)
    core = getfield(client, :core)
    check(Lib.shard_client_start(handle(client)))
    core.started = true
    listens(core) && keep(client)
    # A copy, so that whoever frees the client does not pull it from under the watcher.
    fd = ccall(:fcntl, Cint, (Cint, Cint, Cint...), Lib.shard_client_event_fd(core.handle), F_DUPFD_CLOEXEC, 0)
    fd < 0 && throw(SystemError("fcntl", Libc.errno()))
    @async dispatch(core)
    @async pump(core, RawFD(fd))
    try
        foreach(command -> command(), core.first_commands)
    catch
        close(client)
        rethrow()
    end
    blocking || return client
    try
        wait(client)
    catch problem
        problem isa InterruptException || rethrow()
    finally
        close(client) # after Ctrl-C, or a refusal
    end
    return client
end

# In the REPL, Julia throws the InterruptException of Ctrl-C in whichever task was the last to wait.
function interrupted(core::Core)
    Lib.shard_client_stop(core.handle, Lib.SHARD_STOP_RESUMABLE, 0)
    signal(() -> (core.closing = true), core.changed)
end

"Runs `step(core)` again and again until it says false; Ctrl-C closes the client instead of ending the task."
function repeat_until_false(step, core::Core)
    while true
        try
            step(core) || return
        catch problem
            problem isa InterruptException || rethrow()
            interrupted(core)
        end
    end
end

const F_DUPFD_CLOEXEC = Sys.isapple() ? 67 : 1030

# Waits for a condition that is signalled; what it is signalled for is asked under its lock.
function wait_for(done, condition::Threads.Condition)
    lock(condition)
    try
        while !done()
            wait(condition)
        end
    finally
        unlock(condition)
    end
end

function signal(change, condition::Threads.Condition)
    lock(condition)
    try
        change()
        notify(condition)
    finally
        unlock(condition)
    end
    return
end

"""
    stop(client; resumable = true)

Begins to stop, from any task or handler, and returns at once. What was received is still brought to handlers and
channels, which close then; when the last handler has ended, [`start`](@ref) closes the client and returns, or
`wait(client)` returns. With `resumable = false` the bot signs off and its sessions end.
"""
function stop(client::Client; resumable::Bool = true)
    core = getfield(client, :core)
    (core.handle == C_NULL || !core.started) && return
    core.stopping = true
    Lib.shard_client_stop(core.handle, stop_mode(resumable), 0)
    return
end

# Does something now, or when the client starts.
function at_start(command, client::Client)
    core = getfield(client, :core)
    core.started ? command() : push!(core.first_commands, command)
    return
end

stop_mode(resumable::Bool) = resumable ? Lib.SHARD_STOP_RESUMABLE : Lib.SHARD_STOP_CLOSE

# Whether there is nothing left to wait for. Handlers count only when the client was told to stop.
has_ended(core::Core) = core.ended && (!core.stopping || core.closing || core.delivered && !isready(core.slots))

"Waits until the client is closed. Throws [`FatalError`](@ref) when that was because Discord refused it."
function Base.wait(client::Client)
    core = getfield(client, :core)
    core.started || throw(ArgumentError("the client was not started"))
    wait_for(() -> has_ended(core), core.finished)
    core.fatal === nothing || throw(FatalError(core.fatal))
    return
end

"""
    close(client; resumable = true)

Stops the client: channels close, commands that wait end with [`ClosedError`](@ref). By default its sessions can be
resumed for some minutes; with `resumable = false` the bot goes offline at once. Closing it again does nothing.
"""
function Base.close(client::Client; resumable::Bool = true)
    core = getfield(client, :core)
    core.handle == C_NULL && return
    core.closing = true
    if core.started
        Lib.shard_client_stop(core.handle, stop_mode(resumable), 0)
        signal(() -> nothing, core.changed)
        signal(() -> nothing, core.finished)
        wait_for(() -> core.ended, core.finished)
    end
    handle = core.handle
    handle == C_NULL && return # another task was closing it, too
    close_channels(core)
    setfield!(client, :last_status, read_status(handle))
    core.handle = C_NULL
    foreach(went_on, core.streams)
    # Its threads have ended, or never ran: this does not wait.
    Lib.shard_client_free(handle)
    # What is not done was not counted, and comes again after a restart.
    end_leases(core.leases)
    lock(LIVE_LOCK) do
        delete!(LIVE, objectid(core))
    end
    return
end

"A client for the length of a block: `Client(token; intents) do client … end` closes it at the end."
function Client(body::Function, arguments...; options...)
    client = Client(arguments...; options...)
    try
        result = body(client)
        # It ended well, so what it has in hand is done.
        foreach(stream -> went_on(stream, current_task()), getfield(client, :core).streams)
        return result
    finally
        close(client)
    end
end

# -- the pump -----------------------------------------------------------------

# Calls are short and never wait: a C function that blocks would stop Julia's garbage collector on all threads.
function pump(core::Core, fd::RawFD)
    watcher = FDWatcher(fd, true, false)
    batch = Vector{Lib.ShardEvent}(undef, core.batch)
    try
        repeat_until_false(core) do core
            wait_for(() -> may_poll(core), core.changed)
            count = Lib.shard_client_poll_events(core.handle, batch, core.batch, 0)
            if count > 0
                take(core, batch, count)
                yield() # to the handlers, and whoever else is here
            elseif count == 0
                wait(watcher)
            elseif count != Lib.SHARD_E_INTERRUPTED
                return false # closed, or freed by the finalizer
            end
            return true
        end
    catch problem
        @error "the pump of a client failed; the client ends" exception = (problem, catch_backtrace())
    finally
        give_back(core)
        close(watcher)
        ccall(:close, Cint, (Cint,), fd)
        finish(core)
    end
end

# With a backlog, only answers are worth a poll: a handler may be waiting for one, and not take its event before.
may_poll(core::Core) = core.closing || !is_full(core) || !isempty(core.pending)

# What is held comes after what waits, so while anything is held, everything new is.
is_full(core::Core) = length(core.waiting) >= MAX_WAITING || !isempty(core.held)

function take(core::Core, batch::Vector{Lib.ShardEvent}, count::Integer)
    full = is_full(core)
    taken = Event[]
    isempty(core.takers) || offer(core, Batch(batch, count))
    nobody_else = isempty(core.handlers) && isempty(core.channels)
    for index in 1:count
        raw = batch[index]
        if nobody_else && raw.kind == Lib.SHARD_EVENT_DISPATCH
            continue
        elseif raw.kind == Lib.SHARD_EVENT_REPLY
            answer(core, raw.command_id, Int(raw.status), text(raw.data, raw.data_len))
        elseif raw.kind == Lib.SHARD_EVENT_LOG
            log_line(raw)
        else
            name = name_of(raw)
            raw.kind == Lib.SHARD_EVENT_FATAL && refused(core, raw)
            raw.kind == Lib.SHARD_EVENT_SHARD_STATE && (core.changed_state = true)
            raw.kind == Lib.SHARD_EVENT_OVERFLOW && @warn "the event queue was full" dropped = raw.status
            # Of a client that closes, nothing is delivered, but not done either where that counts.
            if (!core.closing || core.leases !== nothing) && wanted(core, name)
                if full
                    # Not copied and not given back: the engine counts these bytes, and stops reading at its bound.
                    push!(core.held, raw)
                    batch[index] = RELEASED
                    continue
                end
                event = copied(core, raw, name)
                getfield(event, :lease) === nothing || (batch[index] = RELEASED)
                push!(taken, event)
            end
        end
    end
    Lib.shard_events_release(batch, count)
    isempty(taken) || signal(() -> append!(core.waiting, taken), core.changed)
    return
end

# The engine gets back what was copied, at once or where that counts when it is done.
function copied(core::Core, raw::Lib.ShardEvent, name::String)
    leases = core.leases
    (leases === nothing || raw.kind != Lib.SHARD_EVENT_DISPATCH) && return Event(raw, name)
    return Event(raw, name, lend(leases, raw.owner))
end

function copied(core::Core, batch::Vector{Lib.ShardEvent})
    isempty(batch) && return Event[]
    events = [copied(core, raw, name_of(raw)) for raw in batch]
    for (index, event) in enumerate(events)
        getfield(event, :lease) === nothing || (batch[index] = RELEASED)
    end
    Lib.shard_events_release(batch, length(batch))
    return events
end

"What an event is once it was released."
const RELEASED = Lib.ShardEvent(0, 0, 0, 0, 0, 0, C_NULL, 0, C_NULL, 0, 0, 0, C_NULL, (0, 0))

function name_of(raw::Lib.ShardEvent)
    raw.kind == Lib.SHARD_EVENT_DISPATCH && return text(raw.name, raw.name_len)
    raw.kind == Lib.SHARD_EVENT_SHARD_STATE && return "SHARD_STATE"
    raw.kind == Lib.SHARD_EVENT_FATAL && return "FATAL"
    raw.kind == Lib.SHARD_EVENT_GUILDS_COMPLETE && return "GUILDS_COMPLETE"
    raw.kind == Lib.SHARD_EVENT_OVERFLOW && return "OVERFLOW"
    raw.kind == Lib.SHARD_EVENT_MESSAGE && return "MESSAGE"
    raw.kind == Lib.SHARD_EVENT_CALL && return "CALL"
    raw.kind == Lib.SHARD_EVENT_JOB && return "JOB"
    return "" # of a later version: nobody asked for it
end

const OWN_NAMES = ("SHARD_STATE", "FATAL", "GUILDS_COMPLETE", "OVERFLOW", "MESSAGE", "CALL", "JOB", "")

hears(names::Set{String}, name) = isempty(names) ? !(name in OWN_NAMES) : name in names
wanted(core::Core, name) =
    haskey(core.handlers, name) || any(channel -> hears(channel[1], name), core.channels)

function answer(core::Core, command_id, status, json)
    reply = lock(core.lock) do
        pop!(core.pending, command_id, nothing)
    end
    reply === nothing || put!(reply.answer, (status, json))
    return
end

# Ends the client when nothing of it is left to run: a refused token, or the last shard refused.
function refused(core::Core, raw::Lib.ShardEvent)
    said = parse_json(text(raw.data, raw.data_len))
    reason = string(said isa JSONObject ? something(said.reason, "no reason given") : "no reason given")
    if raw.shard_id != Lib.SHARD_NONE
        shards = something(read_status(core.handle).shards, [])
        if any(shard -> shard.id != raw.shard_id && shard.state != "fatal", shards)
            @error "Discord refused shard $(raw.shard_id); the others go on" reason
            return
        end
    end
    core.fatal === nothing && (core.fatal = reason)
    Lib.shard_client_stop(core.handle, Lib.SHARD_STOP_CLOSE, 0)
    return
end

const LEVELS = Dict(Lib.SHARD_LOG_ERROR => Logging.Error, Lib.SHARD_LOG_WARN => Logging.Warn,
    Lib.SHARD_LOG_INFO => Logging.Info, Lib.SHARD_LOG_DEBUG => Logging.Debug)

function log_line(raw::Lib.ShardEvent)
    level = get(LEVELS, Int(raw.status), Logging.LogLevel(-2000))
    @logmsg level text(raw.data, raw.data_len) _group = :shardwright _file = text(raw.name, raw.name_len) _line = 0
    return
end

# -- the dispatcher -----------------------------------------------------------

function dispatch(core::Core)
    repeat_until_false(core) do core
        wait_for(() -> !isempty(core.waiting) || core.closing || core.ended, core.changed)
        core.closing && return false # what was not delivered by now is not wanted any more
        isempty(core.waiting) && return false
        now = core.waiting
        signal(() -> refill(core), core.changed) # the pump may go on while these are delivered
        for event in now
            core.closing && break
            deliver(core, event)
        end
        return true
    end
    close_channels(core)
    signal(() -> (core.delivered = true), core.finished)
    return
end

# Lets those wait next that were held because there was no room.
function refill(core::Core)
    held = splice!(core.held, 1:min(length(core.held), MAX_WAITING))
    core.waiting = copied(core, held)
end

# At the end: what is still held is delivered, too, unless the host closed the client.
function give_back(core::Core)
    isempty(core.held) && return
    events = copied(core, core.held)
    core.closing || signal(() -> append!(core.waiting, events), core.changed)
    empty!(core.held)
end

function deliver(core::Core, event::Event)
    name = getfield(event, :name)
    lease = getfield(event, :lease)
    for entry in copy(core.channels)
        names, channel = entry
        hears(names, name) || continue
        lease === nothing || add_holder(lease)
        try
            put!(channel, event)
        catch problem
            # Whoever reads it has closed it.
            isopen(channel) && rethrow()
            remove_holder(lease)
            filter!(other -> other !== entry, core.channels)
        end
    end
    handlers = get(core.handlers, name, nothing)
    if handlers !== nothing
        for handler in copy(handlers)
            client = core.client.value
            client === nothing && return
            put!(core.slots, nothing)
            lease === nothing || add_holder(lease)
            @async handle_event(core, handler, client, event)
        end
    end
    lease === nothing || remove_holder(lease) # the dispatcher's
    return
end

function handle_event(core::Core, handler, client::Client, event::Event)
    try
        # A handler may be newer than this task.
        Base.invokelatest(handler, client, event)
        remove_holder(getfield(event, :lease))
    catch problem
        problem isa InterruptException && return interrupted(core)
        name = getfield(event, :name)
        @error "a handler of $name threw; the client goes on" exception = (problem, catch_backtrace())
        # Not done is what needed a client that had stopped.
        problem isa ClosedError || remove_holder(getfield(event, :lease))
    finally
        take!(core.slots)
        core.stopping && signal(() -> nothing, core.finished)
    end
end

# After the last event: everybody who still waits is told.
function finish(core::Core)
    left = lock(core.lock) do
        replies = collect(values(core.pending))
        empty!(core.pending)
        replies
    end
    for reply in left
        put!(reply.answer, (Lib.SHARD_E_CLOSED, "{\"error\":\"the client was closed\"}"))
    end
    signal(() -> (core.ended = true), core.finished)
    signal(() -> nothing, core.changed)
    # A refused client's last events are still brought to those who listen.
    core.closing && close_channels(core)
    core.holder = nothing
    return
end

close_channels(core::Core) = foreach(entry -> close(entry[2]), core.channels)

# -- how it is doing ----------------------------------------------------------

# Calls `get(buffer, capacity, length)` with room enough.
function read_text(get)
    needed = Ref{Csize_t}(0)
    buffer = Vector{UInt8}(undef, 8192)
    code = get(buffer, sizeof(buffer), needed)
    while code == Lib.SHARD_E_BUFFER_TOO_SMALL
        resize!(buffer, needed[] + 1024) # it may grow between two calls
        code = get(buffer, sizeof(buffer), needed)
    end
    check(code)
    return String(resize!(buffer, needed[]))
end

read_status(handle::Ptr{Cvoid}) =
    parse_json(read_text((buffer, capacity, len) -> Lib.shard_client_status_json(handle, buffer, capacity, len)))

"""
    status(client) -> JSONObject

How the client is doing: `stage`, `guilds`, `shard_total`, `queue`, `session_start_limit`, `shards` and more. Of a
closed client what it was at the end.
"""
function status(client::Client)
    last = getfield(client, :last_status)
    return last === nothing ? read_status(handle(client)) : last
end

"""
How one shard is doing. `status` is `"not started"`, `"running"`, `"failed"` (refused for good) or `"stopped"`;
`session_connected` whether it is ready to send and receive; `state` the engine's word for where it stands;
`details` everything that is known.
"""
struct ShardStatus
    id::Int
    total::Int
    status::String
    session_connected::Bool
    state::String
    latency_ms::Union{Nothing,Int}
    guilds::Int
    details::JSONObject
end

"One [`ShardStatus`](@ref) for every shard of this process; empty while their number is not known."
function shard_status(client::Client)
    now = status(client)
    total = something(now.shard_total, getfield(client, :num_shards), 0)
    if isempty(now.shards)
        ids = something(getfield(client, :shard_ids), Int[])
        word = now.stage == "stopped" ? "stopped" : "not started"
        return [ShardStatus(id, total, word, false, "idle", nothing, 0, JSONObject()) for id in ids]
    end
    return [ShardStatus(shard.id, total, shard_word(now.stage, shard.state), shard.state == "ready", shard.state,
        shard.latency_ms, shard.guilds, shard) for shard in now.shards]
end

function shard_word(stage, state)
    state == "fatal" && return "failed"
    (state == "stopped" || stage == "stopped") && return "stopped"
    return state == "idle" ? "not started" : "running"
end

"The number of guilds on all shards of this process."
guild_count(client::Client) = status(client).guilds

"The client's numbers in Prometheus' text format."
metrics(client::Client) =
    read_text((buffer, capacity, len) -> Lib.shard_client_metrics_text(handle(client), buffer, capacity, len))

"Whether every shard is ready: for a readiness probe."
healthy(client::Client) = isopen(client) && Lib.shard_client_healthy(handle(client)) == Lib.SHARD_OK

"""
    wait_ready(client; timeout = Inf)

Waits until every shard has been ready once. Throws [`ShardTimeout`](@ref) after `timeout` seconds,
[`FatalError`](@ref) when Discord refuses a shard, [`ClosedError`](@ref) when the client is closed first.
"""
function wait_ready(client::Client; timeout::Real = Inf)
    deadline = time() + timeout
    while true
        code = Lib.shard_client_wait_ready(handle(client), 0)
        code == Lib.SHARD_E_INTERRUPTED && continue
        code == Lib.SHARD_E_TIMEOUT && time() < deadline || return (check(code); nothing)
        # Looked at, not waited for in C, where the garbage collector would have to wait as well.
        sleep(0.01)
    end
end
