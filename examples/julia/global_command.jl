# One bot in several processes that answer as one: "!guilds" asks all of them, "!reload" tells all of them.
#
# Start it as often as you like, with other shards each: SHARDWRIGHT_SHARDS=0-1/4, then 2-3/4. On several machines
# SHARDWRIGHT_BACKPLANE=redis://host takes the place of the file. Ctrl-C ends it.

using Shardwright

client = Client(ENV["DISCORD_TOKEN"];
    intents = IntentGuilds | IntentGuildMessages | IntentMessageContent,
    backplane = get(ENV, "SHARDWRIGHT_BACKPLANE", "sqlite:global_command.backplane"))

on(client, :READY) do c, event
    println("shard $(event.shard[1]) is ready")
end

# Whichever process asks: each answers, this one too.
on_call(client, "guilds") do c, question
    guild_count(c)
end

on_message(client, "reload") do c, who
    println("reloading, as $who said")
end

on(client, :MESSAGE_CREATE) do c, event
    if event.content == "!guilds"
        said = call(c, "guilds"; timeout = 3)
        count = sum(Int[answer.data for answer in said.answers])
        silent = isempty(said.missing) ? "" : " ($(length(said.missing)) did not answer)"
        create_message(c, event.channel_id; content = "$count guilds in $(length(said.answers)) processes$silent")
    elseif event.content == "!reload"
        publish(c, "reload", event.author.username)
    end
end

start(client)
