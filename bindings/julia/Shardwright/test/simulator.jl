# The simulated Discord that the tests run against, and how they talk to it.

using Sockets
using Shardwright: parse_json, to_json, JSONObject

"The repository, which a copy of the package is told."
const REPOSITORY = get(ENV, "SHARDWRIGHT_REPOSITORY", normpath(joinpath(@__DIR__, "..", "..", "..", "..")))

"The `shardwright` program."
function program()
    path = get(ENV, "SHARDWRIGHT_PROGRAM", joinpath(REPOSITORY, "target", "release", "shardwright"))
    isfile(path) || error("$path is missing; run `make build`, or set SHARDWRIGHT_PROGRAM")
    return path
end

"`shardwright sim` on a free port, until it is closed."
struct Simulator
    process::Base.Process
    control::String
    token::String
    api_url::String
end

function Simulator(; shards = 1, guilds = 4, members = 100)
    command = `$(program()) sim --listen 127.0.0.1:0 --max-concurrency 16 --shards $shards --guilds $guilds
        --members $members`
    process = open(command)
    found = Dict{String,String}()
    while length(found) < 3
        line = readline(process)
        isempty(line) && eof(process) && error("the simulator ended")
        words = split(line)
        if length(words) == 2 && words[1] == "control"
            found["control"] = words[2]
        elseif length(words) == 2 && words[1] == "export"
            name, value = split(words[2], '='; limit = 2)
            found[name] = value
        end
    end
    @async read(process) # so that it never waits for somebody to read what it says
    sim = Simulator(process, found["control"], found["DISCORD_TOKEN"], found["SHARDWRIGHT_API_URL"])
    # Tests start many clients in a row; the limits that slow this down have tests of their own.
    limits = (per_route = false, global_per_second = 10_000, interaction_ms = 3_000)
    act(sim, "configure"; options = (identify_window_ms = 0, rest = limits))
    return sim
end

function Simulator(body::Function; options...)
    sim = Simulator(; options...)
    try
        return body(sim)
    finally
        close(sim)
    end
end

function Base.close(sim::Simulator)
    kill(sim.process, Base.SIGKILL)
    wait(sim.process)
end

"For a program that shall meet this Discord."
environment(sim::Simulator) = ("DISCORD_TOKEN" => sim.token, "SHARDWRIGHT_API_URL" => sim.api_url)

"Asks the control API: GET without a body, else POST."
function ask(sim::Simulator, path, body = nothing)
    host, root = match(r"^http://([^/]+)(/.*)$", sim.control).captures
    address, port = split(host, ':')
    socket = connect(String(address), parse(Int, port))
    text = body === nothing ? "" : to_json(body)
    method = body === nothing ? "GET" : "POST"
    write(socket, "$method $root/$path HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n" *
        "Content-Type: application/json\r\nContent-Length: $(sizeof(text))\r\n\r\n$text")
    head, answer = split(read(socket, String), "\r\n\r\n"; limit = 2)
    close(socket)
    startswith(head, "HTTP/1.1 200") || error("$path $text: $(split(head, "\r\n")[1]): $answer")
    return parse_json(answer)
end

"Makes something happen."
act(sim::Simulator, action; fields...) = ask(sim, "do", Dict{Symbol,Any}(:do => action, fields...))
"Waits until these totals are reached."
reach(sim::Simulator; counts...) = ask(sim, "wait", (counts = Dict{Symbol,Any}(counts), timeout_ms = 20_000))
"The totals."
counts(sim::Simulator) = ask(sim, "counts")
"The guilds, with their channels."
world_guilds(sim::Simulator) = ask(sim, "guilds?limit=100")
"A text channel of a guild."
channel(sim::Simulator, guild = 1) = world_guilds(sim)[guild].text_channels[1]
"What stands in a channel."
messages(sim::Simulator, channel) = [message.content for message in ask(sim, "messages?channel=$channel")]
"A user writes a message."
say(sim::Simulator, content, where = channel(sim)) = act(sim, "message"; channel = where, content = content)

"Dispatches `count` events named FLOOD, numbered from 1, to every session."
function flood(sim::Simulator, count; text = "x"^600)
    before = counts(sim).dispatches
    for start in 1:1000:count
        last = min(start + 999, count)
        steps = [Dict("at_ms" => 0, "do" => "dispatch", "t" => "FLOOD", "d" => (n = n, text = text)) for n in start:last]
        ask(sim, "script", Dict("step" => steps))
        # Scripts run side by side, so the next one begins when this one is through.
        reach(sim; dispatches = before + last)
    end
end
