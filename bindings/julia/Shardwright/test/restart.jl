# A restart goes on where the last process ended: nothing lost, nothing twice, no identify.

"A client that goes on where the last one with this directory ended, not started."
stored(sim, directory, delivery; options...) = Client(sim.token; intents = INTENTS, api_url = sim.api_url,
    log_level = :off, sessions = "sqlite:$directory/sessions", delivery = delivery, options...)

"The number of something that happened in the simulated world; nothing for any other event."
function number(event)
    data(event) isa JSONObject && event.nonce isa AbstractString || return nothing
    return parse(Int, event.nonce)
end

"The numbers of all that was sent."
sent(sim) = sort!([d.number for d in ask(sim, "seen?only=dispatches").dispatches if d.number !== nothing])

"Each event of a channel with a number, until it closes."
numbered(body, incoming) = foreach(event -> number(event) === nothing || body(event), incoming)

"Messages that do not come in one read of the socket, which would be done together."
function say_apart(sim, client, texts...)
    newest() = sum(something(shard.sequence, 0) for shard in status(client).shards)
    for text in texts
        before = newest()
        say(sim, text)
        while newest() == before
            sleep(0.001)
        end
    end
end

"What a client gets that resumes both shards: numbers, and whether they were replayed."
function missed(client)
    got, resumed = Tuple{Int,Bool}[], 0
    incoming = events(client)
    start(client; blocking = false)
    for event in incoming
        if number(event) !== nothing
            push!(got, (number(event), isreplayed(event)))
        elseif event_name(event) === :RESUMED
            resumed += 1
            resumed == 2 && stop(client)
        end
    end
    close(client)
    return got
end

"Takes events from a channel until there were enough, and stops."
function with_channel(client, enough)
    got = Int[]
    incoming = events(client)
    start(client; blocking = false)
    numbered(incoming) do event
        push!(got, number(event))
        length(got) == enough && stop(client)
    end
    close(client)
    return got
end

"Three tasks take from one channel."
function with_tasks(client, enough)
    got = Int[]
    incoming = events(client)
    start(client; blocking = false)
    foreach(wait, [@async numbered(incoming) do event
        sleep(0.001)
        push!(got, number(event))
        length(got) == enough && stop(client)
    end for _ in 1:3])
    close(client)
    return got
end

"Is called with them, and takes its time."
function with_handlers(client, enough)
    got = Int[]
    on(client, :MESSAGE_CREATE, :PRESENCE_UPDATE, :TYPING_START, :GUILD_MEMBER_UPDATE, :MESSAGE_REACTION_ADD) do c, event
        sleep(rand() / 100)
        push!(got, number(event))
        length(got) == enough && stop(c)
    end
    start(client)
    return got
end

@testset "a clean end loses nothing and repeats nothing: $delivery, $way" for
        delivery in ("at_most_once", :at_least_once), way in (with_channel, with_tasks, with_handlers)
    mktempdir() do directory
        Simulator(shards = 2) do sim
            # A shard that is late might begin its session when the others have all they want.
            client = stored(sim, directory, delivery)
            start(client; blocking = false)
            wait_ready(client)
            close(client)
            act(sim, "traffic"; events_per_second = 400)
            got = vcat(way(stored(sim, directory, delivery), 100), way(stored(sim, directory, delivery), 100))
            act(sim, "traffic"; events_per_second = 0)
            rest = missed(stored(sim, directory, delivery))
            @test sort(vcat(got, map(first, rest))) == sent(sim)
            @test all(last, rest)
            @test counts(sim).identifies == 2
            @test ask(sim, "violations") == []
        end
    end
end

