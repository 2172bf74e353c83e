# As many shards as Discord recommends, after a look at what is left of today's session starts. Ctrl-C ends it.
#
# Without `num_shards` a Client asks Discord by itself; this is for those who want to know before.

using Shardwright

token = ENV["DISCORD_TOKEN"]
info = get_gateway_bot(token)
limit = info.session_start_limit
println("gateway: $(info.url)")
println("recommended: $(info.shards) shards")
println("session starts left: $(limit.remaining) of $(limit.total), $(limit.max_concurrency) at a time")

limit.remaining > info.shards ||
    error("too few session starts are left; more in $(limit.reset_after ÷ 60_000) minutes")

client = Client(token; intents = IntentGuilds, num_shards = info.shards)
on((c, event) -> println("shard $(event.shard[1]) is ready"), client, :READY)
start(client)
