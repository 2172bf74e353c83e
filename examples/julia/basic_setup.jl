# Sharding, the basic set-up: a bot on four shards of one process, which share its handlers. Ctrl-C ends it.

using Shardwright

client = Client(ENV["DISCORD_TOKEN"];
    intents = IntentGuilds | IntentGuildMessages | IntentMessageContent,
    num_shards = 4)

on(client, :READY) do c, event
    id, total = event.shard
    println("shard $id of $total is ready, with $(length(event.guilds)) guilds")
end

on(client, :MESSAGE_CREATE) do c, event
    event.content == "!ping" || return
    own = shard_for_guild(event.guild_id, c.num_shards)
    create_message(c, event.channel_id; content = "Pong from shard $(own)!")
end

start(client)