@testset "what is not done comes again" begin
    mktempdir() do directory
        Simulator(shards = 2) do sim
            logs = Test.TestLogger()
            # A handler that throws is done; one that needed a client that had stopped is not.
            client = stored(sim, directory, "at_least_once"; events = [:MESSAGE_CREATE])
            act(sim, "rest_fault"; fault = (path = "/users/@me", what = "hang"))
            on(client, :MESSAGE_CREATE) do c, event
                event.content == "broken" && error("broken")
                if event.content == "cut off"
                    @async (reach(sim; rest = 2); stop(c))
                    rest(c, :GET, "/users/@me")
                end
            end
            with_logger(logs) do
                start(client; blocking = false)
                wait_ready(client)
                say_apart(sim, client, "fine", "broken", "cut off")
                wait(client)
                close(client)
            end
            @test count(record -> record.level == Logging.Error, logs.logs) == 2
            @test missed(stored(sim, directory, "at_least_once")) == [(sent(sim)[3], true)]

            # A loop whose block ends well is done; one that throws is not.
            function take_one(fails)
                Client(sim.token; intents = INTENTS, api_url = sim.api_url, log_level = :off, events = [:MESSAGE_CREATE],
                    sessions = "sqlite:$directory/sessions", delivery = "at_least_once") do client
                    incoming = events(client, :MESSAGE_CREATE)
                    start(client; blocking = false)
                    wait_ready(client)
                    fails && say(sim, "one")
                    event = take!(incoming)
                    fails && error("not done")
                    (number(event), isreplayed(event))
                end
            end
            @test thrown(() -> take_one(true)).msg == "not done"
            @test take_one(false) == (sent(sim)[4], true)
            @test missed(stored(sim, directory, "at_least_once")) == []

            # Held, it comes again, and so does what is after it.
            client = stored(sim, directory, "at_least_once"; events = [:MESSAGE_CREATE])
            incoming = events(client, :MESSAGE_CREATE)
            start(client; blocking = false)
            wait_ready(client)
            say_apart(sim, client, "first", "second", "third", "fourth")
            first = take!(incoming)
            twice = hold(first)
            second = take!(incoming)
            held = hold(second)
            foreach(_ -> done(twice), 1:3)
            wait(@async take!(incoming)) # done when the task has ended
            late = hold(first)
            @test [event.content for event in incoming if (stop(client); true)] == ["fourth"]
            @test length(getfield(client, :core).leases.open) == 1
            @test status(client).queue.bytes > 0
            leases = getfield(client, :core).leases
            close(client)
            @test isempty(leases.open)
            done(late)
            done(held)
            @test missed(stored(sim, directory, "at_least_once")) == [(n, true) for n in sent(sim)[6:8]]

            # What is left in a channel that was closed is done.
            client = stored(sim, directory, "at_least_once"; events = [:MESSAGE_CREATE])
            incoming = events(client, :MESSAGE_CREATE)
            start(client; blocking = false)
            wait_ready(client)
            say(sim, "nobody takes it")
            wait(incoming)
            @test isready(incoming) && fetch(incoming).content == "nobody takes it" && isopen(incoming)
            close(incoming)
            @test !isopen(incoming) && isempty(getfield(client, :core).leases.open)
            # By default a hold does nothing.
            Client("a.b.c"; intents = 0) do other
                done(hold(Event("X", "", -1, 0, 0, 0, 0, 0, "{}", nothing, nothing)))
                @test stop(other) === nothing
            end
            close(client)
            @test missed(stored(sim, directory, "at_least_once")) == []
            @test counts(sim).identifies == 2
        end
    end
    text = sprint(showerror, thrown(() -> Client("a.b.c"; intents = 1, delivery = "at_least_once")))
    @test occursin("sessions", text)
end

