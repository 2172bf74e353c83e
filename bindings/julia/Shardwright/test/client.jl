# A bot's life: events, handlers, channels, sockets that break, what is refused.

@testset "a bot answers" begin
    Simulator(shards = 2) do sim
        where = channel(sim)
        client = Client(sim.token; intents = INTENTS, api_url = sim.api_url)
        seen = events(client, :MESSAGE_CREATE)
        readies = Channel{Any}(2)
        on(client, :READY) do c, event
            put!(readies, (shard_id(event), event.shard, event.user.username))
        end
        on(client, :MESSAGE_CREATE) do c, event
            event.content == "!ping" && create_message(c, event.channel_id; content = "Pong!")
        end
        @test client.num_shards === nothing && !client.running && isopen(client)
        @test sprint(show, client) == "Client(not started, number of shards not known yet)"
        logs = Test.TestLogger()
        with_logger(logs) do
            start(client; blocking = false)
        end
        for _ in 1:2
            id, shard, name = take!(readies)
            @test shard == [id, 2] && !isempty(name)
        end
        wait_ready(client; timeout = 30)
        @test client.num_shards == 2 && client.running && healthy(client)
        @test sprint(show, client) == "Client(running, 2 shards)"
        # The engine's log came to the logger of the task that started the client.
        @test any(record -> record.level == Logging.Info && occursin("starting shards", record.message), logs.logs)

        say(sim, "!ping", where)
        question, answer = take!(seen), take!(seen)
        @test question.content == "!ping" && answer.content == "Pong!"
        @test question.author.id isa String && question.nothing_of_that_name === nothing
        @test guild_id(question) == parse(UInt64, world_guilds(sim)[1].id)
        @test shard_id(question) == shard_for_guild(guild_id(question), 2)
        @test sequence(answer) == sequence(question) + 1 && !isreplayed(question)
        @test abs(received_at(question) - time()) < 60
        @test startswith(raw(question), "{") && data(question) isa JSONObject
        @test messages(sim, where) == ["!ping", "Pong!"]

        close(client)
        @test !isopen(client) && !client.running && sprint(show, client) == "Client(closed)"
        @test [event.content for event in seen] == [] # the channel has ended
        @test ask(sim, "violations") == []
    end
end

@testset "a dropped socket loses nothing" begin
    Simulator() do sim
        with_client(sim; events = [:MESSAGE_CREATE]) do client
            seen = events(client, :MESSAGE_CREATE)
            states = events(client, :SHARD_STATE)
            where = channel(sim)
            for round in 1:3
                act(sim, "drop"; how = "reset")
                for number in 1:5
                    say(sim, "$round, $number", where)
                end
                reach(sim; resumed = round)
                @test [take!(seen).content for _ in 1:5] == ["$round, $number" for number in 1:5]
            end
            @test counts(sim).identifies == 1
            said = [take!(states).to for _ in 1:3]
            @test "disconnected" in said
            act(sim, "reconnect")
            reach(sim; resumed = 4)
        end
        @test ask(sim, "violations") == []
    end
end

@testset "batches" begin
    Simulator() do sim
        where = channel(sim)
        sent = ["$number $("é"^(number % 7 * 50))" for number in 1:300]
        came, kept, sizes, others = String[], Event[], Int[], Channel{Any}(400)
        logs = Test.TestLogger()
        with_logger(logs) do
            with_client(sim; events = [:MESSAGE_CREATE], batch = 100) do client
                on((c, event) -> put!(others, event.content), client, :MESSAGE_CREATE)
                on_batch(client) do batch
                    push!(sizes, count(_ -> true, batch))
                    for event in batch
                        @test String(name_bytes(event)) == "MESSAGE_CREATE" && event_name(event) == :MESSAGE_CREATE
                        @test length(raw_bytes(event)) == sizeof(raw(event)) && raw_bytes(event)[1] == UInt8('{')
                        @test_throws BoundsError raw_bytes(event)[0]
                        @test guild_id(event) !== nothing && shard_id(event) == 0 && !isreplayed(event)
                        push!(came, data(event).content)
                        push!(kept, Event(event))
                    end
                    length(came) > 10 && error("broken after $(length(came))")
                end
                for text in sent
                    say(sim, text, where)
                end
                @test [take!(others) for _ in sent] == sent
            end
        end
        # What is copied stays, and a function that throws is called again.
        @test came == sent && [event.content for event in kept] == sent
        @test 1 <= maximum(sizes) <= 100 && issorted(sequence.(kept))
        @test any(record -> occursin("function for batches threw", record.message), logs.logs)
    end
