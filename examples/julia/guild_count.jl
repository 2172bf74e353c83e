# Answers "!guilds" with the number of guilds on all shards of this process. Ctrl-C ends it.

using Shardwright

client = Client(ENV["DISCORD_TOKEN"]; intents = IntentGuilds | IntentGuildMessages | IntentMessageContent)

on(client, :MESSAGE_CREATE) do c, event
    if event.content == "!guilds"
        create_message(c, event.channel_id;
            content = "I'm in **$(guild_count(c))** guilds across **$(c.num_shards)** shards.")
    end
end

start(client)
