# What the processes of a bot share, on one SQLite file; each client here is as good as a process.

"A client with one of two shards, and what it shares, started."
function worker(body, sim, directory, shard; prepare = _ -> nothing)
    Client(sim.token; intents = INTENTS, api_url = sim.api_url, log_level = :off, num_shards = 2, shards = [shard],
        backplane = "sqlite:$directory/backplane", store = "sqlite:$directory/store") do client
        prepare(client)
        start(client; blocking = false)
        wait_ready(client; timeout = 30)
        body(client)
    end
end

"Two of them."
function workers(body, sim; prepare = _ -> nothing)
    mktempdir() do directory
        worker(sim, directory, 0; prepare = prepare) do first
            worker(second -> body(first, second), sim, directory, 1; prepare = prepare)
        end
    end
end

@testset "messages and calls" begin
    Simulator(shards = 2) do sim
        heard = Channel{Any}(8)
        prepare(client) = begin
            on_message((c, data) -> put!(heard, (status(c).worker, data)), client, "reload")
            on_call(client, "count") do c, data
                data == 0 && error("nothing to count")
                return data * guild_count(c)
            end
        end
        logs = Test.TestLogger()
        with_logger(logs) do
            workers(sim; prepare = prepare) do first, second
                names = sort([status(first).worker, status(second).worker])
                publish(second, "reload", (what = "config",))
                said = [take!(heard) for _ in 1:2]
                @test sort([name for (name, _) in said]) == names && all(data.what == "config" for (_, data) in said)

                result = call(first, "count", 10)
                @test isempty(result.missing) && sort([answer.from for answer in result.answers]) == names
                @test sum(answer.data for answer in result.answers) == 10 * (guild_count(first) + guild_count(second))
                @test all(occursin("nothing to count", answer.error) for answer in call(second, "count", 0).answers)
                unsubscribe(second, "count")
                @test [answer.from for answer in call(second, "count", 1).answers] == [status(first).worker]
                @test cluster_stats(first).total.workers == 2
            end
        end
        @test any(record -> occursin("a handler of CALL threw", record.message), logs.logs)
    end
end

@testset "cache and store" begin
    Simulator(shards = 2) do sim
        workers(sim) do first, second
            changes = events(second, :MESSAGE)
            @test cache_get(first, "user:1") === nothing
            version = cache_set(first, "user:1", nothing; ttl = 60, announce = true)
            change = take!(changes)
            @test topic(change) == "_cache" && change["data"].version == version
            @test cache_get(second, "user:1").value === nothing && cache_get(second, "user:1").ttl_ms <= 60_000
            refused = thrown(() -> cache_set(second, "user:1", 2; expected_version = 0))
            @test refused isa ShardError && refused.name == "SHARD_E_STATE" && occursin("$version", refused.message)
            @test [cache_increment(first, "today", by) for by in (1, 5, -2)] == [1, 6, 4]
            @test [cache_delete(second, "user:1") for _ in 1:2] == [true, false]

            version = store_put(first, "settings", "1", (prefix = "!",))
            @test store_get(second, "settings", "1").value.prefix == "!"
            @test thrown(() -> store_put(second, "settings", "1", 2; expected_version = version + 1)) isa ShardError
            store_put(second, "settings", "12", nothing; expected_version = 0)
            @test [it.key for it in store_list(first, "settings"; prefix = "1").documents] == ["1", "12"]
            @test store_delete(first, "settings", "1"; expected_version = version)
            @test store_get(first, "settings", "1") === nothing
        end
    end
end

@testset "jobs" begin
    Simulator(shards = 2) do sim
        done, failed = Channel{Int}(40), Set{Int}()
        prepare(client) = on_job(client, "numbers"; concurrency = 3) do c, job
            number = job.payload
            if number % 5 == 0 && !(number in failed)
                push!(failed, number)
                error("job $number fails at first")
            end
            put!(done, number)
        end
        with_logger(Test.TestLogger()) do
            workers(sim; prepare = prepare) do first, second
                jobs = [job_push(first, "numbers", number; max_attempts = 2) for number in 1:20]
                @test all(job -> job.new, jobs)
                @test sort([take!(done) for _ in 1:20]) == 1:20 && failed == Set([5, 10, 15, 20])
                # Not consumed by a function: by hand.
                job_push(first, "mail", "nobody"; dedupe = "nobody")
                @test !job_push(second, "mail", "nobody"; dedupe = "nobody").new
                taken = events(second, :JOB)
                job_consume(second, "mail", 1)
                job = take!(taken)
                while topic(job) != "mail"
                    job = take!(taken)
                end
                job_fail(second, job, "no such address"; retry = false)
                dead = job_list(first, "mail", :dead).jobs
                @test [it.error for it in dead] == ["no such address"]
                job_retry(first, "mail", dead[1].job_id)
                again = take!(taken)
                @test again.payload == "nobody" && again.attempt == 1
                job_ack(second, again)
                @test thrown(() -> job_ack(second, again)).name == "SHARD_E_NOT_FOUND"
                # Again and again.
                @test job_schedule(first, "mail", "tick", "now"; every = 1).new
                @test !job_schedule(second, "mail", "tick", "now"; every = 1).new
                @test job_schedule(first, "mail", "report", nothing; cron = "0 9 * * MON").next_at_ms > 0
                @test [it.name for it in job_schedules(second, "mail")] == ["report", "tick"]
                @test take!(taken).payload == "now"
                @test [job_unschedule(first, "mail", "tick") for _ in 1:2] == [true, false]
                @test occursin("five fields", thrown(() -> job_schedule(first, "mail", "x", 1; cron = "daily")).message)
            end
        end
    end
end

@testset "without a backplane" begin
    Simulator() do sim
        with_client(sim) do client
            @test occursin("`backplane`", thrown(() -> subscribe(client, "reload")).message)
        end
        client = Client(sim.token; intents = INTENTS, api_url = sim.api_url, log_level = :off)
        on_call((c, data) -> 1, client, "count")
        @test occursin("`backplane`", thrown(() -> start(client; blocking = false)).message)
        @test !isopen(client)
    end
end
