# Every Julia block of the guide and of the README runs, and so does every example.

"The Julia blocks of a document: where, the text, and whether it is a bot that answers."
function blocks(file)
    text = read(joinpath(REPOSITORY, file), String)
    return map(collect(eachmatch(r"^```julia\n(.*?)^```\n(<!-- test: answers -->)?"ms, text))) do found
        line = count(isequal('\n'), SubString(text, 1, found.offset)) + 1
        ("$file:$line", String(found[1]), found[2] !== nothing)
    end
end

"Runs a block in a module of its own. One that uses a client without making it gets one."
function run_block(sim, name, text, answers)
    space = Module(:Block)
    Core.eval(space, :(using Shardwright))
    own = nothing
    if !occursin("Client(", text) && occursin("client", text)
        own = Client(; intents = INTENTS, log_level = :off)
        start(own; blocking = false)
        wait_ready(own)
        guild = world_guilds(sim)[1]
        for (key, value) in (:client => own, :guild_id => guild.id, :channel_id => guild.text_channels[1],
                             :voice_channel_id => guild.voice_channels[1])
            Core.eval(space, :($key = $value))
        end
    end
    before = counts(sim)
    running = @async include_string(space, text, name)
    if occursin("\nstart(client)\n", text)
        reach(sim; readies = before.readies + 2)
        if answers
            where = channel(sim)
            say(sim, "!ping", where)
            reach(sim; rest = before.rest + 2) # /gateway/bot, and the answer
            @test messages(sim, where) == ["!ping", "Pong!"]
        end
        close(Core.eval(space, :client))
    end
    wait(running) # throws what the block threw
    own === nothing || close(own)
    return true
end

all_blocks = vcat(blocks("docs/julia.md"), blocks("bindings/julia/README.md"))
@test length(all_blocks) >= 12 && count(block -> block[3], all_blocks) == 2
@testset "$name" for (name, text, answers) in all_blocks
    Simulator(shards = 2) do sim
        withenv(environment(sim)...) do
            logs = Test.TestLogger()
            mktempdir() do directory # for what it writes
                output = mktemp() do path, file
                    with_logger(logs) do
                        redirect_stdout(() -> cd(() -> (@test run_block(sim, name, text, answers)), directory), file)
                    end
                end
            end
            @test isempty(filter(record -> record.level >= Logging.Warn, logs.logs))
        end
    end
end

# -- examples -------------------------------------------------------------------

"A running example."
struct Program
    process::Base.Process
    output::Pipe
    lines::Vector{String} # what it has printed so far
end

function start_program(sim, file, arguments...)
    path = joinpath(REPOSITORY, "examples", "julia", file)
    command = `$(Base.julia_cmd()) --project=$(Base.active_project()) --startup-file=no $path $arguments`
    output = Pipe()
    process = run(pipeline(setenv(command, merge(Dict(ENV), Dict(environment(sim)))), stdout = output, stderr = devnull),
        wait = false)
    close(output.in)
    return Program(process, output, String[])
end

"Waits for a line that matches, and returns the match."
function line(program::Program, pattern)
    while true
        text = readline(program.output; keep = true)
        isempty(text) && error("it ended with $(program.process.exitcode) and never said $pattern, but $(program.lines)")
        push!(program.lines, chomp(text))
        found = match(pattern, text)
        found === nothing || return found
    end
end

"Presses Ctrl-C, which ends it."
function interrupt(program::Program)
    kill(program.process, Base.SIGINT)
    wait(program.process)
end

"A user writes; the answer."
function ask_bot(sim, question)
    where = channel(sim)
    before = counts(sim).rest
    say(sim, question, where)
    reach(sim; rest = before + 1)
    return last(messages(sim, where))
end

