"""
Runs the gateway shards of a Discord bot. A Rust engine holds the shards; this package makes it feel like Julia:

    using Shardwright

    client = Client(ENV["DISCORD_TOKEN"]; intents = IntentGuilds | IntentGuildMessages | IntentMessageContent)

    on(client, :MESSAGE_CREATE) do c, event
        event.content == "!ping" && create_message(c, event.channel_id; content = "Pong!")
    end

    start(client)
"""
module Shardwright

using FileWatching: FDWatcher
using Logging

export Client, Event, Batch, BorrowedEvent, Reply, JSONObject, ShardStatus, ActivityTypes
export on, on_batch, events, start, stop, hold, done, wait_ready, shard_status, status, guild_count, healthy, metrics
export data, raw, raw_bytes, name_bytes, event_name, shard_id, sequence, guild_id, received_at, isreplayed
export rest, create_message, update_presence, update_voice_state, request_guild_members,
    request_soundboard_sounds, request_channel_info, gateway_command, guilds, guild_stats, restart_shard, reshard,
    send_command, cancel
export publish, subscribe, unsubscribe, on_message, call, on_call, answer, topic, cluster_stats
export cache_get, cache_set, cache_delete, cache_increment
export job_push, on_job, job_consume, job_ack, job_fail, job_list, job_retry
export job_schedule, job_schedules, job_unschedule
export store_get, store_put, store_delete, store_list
export get_gateway_bot, shard_for_guild, library_version
export ShardException, ShardError, ClosedError, FatalError, ShardTimeout, RESTError, JSONError
export parse_json, to_json

include("lib.jl")
const Lib = LibShardwright

include("errors.jl")
include("json.jl")
include("intents.jl")
include("leases.jl")
include("events.jl")
include("holds.jl")
include("client.jl")
include("batches.jl")
include("commands.jl")
include("cluster.jl")

function __init__()
    Lib.load()
    # Compiled before it is needed: Ctrl-C ends a script wherever it is, even inside the compiler.
    precompile(close_all, ())
    atexit(close_all)
end

"The version of the loaded library, such as `\"shardwright/0.1.0 …\"`."
library_version() = unsafe_string(Lib.shard_version())

end
