# One process of a large bot, with some of its shards; launcher.jl starts it. Ctrl-C ends it.

using Shardwright

function option(name)
    at = findfirst(isequal(name), ARGS)
    at === nothing && error("worker.jl --total-shards 16 --shard-start 0 --shard-end 3")
    return parse(Int, ARGS[at + 1])
end

client = Client(ENV["DISCORD_TOKEN"];
    intents = IntentGuilds | IntentGuildMessages | IntentMessageContent,
    num_shards = option("--total-shards"),
    shards = option("--shard-start"):option("--shard-end"))

on(client, :READY) do c, event
    println("process $(getpid()) has shard $(event.shard[1])")
end

on(client, :MESSAGE_CREATE) do c, event
    event.content == "!ping" && create_message(c, event.channel_id; content = "Pong from process $(getpid())!")
end

start(client)
