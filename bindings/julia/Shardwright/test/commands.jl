# What a bot can do, and how it is told when it cannot.

"The last payload of an opcode that the simulator got from each shard: shard to data."
function sent(sim, op)
    return Dict(command.shard[1] => command.d for command in ask(sim, "seen?only=commands").commands if command.op == op)
end

@testset "the gateway" begin
    Simulator(shards = 2) do sim
        with_client(sim) do client
            guild = world_guilds(sim)[1]
            own = shard_for_guild(guild.id, client.num_shards)

            update_presence(client; status = "idle", activities = [(name = "chess", type = ActivityTypes.GAME)])
            reach(sim; commands = 2)
            presences = sent(sim, 3)
            @test sort(collect(keys(presences))) == [0, 1]
            @test all(p -> p.status == "idle" && p.activities[1].name == "chess", values(presences))

            states = events(client, :VOICE_STATE_UPDATE)
            update_voice_state(client, guild.id; channel_id = guild.voice_channels[1], self_deaf = true)
            joined = take!(states)
            @test joined.channel_id == guild.voice_channels[1] && joined.self_deaf && shard_id(joined) == own
            update_voice_state(client, parse(Int, guild.id))
            @test take!(states).channel_id === nothing

            chunks = events(client, :GUILD_MEMBERS_CHUNK)
            request_guild_members(client, guild.id; query = "", limit = 10, nonce = "mine")
            chunk = take!(chunks)
            @test length(chunk.members) == 10 && chunk.nonce == "mine" && shard_id(chunk) == own
            someone = chunk.members[1].user.id
            request_guild_members(client, guild.id; user_ids = someone)
            @test [member.user.id for member in take!(chunks).members] == [someone]

            everyone = request_guild_members(client, guild.id; collect = true)
            @test length(everyone.members) == 100 && everyone.chunks == 1 && isempty(everyone.not_found)
            found = request_guild_members(client, guild.id; user_ids = [someone, 1], collect = true, timeout = 30)
            @test [member.user.id for member in found.members] == [someone] && length(found.not_found) == 1
            act(sim, "member_chunks"; chunks = "none")
            late = thrown(() -> request_guild_members(client, guild.id; query = "a", collect = true, timeout = 0.05))
            @test late isa ShardTimeout && occursin("no chunk came", sprint(showerror, late))

            request_soundboard_sounds(client, [g.id for g in world_guilds(sim)])
            request_channel_info(client, guild.id)
            gateway_command(client, 4, (guild_id = guild.id, channel_id = nothing, self_mute = false, self_deaf = false))
            restart_shard(client, 1)
            reach(sim; resumed = 1)
            @test get_gateway_bot(client).shards == 2
            @test reshard(client, 3).to == client.num_shards == 3
        end
        @test ask(sim, "violations") == []
    end
end

@testset "guilds are known" begin
    Simulator(shards = 2, guilds = 6) do sim
        Client(sim.token; intents = INTENTS, api_url = sim.api_url, log_level = :off) do client
            complete = events(client, :GUILDS_COMPLETE)
            start(client; blocking = false)
            @test sum(take!(complete).guilds for _ in 1:2) == 6
            stats = guild_stats(client)
            @test (stats.guilds, stats.unavailable, stats.members) == (6, 0, 600)
            @test [shard.complete for shard in stats.shards] == [true, true]
            page = guilds(client; limit = 4)
            @test length(page.guilds) == 4 && page.guilds[1].member_count == 100 && page.guilds[1].available
            rest = guilds(client; after = page.next)
            @test rest.next === nothing && length(rest.guilds) == 2
            @test Set(g.id for g in [page.guilds; rest.guilds]) == Set(g.id for g in world_guilds(sim))
            @test isempty(guilds(client; unavailable = true, shard = 1).guilds)
        end
    end
end

@testset "what is wrong is said" begin
    Simulator() do sim
        with_client(sim) do client
            for (call, words) in [
                (() -> update_presence(client; status = "asleep"), ["asleep"]),
                (() -> send_command(client, (type = "nothing",)), ["nothing"]),
                (() -> send_command(client, Dict("typ" => "rest")), ["type"]),
                (() -> update_voice_state(client, "12x"), ["12x", "digits"]),
                (() -> update_voice_state(client, -1), ["-1"]),
                (() -> create_message(client, "1/../2"; content = "x"), ["1/../2"]),
                (() -> create_message(client, nothing; content = "x"), ["nothing"]),
                (() -> update_presence(client; activities = [(name = "x"^5000, type = 0)]), ["4096"]),
                (() -> gateway_command(client, 4, nothing; shard = 7), ["7"]),
            ]
                text = sprint(showerror, thrown(call))
                @test all(word -> occursin(word, text), words)
            end
        end
    end
end

