# Every test of the package, against the real library and the real simulator:
#
#     julia --project=bindings/julia/Shardwright -e 'using Pkg; Pkg.test()'
#
# SHARDWRIGHT_LIBRARY and SHARDWRIGHT_PROGRAM say where they are when not in target/release. With the names of
# files as arguments (`header`, `life`) only those run.

using Logging
using Shardwright
using Test

include("simulator.jl")

const FILES = ["header", "json", "client", "commands", "life", "restart", "cluster", "docs"]
for name in ARGS
    name in FILES || error("there is no test file $name; there are $(join(FILES, ", "))")
end

# Tests wait for events that must come, as long as it takes; one that never comes is a failure all the same.
const PATIENCE_S = 600
watchdog = Timer(PATIENCE_S) do _
    println(stderr, "the tests have not ended in $PATIENCE_S s; the last one to begin hangs")
    exit(1)
end

"Intents that most tests use."
const INTENTS = IntentGuilds | IntentGuildMembers | IntentGuildMessages | IntentGuildVoiceStates | IntentMessageContent

"A client for the simulator, started, for the length of a block."
function with_client(body, sim; options...)
    Client(sim.token; intents = INTENTS, api_url = sim.api_url, log_level = :off, options...) do client
        start(client; blocking = false)
        wait_ready(client; timeout = 30)
        body(client)
    end
end

"What the block threw; nothing when it threw nothing."
function thrown(body)
    try
        body()
        return nothing
    catch problem
        return problem
    end
end

@testset "Shardwright" begin
    for name in (isempty(ARGS) ? FILES : ARGS)
        @testset "$name" begin
            @time include("$name.jl")
        end
    end
end
close(watchdog)
