# What an event costs in Julia, as benches/overhead.py at the top of the repository asks for it.
#
# Arguments: events of a round, and rounds.

using Shardwright

const CLOCK_THREAD_CPUTIME_ID = 3 # Linux

"Seconds of processor time that this thread has used: the one on which all of the package's tasks are."
function thread_cpu()
    now = Ref{NTuple{2,Clong}}((0, 0))
    ccall(:clock_gettime, Cint, (Cint, Ptr{Cvoid}), CLOCK_THREAD_CPUTIME_ID, now) == 0 || error("clock_gettime")
    return now[][1] + now[][2] / 1e9
end

"Says that the queue is empty, and waits until it is full; meanwhile no task gets a turn to read."
function wait_until_full(client, events)
    ccall(:write, Cssize_t, (Cint, Cstring, Csize_t), 1, "fill\n", 5)
    while true # the descriptor is Julia's own, which does not wait on it
        count = ccall(:read, Cssize_t, (Cint, Ref{UInt8}, Csize_t), 0, Ref{UInt8}(0), 1)
        count == 0 && error("nobody answers")
        count == 1 && break
        Libc.systemsleep(0.01)
    end
    while status(client).queue.events < events
        Libc.systemsleep(0.01)
    end
end

say(line) = (flush(stdout); println(line); flush(stdout))

function measure(prepare, name, batch, events, rounds)
    client = Client(; intents = 33281, events = [:MESSAGE_CREATE], batch = batch, log_level = :off,
        queue = (max_events = 1_000_000, max_bytes = 1 << 30))
    take_all = prepare(client)
    start(client; blocking = false)
    wait_ready(client)
    for _ in 1:rounds
        wait_until_full(client, events)
        began = thread_cpu()
        take_all(events)
        say("took\t$name\t$batch\t$((thread_cpu() - began) / events * 1e6)")
    end
    close(client; resumable = false)
end

"Takes from a channel; `use` says what of each event."
function from_channel(use)
    return function (client)
        incoming = events(client, :MESSAGE_CREATE)
        return count -> sum(use(take!(incoming)) for _ in 1:count)
    end
end

"Is called with each; `use` says what of it."
function in_handlers(use)
    return function (client)
        left = 0
        done = Channel{Nothing}(1)
        on(client, :MESSAGE_CREATE) do c, event
            use(event)
            left -= 1
            left == 0 && put!(done, nothing)
        end
        return count -> (left = count; take!(done))
    end
end

take_bytes(event) = sizeof(raw(event))
take_parsed(event) = length(data(event))

function main()
    events, rounds = parse.(Int, ARGS)
    say("host\tJulia $VERSION")
    for (kind, way) in ("channel" => from_channel, "handler" => in_handlers)
        for (name, use) in ("bytes" => take_bytes, "parsed" => take_parsed), batch in (1, 256)
            measure(way(use), "$kind, $name", batch, events, rounds)
        end
    end
end

main()