@testset "what waits in the engine comes again" begin
    mktempdir() do directory
        Simulator() do sim
            total = 3000
            # A channel that nobody takes from, and a request that polls past all that has room.
            client = stored(sim, directory, "at_least_once"; events = [:FLOOD], queue = (max_bytes = 1 << 20,))
            incoming = events(client, :FLOOD; size = 10)
            start(client; blocking = false)
            wait_ready(client)
            flooding = @async flood(sim, total)
            for n in 1:100
                @test take!(incoming).n == n
            end
            while status(client).queue.bytes < 1 << 20
                yield()
            end
            @test rest(client, :GET, "/users/@me").bot
            leases = getfield(client, :core).leases
            close(client)
            @test isempty(leases.open)
            wait(flooding)
            client = stored(sim, directory, "at_least_once"; events = [:FLOOD])
            incoming = events(client, :FLOOD)
            start(client; blocking = false)
            again = take!(incoming).n
            @test 1 <= again <= 100
            @test [take!(incoming).n for _ in (again + 1):total] == (again + 1):total
            stop(client)
            @test collect(incoming) == []
            close(client)
            @test counts(sim).identifies == 1
        end
    end
end

# -- kill -9 -------------------------------------------------------------------

const HOST = raw"""
    using Shardwright
    client = Client(; intents = [:GUILDS, :GUILD_MESSAGES, :MESSAGE_CONTENT], log_level = :off,
        sessions = ARGS[1], delivery = ARGS[2])
    # One write, so that a kill leaves it whole or not there at all.
    say(line) = ccall(:write, Cssize_t, (Cint, Cstring, Csize_t), 1, line * "\n", sizeof(line) + 1)
    on(client, :READY, :RESUMED) do c, event
        say("ready")
    end
    on(client, :MESSAGE_CREATE, :PRESENCE_UPDATE, :TYPING_START, :GUILD_MEMBER_UPDATE, :MESSAGE_REACTION_ADD) do c, event
        sleep(rand() / 50)
        say("$(event.nonce) $(isreplayed(event))")
    end
    start(client)
    """

"Kills hosts again and again and lets the last one finish: how often each number was finished, and how often unflagged."
function kill_hosts(sim, directory, delivery, kills)
    times, unflagged = Dict{Int,Int}(), Dict{Int,Int}()
    function note(line)
        line == "ready" && return false
        words = split(line)
        n = parse(Int, words[1])
        times[n] = get(times, n, 0) + 1
        unflagged[n] = get(unflagged, n, 0) + (words[2] == "false")
        return true
    end
    function run_and_kill(enough, numbers = Int[])
        command = `$(Base.julia_cmd()) --project=$(Base.active_project()) --startup-file=no -e $HOST
            sqlite:$directory/sessions $delivery`
        output = Pipe()
        process = run(pipeline(setenv(command, merge(Dict(ENV), Dict(environment(sim)))), stdout = output,
            stderr = devnull), wait = false)
        close(output.in)
        ready = seen = 0
        while ready < 2 || seen < enough || !all(n -> haskey(times, n), numbers)
            line = readline(output)
            isempty(line) && error("the host ended by itself")
            note(line) ? (seen += ready == 2) : (ready += 1)
        end
        kill(process, Base.SIGKILL)
        wait(process)
        foreach(note, eachline(output))
    end
    # A host takes seconds to compile, and much would be replayed to each with more.
    act(sim, "traffic"; events_per_second = 100)
    foreach(_ -> run_and_kill(rand(1:200)), 1:kills)
    act(sim, "traffic"; events_per_second = 0)
    run_and_kill(0, delivery == "at_least_once" ? sent(sim) : Int[])
    return times, unflagged
end

@testset "kill -9, $delivery" for delivery in ("at_least_once", "at_most_once")
    mktempdir() do directory
        Simulator(shards = 2) do sim
            times, unflagged = kill_hosts(sim, directory, delivery, 3)
            numbers = sent(sim)
            if delivery == "at_least_once"
                @test all(n -> get(times, n, 0) >= 1, numbers)
                @test maximum(values(unflagged)) == 1
            else
                @test maximum(values(times)) == 1
                @test length(times) > length(numbers) / 10
            end
            @test counts(sim).identifies == 2
            @test ask(sim, "violations") == []
        end
    end
end