# They run in tasks of their own, where Test cannot collect results: so they assert.
const CHECKS = Dict(
    "ping_bot.jl" => sim -> begin
        bot = start_program(sim, "ping_bot.jl")
        reach(sim; readies = 4)
        @assert ask_bot(sim, "!ping") == "Pong!"
        interrupt(bot)
    end,
    "basic_setup.jl" => sim -> begin
        bot = start_program(sim, "basic_setup.jl")
        @assert sort([line(bot, r"shard (\d) of 4 is ready, with 2 guilds")[1] for _ in 1:4]) == ["0", "1", "2", "3"]
        own = shard_for_guild(world_guilds(sim)[1].id, 4)
        @assert ask_bot(sim, "!ping") == "Pong from shard $(own)!"
        interrupt(bot)
    end,
    "auto_sharding.jl" => sim -> begin
        bot = start_program(sim, "auto_sharding.jl")
        line(bot, r"gateway: ws://")
        line(bot, r"recommended: 4 shards")
        line(bot, r"session starts left: 1000 of 1000, 16 at a time")
        @assert sort([line(bot, r"shard (\d) is ready")[1] for _ in 1:4]) == ["0", "1", "2", "3"]
        interrupt(bot)
    end,
    "shard_aware.jl" => sim -> begin
        bot = start_program(sim, "shard_aware.jl")
        line(bot, r"in voice channel \d+")
        own = line(bot, r"got 100 members of guild \d+ on shard (\d)")[1]
        line(bot, Regex("is on shard $own, which is running"))
        wait(bot.process)
        @assert bot.process.exitcode == 0 # by itself
        presences = [c for c in ask(sim, "seen?only=commands").commands if c.op == 3]
        @assert length(presences) == 4 && presences[1].d.activities[1].name == "with 4 shards"
    end,
    "launcher.jl" => sim -> begin
        bot = start_program(sim, "launcher.jl", "3")
        @assert sort([line(bot, r"starting a worker for shards (\d:\d)")[1] for _ in 1:2]) == ["0:2", "3:3"]
        found = [line(bot, r"process (\d+) has shard (\d)").captures for _ in 1:4]
        @assert sort(map(last, found)) == ["0", "1", "2", "3"]
        process = Dict(shard => id for (id, shard) in found)
        @assert process["0"] == process["1"] == process["2"] != process["3"]
        own = shard_for_guild(world_guilds(sim)[1].id, 4)
        @assert ask_bot(sim, "!ping") == "Pong from process $(process[string(own)])!"
        # One that dies is started again.
        run(`kill -9 $(process["3"])`)
        line(bot, r"the worker for shards 3:3 has ended")
        @assert line(bot, r"process (\d+) has shard 3")[1] != process["3"]
        interrupt(bot)
        reach(sim; closed = 5) # the workers end with it
    end,
    "health.jl" => sim -> begin
        bot = start_program(sim, "health.jl", "0.2")
        line(bot, r"shard \d: idle -> queued")
        line(bot, r"shard 3/4: running, session connected: true, latency: .* ms, guilds: 2")
        line(bot, r"all is well")
        act(sim, "close"; code = 4014, target = (shard = 1,))
        line(bot, r"shard 1: ready -> fatal")
        line(bot, r"shard 1/4: failed, session connected: false")
        line(bot, r"something is wrong")
        interrupt(bot)
    end,
    "global_command.jl" => sim -> begin
        mktempdir() do directory
            bots = map(("0-1/4", "2-3/4")) do shards
                withenv(() -> start_program(sim, "global_command.jl"), "SHARDWRIGHT_SHARDS" => shards,
                    "SHARDWRIGHT_BACKPLANE" => "sqlite:$directory/backplane")
            end
            for bot in bots, _ in 1:2
                line(bot, r"shard \d is ready")
            end
            @assert ask_bot(sim, "!guilds") == "8 guilds in 2 processes"
            say(sim, "!reload", channel(sim))
            foreach(bot -> line(bot, r"reloading, as \S+ said"), bots)
            foreach(interrupt, bots)
        end
    end,
    "guild_count.jl" => sim -> begin
        bot = start_program(sim, "guild_count.jl")
        reach(sim; readies = 4)
        @assert ask_bot(sim, "!guilds") == "I'm in **8** guilds across **4** shards."
        interrupt(bot)
    end,
)

# Each waits for its Julia to compile most of the time, so that two at once take hardly longer than one.
files = filter(file -> endswith(file, ".jl") && file != "worker.jl", readdir(joinpath(REPOSITORY, "examples", "julia")))
@test Set(files) == Set(keys(CHECKS))
problems = asyncmap(files; ntasks = 2) do file
    Simulator(shards = 4, guilds = 8) do sim
        try
            CHECKS[file](sim)
            violations = ask(sim, "violations")
            @assert violations == []
            ""
        catch problem
            sprint(showerror, problem, catch_backtrace())
        end
    end
end
@testset "$file" for (file, problem) in zip(files, problems)
    @test problem == ""
end
