# A Discord bot: answers "!ping" with "Pong!", on as many shards as Discord recommends.
#
# Run it with DISCORD_TOKEN set. SHARDWRIGHT_API_URL points it at another server. Ctrl-C ends it.

using Shardwright

client = Client(; intents = [:GUILDS, :GUILD_MESSAGES, :MESSAGE_CONTENT])

on(client, :MESSAGE_CREATE) do c, event
    if event.content == "!ping"
        create_message(c, event.channel_id; content = "Pong!")
    end
end

start(client)