end

@testset "handlers that throw" begin
    Simulator() do sim
        logs = Test.TestLogger()
        with_logger(logs) do
            with_client(sim; events = [:MESSAGE_CREATE]) do client
                broken(event) = error("broken by $(event.content)")
                on((c, event) -> broken(event), client, :MESSAGE_CREATE)
                done = Channel{String}(10)
                on(client, :MESSAGE_CREATE) do c, event
                    put!(done, event.content)
                end
                where = channel(sim)
                for number in 1:5
                    say(sim, string(number), where)
                    @test take!(done) == string(number)
                end
            end
        end
        errors = filter(record -> record.level == Logging.Error, logs.logs)
        @test length(errors) == 5
        @test occursin("MESSAGE_CREATE threw", errors[1].message)
        problem, trace = errors[1].kwargs[:exception]
        @test problem.msg == "broken by 1"
        # The backtrace names the function that threw.
        @test any(frame -> occursin("broken", string(frame.func)), stacktrace(trace))
    end
end

@testset "a slow handler holds up nobody" begin
    Simulator() do sim
        with_client(sim; events = [:MESSAGE_CREATE]) do client
            gate = Channel{Nothing}(0)
            done = Channel{String}(10)
            on(client, :MESSAGE_CREATE) do c, event
                event.content == "slow" && take!(gate)
                put!(done, event.content)
            end
            say(sim, "slow")
            say(sim, "fast")
            @test take!(done) == "fast"
            @test rest(client, :GET, "/users/@me").bot
            put!(gate, nothing)
            @test take!(done) == "slow"
        end
    end
end

@testset "handlers are bounded" begin
    Simulator() do sim
        with_client(sim; events = [:MESSAGE_CREATE], handler_tasks = 2) do client
            entered, gate = Channel{String}(3), Channel{Nothing}(0)
            on(client, :MESSAGE_CREATE) do c, event
                put!(entered, event.content)
                take!(gate)
            end
            where = channel(sim)
            foreach(number -> say(sim, string(number), where), 1:3)
            @test [take!(entered), take!(entered)] == ["1", "2"]
            # The answer comes behind the third message, for which there is no room.
            rest(client, :GET, "/users/@me")
            @test !isready(entered)
            put!(gate, nothing)
            @test take!(entered) == "3"
            foreach(_ -> put!(gate, nothing), 1:2)
        end
        @test occursin("handler_tasks is 0", thrown(() -> Client("x"; intents = 0, handler_tasks = 0)).msg)
        @test occursin("batch is 257", thrown(() -> Client("x"; intents = 0, batch = 257)).msg)
    end
end

@testset "nobody takes the events" begin
    Simulator() do sim
        with_client(sim; events = [:FLOOD], queue = (max_events = 500,)) do client
            seen = events(client, :FLOOD; size = 10)
            # More than the channel, the backlog of the package and the engine's queue have room for together.
            total = 5000
            flooding = @async flood(sim, total)
            while status(client).queue.events < 500
                yield()
            end
            # A command's answer comes past all of them.
            @test rest(client, :GET, "/users/@me").bot
            @test [take!(seen).n for _ in 1:total] == 1:total
            wait(flooding)
            @test status(client).queue.dropped == 0
        end
    end
end

@testset "events as channels" begin
    Simulator() do sim
        with_client(sim) do client
            all, some = events(client), events(client, "MESSAGE_CREATE", :TYPING_START)
            closed = events(client, :MESSAGE_CREATE; size = 1)
            close(closed) # whoever has enough closes it; the others go on
            say(sim, "hello")
            @test take!(some).content == "hello"
            event = take!(all)
            @test event_name(event) === :MESSAGE_CREATE && event.content == "hello"
            say(sim, "again")
            @test take!(some).content == "again"
            @test length(getfield(client, :core).channels) == 2
        end
    end
