# Watches the health of the shards: every minute, or every so many seconds as the argument says. Ctrl-C ends it.

using Shardwright

every_s = isempty(ARGS) ? 60.0 : parse(Float64, ARGS[1])
client = Client(ENV["DISCORD_TOKEN"]; intents = IntentGuilds)

function report(client)
    for shard in shard_status(client)
        println("shard $(shard.id)/$(shard.total): $(shard.status), session connected: $(shard.session_connected), ",
            "latency: $(something(shard.latency_ms, "?")) ms, guilds: $(shard.guilds)")
    end
    println(healthy(client) ? "all is well" : "something is wrong")
end

# What happens is told at once, too.
on(client, :SHARD_STATE) do c, event
    println("shard $(something(shard_id(event), "*")): $(event.from) -> $(event.to) ($(event.reason))")
end

start(client; blocking = false)
while client.running
    report(client)
    sleep(every_s)
end
