# A bot in Julia that takes the bytes of every event, as benches/bench.py asks for it: in batches, or from a channel.
#
# Julia compiles what it runs when it runs it first, which for a bot that lives for weeks is nothing: a first client
# takes a few events before the one that is measured.

using Shardwright

const NAMES = [:MESSAGE_CREATE, :PRESENCE_UPDATE, :TYPING_START, :GUILD_MEMBER_UPDATE, :MESSAGE_REACTION_ADD]
const RUSAGE_SELF = 0

"Seconds of processor time of the whole process, the engine's threads included."
function cpu_s()
    usage = zeros(Clong, 18) # struct rusage: two timevals and fourteen numbers
    ccall(:getrusage, Cint, (Cint, Ptr{Clong}), RUSAGE_SELF, usage) == 0 || error("getrusage")
    return usage[1] + usage[3] + (usage[2] + usage[4]) / 1e6
end

"Not from getrusage: there it begins with the memory of whoever started the process."
function peak_kib()
    line = first(Iterators.filter(startswith("VmHWM:"), eachline("/proc/self/status")))
    return parse(Int, split(line)[2])
end

"How many events there are, and a sum of what they say, so that they are looked at."
function look(batch)
    count = sum = 0
    for event in batch
        bytes = raw_bytes(event)
        count += 1
        sum += length(bytes) + bytes[1]
    end
    return count, sum
end

function measure_channel(client, count)
    incoming = events(client)
    start(client; blocking = false)
    sum = sizeof(raw(take!(incoming)))
    cpu, wall = cpu_s(), time()
    for _ in 2:count
        sum += sizeof(raw(take!(incoming)))
    end
    cpu, wall = cpu_s() - cpu, time() - wall
    close(client; resumable = false)
    return sum > 0, cpu, wall
end

function measure_batches(client, count)
    left, total, cpu, wall = count, 0, 0.0, 0.0
    on_batch(client) do batch
        left > 0 || return # it stops already
        left == count && ((cpu, wall) = (cpu_s(), time()))
        taken, sum = look(batch)
        left, total = left - taken, total + sum
        left > 0 && return
        cpu, wall = cpu_s() - cpu, time() - wall
        stop(client; resumable = false)
    end
    start(client)
    return total > 0, cpu, wall
end

function measure(count)
    client = Client(; intents = 131071, events = NAMES, compression = ENV["BENCH_COMPRESSION"], log_level = :off)
    return (ENV["BENCH_WAY"] == "batches" ? measure_batches : measure_channel)(client, count)
end

function main()
    count = parse(Int, ENV["BENCH_EVENTS"])
    measure(min(count, 2_000))
    good, cpu, wall = measure(count)
    version = Shardwright.library_version()
    println("{\"client\":\"$version, Julia $VERSION\",\"events\":$count,\"cpu_s\":$cpu,\"wall_s\":$wall,",
        "\"peak_kib\":$(peak_kib())}")
    exit(good ? 0 : 1)
end

main()