end

@testset "what is refused is explained" begin
    Simulator() do sim
        client = Client("wrong.token.here"; intents = INTENTS, api_url = sim.api_url, log_level = :off)
        fatal = events(client, :FATAL)
        problem = thrown(() -> start(client))
        @test problem isa FatalError
        @test occursin("token", problem.message) && occursin("Developer Portal", problem.message)
        @test !occursin("wrong.token.here", sprint(showerror, problem))
        @test !isopen(client)
        @test occursin("token", first(fatal).reason)
        @test thrown(() -> get_gateway_bot("wrong.token.here"; api_url = sim.api_url)) isa FatalError
    end
    for (options, words) in [
        ((intents = 1, api_uri = "x"), ["api_uri"]), ((intents = [:GUILD],), ["GUILD"]),
        ((intents = 1, shards = 0:3), ["shards = 0:3", "num_shards"]),
        ((intents = 1, num_shards = 0), ["num_shards is 0"]),
        ((intents = 1, num_shards = 4, shards = 2:4), ["shards = 2:4", "0 to 3"]),
        ((intents = 1, num_shards = 4, shards = Int[]), ["shards is empty"]),
        ((intents = 1, profile = :test), ["profile", "production"]),
        ((intents = 1, metrics_address = "localhost"), ["metrics_address", "127.0.0.1:9464"]),
        ((intents = 1, compression = "lz4"), ["compression"]), ((intents = 1, log_level = :loud), ["level"]),
    ]
        text = sprint(showerror, thrown(() -> Client("a.b.c"; options...)))
        @test all(word -> occursin(word, text), words)
    end
    withenv("DISCORD_TOKEN" => nothing) do
        @test occursin("DISCORD_TOKEN", sprint(showerror, thrown(() -> Client(; intents = 0))))
    end
    client = Client("a.b.c"; intents = 0)
    @test occursin("not started", thrown(() -> wait(client)).msg)
    @test occursin("start the client first", thrown(() -> update_presence(client)).message)
    @test occursin("no shard_count", thrown(() -> client.shard_count).msg)
    close(client)
    for use in (c -> start(c), c -> rest(c, :GET, "/x"), c -> wait_ready(c), c -> events(c), c -> metrics(c))
        @test thrown(() -> use(client)) isa ClosedError
    end
end

@testset "the token is never shown" begin
    token = "MTAw.secret.part"
    client = Client(token; intents = 0, num_shards = 1)
    for text in (sprint(show, client), repr(client), string(client), sprint(dump, client), to_json(status(client)),
                 metrics(client), sprint(show, "text/plain", client))
        @test !occursin("secret", text)
    end
    close(client)
end

@testset "shards and their status" begin
    Simulator(shards = 4, guilds = 8) do sim
        Client(sim.token; intents = INTENTS, api_url = sim.api_url, log_level = :off, num_shards = 4,
            shards = 1:2) do client
            @test client.num_shards == 4
            @test [(s.id, s.total, s.status, s.session_connected) for s in shard_status(client)] ==
                [(1, 4, "not started", false), (2, 4, "not started", false)]
            start(client; blocking = false)
            wait_ready(client)
            @test [(s.id, s.total, s.status, s.session_connected) for s in client.shards] ==
                [(1, 4, "running", true), (2, 4, "running", true)]
            @test guild_count(client) == sum(s.guilds for s in client.shards) == 4
            @test client.shards[1].details.session
            @test occursin("shardwright", metrics(client))
            # A guild of a shard that another process runs.
            other = first(g.id for g in world_guilds(sim) if shard_for_guild(g.id, 4) == 3)
            @test thrown(() -> update_voice_state(client, other)).name == "SHARD_E_UNKNOWN_SHARD"
            close(client)
            @test [s.status for s in shard_status(client)] == ["stopped", "stopped"]
        end
    end
end