@testset "REST" begin
    Simulator() do sim
        with_client(sim; events = [:READY]) do client
            where = channel(sim)
            message = create_message(client, where; content = "hello", embeds = [(title = "ä",)])
            @test message.content == "hello" && message.id isa String
            edited = rest(client, :PATCH, "/channels/$where/messages/$(message.id)"; body = (content = "bye",))
            @test edited.content == "bye"
            file = create_message(client, parse(Int, where); content = "a file", files = [(name = "a.txt", data = "aGk=")])
            @test file.attachments[1].filename == "a.txt"
            @test length(rest(client, "GET", "/channels/$where/messages"; query = (limit = 1,))) == 1
            @test rest(client, :DELETE, "/channels/$where/messages/$(message.id)"; reason = "tidying up ä") === nothing

            problem = thrown(() -> rest(client, :GET, "/channels/1"))
            @test problem isa RESTError && problem.status == 404 && problem.code == 10003
            @test sprint(showerror, problem) == "RESTError: GET /channels/1 answered HTTP 404: $(problem.message) (code 10003)"
            problem = thrown(() -> create_message(client, where; content = "x"^3000))
            @test problem.status == 400 && occursin("content", sprint(showerror, problem))
            # A proxy's page, which is no JSON.
            fault(what; times = 1) = act(sim, "rest_fault"; fault = (path = "/users/@me", times = times, what = what))
            fault((status = (status = 418, body = "<html>teapot</html>"),))
            problem = thrown(() -> rest(client, :GET, "/users/@me"))
            @test problem.status == 418 && problem.body == "<html>teapot</html>" == problem.message
            # Rate limits are waited out.
            fault((rate_limit = (scope = "user", retry_after_ms = 100),); times = 2)
            @test rest(client, :GET, "/users/@me").bot

            fault("hang")
            reply = send_command(client, (type = "rest", method = "GET", path = "/users/@me"))
            @test !isready(reply) && sprint(show, reply) == "Reply(rest, not answered yet)"
            cancel(client, reply)
            @test thrown(() -> fetch(reply)).name == "SHARD_E_CANCELLED"
            cancel(client, reply) # again does nothing
            # One that waits when the client is closed.
            fault("hang")
            reply = send_command(client, (type = "rest", method = "GET", path = "/users/@me"))
            close(client)
            @test thrown(() -> wait(reply)) isa ClosedError
        end
    end
end

@testset "without a client" begin
    Simulator(shards = 3) do sim
        withenv("SHARDWRIGHT_API_URL" => sim.api_url) do
            info = get_gateway_bot("Bot " * sim.token)
            @test info.shards == 3 && startswith(info.url, "ws://")
            @test info.session_start_limit.remaining == info.session_start_limit.total
            @test info.session_start_limit.max_concurrency == 16
        end
        # No shard connected for it.
        @test counts(sim).handshakes == 0
    end
    @test shard_for_guild(197038439483310086, 16) == (197038439483310086 >> 22) % 16
    @test shard_for_guild("197038439483310086", 16) == shard_for_guild(197038439483310086, 16)
    @test shard_for_guild(typemax(UInt64), 7) == (typemax(UInt64) >> 22) % 7
    @test occursin("num_shards is 0", thrown(() -> shard_for_guild(1, 0)).msg)
    @test occursin("abc", thrown(() -> shard_for_guild("abc", 1)).msg)
end

@testset "intents" begin
    @test IntentGuilds == 1 && IntentMessageContent == 1 << 15 && IntentDirectMessagePolls == 1 << 25
    # The numbers are those of the engine, which knows the names.
    names = [("Intent" * join(uppercasefirst.(split(lowercase(name), '_'))), name) for name in [
        "GUILDS", "GUILD_MEMBERS", "GUILD_MODERATION", "GUILD_EXPRESSIONS", "GUILD_INTEGRATIONS", "GUILD_WEBHOOKS",
        "GUILD_INVITES", "GUILD_VOICE_STATES", "GUILD_PRESENCES", "GUILD_MESSAGES", "GUILD_MESSAGE_REACTIONS",
        "GUILD_MESSAGE_TYPING", "DIRECT_MESSAGES", "DIRECT_MESSAGE_REACTIONS", "DIRECT_MESSAGE_TYPING",
        "MESSAGE_CONTENT", "GUILD_SCHEDULED_EVENTS", "AUTO_MODERATION_CONFIGURATION", "AUTO_MODERATION_EXECUTION",
        "GUILD_MESSAGE_POLLS", "DIRECT_MESSAGE_POLLS"]]
    Simulator() do sim
        with_client(sim; num_shards = 1) do client
        end
        Client(sim.token; intents = map(last, names), api_url = sim.api_url, num_shards = 1, log_level = :off) do client
            start(client; blocking = false)
            wait_ready(client)
        end
        identifies = ask(sim, "seen?only=identifies").identifies
        @test identifies[1].intents == INTENTS
        @test identifies[2].intents == reduce(|, getfield(Shardwright, Symbol(name)) for (name, _) in names)
    end
end
