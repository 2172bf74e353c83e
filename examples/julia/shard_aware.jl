# What goes to one shard and what to all: the client finds the way by itself. It does each once, then ends.

using Shardwright

client = Client(ENV["DISCORD_TOKEN"]; intents = IntentGuilds | IntentGuildMembers | IntentGuildVoiceStates)
guilds = events(client, :GUILD_CREATE)
voice_states = events(client, :VOICE_STATE_UPDATE)
members = events(client, :GUILD_MEMBERS_CHUNK)
start(client; blocking = false)
wait_ready(client)

guild = take!(guilds)
voice_channel = first(channel for channel in guild.channels if channel.type == 2)

# To the shard of the guild.
update_voice_state(client, guild.id; channel_id = voice_channel.id)
println("in voice channel $(take!(voice_states).channel_id)")
update_voice_state(client, guild.id)

# To all shards, and again whenever one identifies.
update_presence(client; status = "online",
    activities = [(name = "with $(client.num_shards) shards", type = ActivityTypes.GAME)])

# To the shard of the guild, which also gets the answer.
request_guild_members(client, guild.id; query = "", limit = 100)
chunk = take!(members)
println("got $(length(chunk.members)) members of guild $(chunk.guild_id) on shard $(shard_id(chunk))")

# How it finds the way.
own = shard_for_guild(guild.id, client.num_shards)
println("guild $(guild.id) is on shard $own, which is $(client.shards[own + 1].status)")

close(client)
