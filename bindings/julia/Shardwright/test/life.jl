# Ends of all kinds: close, garbage collection, Ctrl-C; and what is left afterwards.

open_files() = length(readdir("/proc/self/fd"))
resident_bytes() = parse(Int, split(read("/proc/self/statm", String))[2]) * 4096
threads() = length(readdir("/proc/self/task"))

"Waits for what happens by itself soon, in another thread, and tells nobody."
function eventually(condition)
    while !condition()
        yield()
    end
    return true
end

@testset "the garbage collector storms while 10,000 events flow" begin
    Simulator() do sim
        total = 10_000
        logs = Test.TestLogger()
        with_logger(logs) do
            with_client(sim; events = [:FLOOD]) do client
                handled = Channel{Int}(total)
                on(client, :FLOOD) do c, event
                    event.n % 100 == 0 && error("broken by $(event.n)")
                    put!(handled, event.n)
                end
                seen = events(client, :FLOOD)
                storming, storms = true, 0
                storm = @async while storming
                    GC.gc(storms % 20 == 0)
                    storms += 1
                    yield()
                end
                flooding = @async flood(sim, total)
                @test [take!(seen).n for _ in 1:total] == 1:total
                good = [n for n in 1:total if n % 100 != 0]
                @test [take!(handled) for _ in good] == good
                storming = false
                wait(storm)
                wait(flooding)
                @test storms > 10
                queue = status(client).queue
                @test (queue.events, queue.bytes, queue.dropped) == (0, 0, 0)
            end
        end
        @test count(record -> record.level == Logging.Error, logs.logs) == total ÷ 100
    end
end

@testset "many events leave nothing" begin
    Simulator() do sim
        with_client(sim; events = [:FLOOD]) do client
            seen = events(client, :FLOOD)
            sizes = map(1:3) do _
                flooding = @async flood(sim, 10_000)
                foreach(_ -> take!(seen).n, 1:10_000)
                wait(flooding)
                GC.gc()
                queue = status(client).queue
                @test (queue.events, queue.bytes) == (0, 0)
                (Base.gc_live_bytes(), resident_bytes())
            end
            # The 10,000 events of the last round had 6 MB, and twice that as strings.
            grown = sizes[3] .- sizes[2]
            @test grown[1] < 2_000_000 # what Julia still holds
            @test grown[2] < 12_000_000 # what the process has, which moves about more
        end
    end
end

@testset "clients that nobody closes" begin
    Simulator() do sim
        # Compiles all there is, so that the numbers are about clients.
        with_client(client -> nothing, sim)
        lose_one(started) = begin
            client = Client(sim.token; intents = INTENTS, api_url = sim.api_url, log_level = :off)
            if started
                start(client; blocking = false)
                wait_ready(client)
            end
            return WeakRef(client)
        end
        GC.gc()
        files, tasks, closed = open_files(), threads(), counts(sim).closed
        lost = [lose_one(started) for started in (true, false, true)]
        @test eventually(() -> (GC.gc(); all(reference -> reference.value === nothing, lost)))
        reach(sim; closed = closed + 2)
        @test eventually(() -> open_files() <= files && threads() <= tasks)
    end
end

@testset "a client with handlers lives until it is closed" begin
    Simulator() do sim
        done = Channel{Nothing}(1)
        function make_one()
            client = Client(sim.token; intents = INTENTS, api_url = sim.api_url, log_level = :off)
            on((c, event) -> put!(done, nothing), client, :MESSAGE_CREATE)
            start(client; blocking = false)
            wait_ready(client)
            return WeakRef(client)
        end
        reference = make_one()
        foreach(_ -> GC.gc(), 1:5)
        say(sim, "still there?")
        @test take!(done) === nothing
        close_it(reference) = close(reference.value)
        close_it(reference)
        @test eventually(() -> (GC.gc(); reference.value === nothing))
    end
end

@testset "twenty clients, one after the other" begin
    Simulator() do sim
        with_client(client -> nothing, sim)
        files, tasks = open_files(), threads()
        for number in 1:20
            client = Client(sim.token; intents = INTENTS, api_url = sim.api_url, num_shards = 16, shards = [number % 16],
                log_level = :off)
            if number % 2 == 0
                start(client; blocking = false)
                number % 4 == 0 && wait_ready(client)
            end
            close(client)
            close(client)
            @test !isopen(client)
        end
        @test eventually(() -> open_files() <= files && threads() <= tasks)
    end
end

@testset "closing from everywhere" begin
    Simulator() do sim
        # Two tasks and a handler at once, and one that waits for the end.
        with_client(sim) do client
            on((c, event) -> close(c), client, :MESSAGE_CREATE)
            waiting = @async wait(client)
            say(sim, "close")
            wait(waiting)
            foreach(wait, [@async close(client) for _ in 1:2])
            @test !isopen(client)
        end
        @test length(ask(sim, "state").sessions) == 1 # which can be resumed
        with_client(sim) do client
            close(client; resumable = false)
        end
        reach(sim; closed = 2)
        @test length(ask(sim, "state").sessions) == 1
        # A body that throws closes its client.
        client = Ref{Client}()
        problem = thrown() do
            with_client(sim) do c
                client[] = c
                error("thrown in the block")
            end
        end
        @test problem.msg == "thrown in the block" && !isopen(client[])
    end
end

"Runs a Julia program for the simulator until it has printed a line, then calls `then` with its process."
function run_julia(then, sim, code)
    command = `$(Base.julia_cmd()) --project=$(Base.active_project()) --startup-file=no -e $code`
    output, errors = Pipe(), Pipe()
    process = run(pipeline(setenv(command, merge(Dict(ENV), Dict(environment(sim)))), stdout = output, stderr = errors),
        wait = false)
    close(output.in)
    close(errors.in)
    said = @async read(errors, String)
    @test readline(output) == "ready"
    then(process)
    wait(process)
    return process, fetch(said)
end

@testset "the program ends" begin
    program_text = """
        using Shardwright
        client = Client(; intents = IntentGuilds, num_shards = 1)
        on((c, event) -> println("ready"), client, :READY)
        """
    Simulator() do sim
        # Ctrl-C, with which Julia ends a script.
        process, errors = run_julia(process -> kill(process, Base.SIGINT), sim, program_text * "start(client); exit(7)")
        reach(sim; closed = 1)
        @test process.exitcode in (1, 130) || process.termsignal == Base.SIGINT
        # At its own end, with a running client that nobody closed.
        process, errors = run_julia(process -> nothing, sim,
            "using Shardwright; client = Client(; intents = IntentGuilds, num_shards = 1); " *
            "start(client; blocking = false); wait_ready(client); println(\"ready\")")
        reach(sim; closed = 2)
        @test process.exitcode == 0 && !occursin("rror", errors)
        # Both leave sessions that can be resumed.
        @test length(ask(sim, "state").sessions) == 2
    end
end
