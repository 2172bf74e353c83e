# A large bot in several processes: starts as many workers as it takes to run all shards, and starts one again
# that has ended. Ctrl-C ends it and them.
#
#     julia --project=bindings/julia/Shardwright examples/julia/launcher.jl [shards per process]

using Shardwright

per_process = isempty(ARGS) ? 4 : parse(Int, ARGS[1])
total = get_gateway_bot(ENV["DISCORD_TOKEN"]).shards
julia = `$(Base.julia_cmd()) --project=$(Base.active_project())`
worker = joinpath(@__DIR__, "worker.jl")

workers = Dict{UnitRange{Int},Base.Process}()
# A worker leaves its sessions resumable when it is interrupted.
atexit(() -> foreach(process -> kill(process, Base.SIGINT), values(workers)))

function keep_running(shards)
    while true
        println("starting a worker for shards $shards")
        command = `$julia $worker --total-shards $total --shard-start $(first(shards)) --shard-end $(last(shards))`
        workers[shards] = run(pipeline(command, stdout = stdout, stderr = stderr); wait = false)
        wait(workers[shards])
        println("the worker for shards $shards has ended with $(workers[shards].exitcode)")
        sleep(5) # no identify is wasted on one that ends again and again
    end
end

@sync for first_shard in 0:per_process:(total - 1)
    shards = first_shard:min(first_shard + per_process - 1, total - 1)
    @async keep_running(shards)
end
