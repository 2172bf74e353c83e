# Commands: what a bot can do. All of them wait for their answer, so wrap one in `@async` to go on meanwhile.

"A user's, guild's, channel's … id: a number, or a string of digits as Discord writes it."
const Snowflake = Union{Integer,AbstractString}

# As a command takes it. Ids become part of paths, so nothing else may pass.
function snowflake(id::Snowflake)
    digits = string(id)
    !isempty(digits) && all(c -> '0' <= c <= '9', digits) && return digits
    throw(ArgumentError("$(repr(id)) is no id; an id is a number, or a string of digits"))
end
snowflake(::Nothing) = throw(ArgumentError("the id is `nothing`; does the event have that field?"))

"""
    send_command(client, command) -> Reply

Sends any command of the library, such as `(type = "gateway_info",)`, and does not wait: `fetch` the answer.
"""
function send_command(client::Client, command)
    json = to_json(command)
    core = getfield(client, :core)
    id = Ref{UInt64}(0)
    what = get(command, "type", get(command, :type, "a command"))
    reply = lock(core.lock) do # so that the pump does not find the answer before the question is noted
        check(Lib.shard_client_send_command(handle(client), json, sizeof(json), id))
        core.pending[id[]] = Reply(id[], string(what), Channel{Tuple{Int,String}}(1))
    end
    signal(() -> nothing, core.changed)
    return reply
end

send_command(client::Client, command::NamedTuple) =
    send_command(client, Dict{String,Any}(String(key) => value for (key, value) in pairs(command)))

"Waits for the answer to a command, and throws when it failed."
function Base.fetch(reply::Reply)
    status, json = fetch(reply.answer)
    status < 0 && throw(exception(status, reply.what * ": " * error_text(json)))
    return isempty(json) ? nothing : parse_json(json)
end

Base.wait(reply::Reply) = (fetch(reply); nothing)
Base.isready(reply::Reply) = isready(reply.answer)
Base.show(io::IO, reply::Reply) =
    print(io, "Reply(", reply.what, isready(reply) ? ", answered)" : ", not answered yet)")

# What the library writes for a command that failed.
function error_text(json)
    said = isempty(json) ? nothing : parse_json(json)
    return said isa JSONObject && said.error isa AbstractString ? said.error : json
end

"Ends a command that waits: its `fetch` throws. What was sent stays sent."
function cancel(client::Client, reply::Reply)
    isready(reply) && return
    code = Lib.shard_client_cancel(handle(client), reply.command_id)
    code == Lib.SHARD_E_NOT_FOUND || check(code) # answered a moment ago
    return
end

"""
    rest(client, method, path; body, query, reason, files)

Makes a request of [Discord's REST API](https://discord.com/developers/docs/reference), waits out its rate limits,
and returns the parsed answer, `nothing` when it is empty. Throws [`RESTError`](@ref) for an HTTP status from 400 on.

    rest(client, :PATCH, "/channels/\$id"; body = (name = "general",), reason = "tidying up")

`files` is a list of `(name = "a.txt", data = "<base64>")`, or of `(path = "a.txt",)` to send a file from disk.
"""
function rest(client::Client, method::Union{Symbol,AbstractString}, path::AbstractString; body = nothing,
              query = nothing, reason = nothing, files = nothing)
    command = Dict{String,Any}("type" => "rest", "method" => String(method), "path" => path)
    for (key, value) in ("body" => body, "query" => query, "reason" => reason, "files" => files)
        value === nothing || (command[key] = value)
    end
    status, answer = fetch(send_command(client, command).answer)
    request = "$method $path"
    status < 0 && throw(exception(status, "$request: $(error_text(answer))"))
    status < 400 && return isempty(answer) ? nothing : parse_rest(answer)
    parsed = parse_rest(answer)
    code, message = 0, parsed isa AbstractString ? parsed : ""
    if parsed isa JSONObject
        parsed.code isa Integer && (code = parsed.code)
        parsed.message isa AbstractString && (message = parsed.message)
    end
    throw(RESTError(status, code, message, parsed, request))
end

# A proxy on the way may answer with a page of its own.
function parse_rest(text)
    isempty(text) && return nothing
    try
        return parse_json(text)
    catch problem
        problem isa JSONError || rethrow()
        return text
    end
end

"""
    create_message(client, channel_id; content, embeds, …)

Writes a message and returns it. Keywords are the fields of
[Discord's request](https://discord.com/developers/docs/resources/message#create-message); `files` as in [`rest`](@ref).
"""
create_message(client::Client, channel_id::Union{Nothing,Snowflake}; files = nothing, fields...) =
    rest(client, :POST, "/channels/$(snowflake(channel_id))/messages"; body = Dict{Symbol,Any}(fields), files = files)

"""
    update_presence(client; status = "online", activities = [], since = nothing, afk = false)

Shows a presence on all shards, and in every later identify.
"""
update_presence(client::Client; status = "online", activities = [], since = nothing, afk::Bool = false) =
    fetch(send_command(client,
        (type = "update_presence", status = status, activities = activities, since = since, afk = afk)))

"""
    update_voice_state(client, guild_id; channel_id = nothing, self_mute = false, self_deaf = false)

Joins a voice channel of a guild or moves there; without `channel_id` it leaves.
"""
update_voice_state(client::Client, guild_id::Snowflake; channel_id = nothing, self_mute::Bool = false,
                   self_deaf::Bool = false) =
    fetch(send_command(client, (type = "update_voice_state", guild_id = snowflake(guild_id),
        channel_id = channel_id === nothing ? nothing : snowflake(channel_id),
        self_mute = self_mute, self_deaf = self_deaf)))

"""
    request_guild_members(client, guild_id; query = "", limit = 0, user_ids, presences = false, nonce)
    request_guild_members(client, guild_id; collect = true, timeout = 60, …)

Asks for a guild's members, through its shard: those whose names start with `query`, or with `user_ids` those.
Returns when the request was sent; the members come as `:GUILD_MEMBERS_CHUNK` events.

With `collect = true` it returns all of them: `members`, `not_found`, with `presences = true` also `presences`, and the
number of `chunks`, which do not come as events then. Discord's rate limit is waited out. Throws a [`ShardTimeout`](@ref)
after `timeout` seconds, which are at most 900.
"""
function request_guild_members(client::Client, guild_id::Snowflake; query = nothing, limit::Integer = 0,
                               user_ids = nothing, presences::Bool = false, nonce = nothing, collect::Bool = false,
                               timeout::Real = 60)
    command = Dict{String,Any}("type" => "request_guild_members", "guild_id" => snowflake(guild_id),
        "limit" => limit, "presences" => presences)
    nonce === nothing || (command["nonce"] = nonce)
    collect && merge!(command, Dict("collect" => true, "timeout_ms" => clamp(round(Int, timeout * 1000), 1, 900_000)))
    query === nothing && user_ids === nothing && (query = "")
    query === nothing || (command["query"] = query)
    user_ids isa Snowflake && (user_ids = (user_ids,))
    user_ids === nothing || (command["user_ids"] = map(snowflake, Base.collect(user_ids)))
    return fetch(send_command(client, command))
end

"Asks for the soundboard sounds of guilds, each through its shard; they come as `:SOUNDBOARD_SOUNDS` events."
request_soundboard_sounds(client::Client, guild_ids) =
    fetch(send_command(client, (type = "request_soundboard_sounds", guild_ids = map(snowflake, collect(guild_ids)))))

"Asks for a guild's ephemeral channel data; it comes as a `:CHANNEL_INFO` event."
request_channel_info(client::Client, guild_id::Snowflake) =
    fetch(send_command(client, (type = "request_channel_info", guild_id = snowflake(guild_id))))

"""
    gateway_command(client, op, d; shard = nothing)

Sends any other payload to the gateway: to `shard`, or to that of the guild named in `d`.
"""
function gateway_command(client::Client, op::Integer, d; shard = nothing)
    command = Dict{String,Any}("type" => "gateway", "op" => op, "d" => d)
    shard === nothing || (command["shard"] = shard)
    return fetch(send_command(client, command))
end

"""
    guilds(client; after = nothing, limit = 1000, shard = nothing, unavailable = nothing)

Guilds on the shards of this client, lowest id first: `guilds`, each with `id`, `name`, `member_count`, `available` and
`shard`, and `next`, the `after` of the next page or `nothing`. With `shard` those of one shard; with
`unavailable = true` those in an outage or not sent yet, with `false` the others.
"""
function guilds(client::Client; after = nothing, limit::Integer = 1000, shard = nothing, unavailable = nothing)
    command = Dict{String,Any}("type" => "guilds", "limit" => limit)
    after === nothing || (command["after"] = snowflake(after))
    shard === nothing || (command["shard"] = shard)
    unavailable === nothing || (command["unavailable"] = unavailable)
    return fetch(send_command(client, command))
end

"How many `guilds` and `members` there are and how many guilds are `unavailable`, in all and for each of the `shards`."
guild_stats(client::Client) = fetch(send_command(client, (type = "guild_stats",)))

"Gives a shard a new connection; with `resume = false` a new session as well."
restart_shard(client::Client, shard::Integer; resume::Bool = true) =
    fetch(send_command(client, (type = "restart_shard", shard = shard, resume = resume)))

"""
    reshard(client, shards = "auto")

Runs the bot with another number of shards, without a gap; returns when the old ones are gone. `"auto"` asks Discord for
the number.
"""
reshard(client::Client, shards::Union{Integer,Symbol,AbstractString} = "auto") =
    fetch(send_command(client, (type = "reshard", shards = shards)))

"""
    get_gateway_bot(client)
    get_gateway_bot(token = ENV["DISCORD_TOKEN"]; api_url = Discord's)

What Discord recommends: `url`, `shards` and `session_start_limit` with `total`, `remaining`, `reset_after` (ms) and
`max_concurrency`. No shard connects for it.
"""
get_gateway_bot(client::Client) = fetch(send_command(client, (type = "gateway_info",)))

function get_gateway_bot(token::Union{Nothing,AbstractString} = nothing; options...)
    # With the whole day's budget in reserve its shard never gets to connect.
    Client(token; intents = 0, num_shards = 1, identify = (budget_reserve = typemax(UInt32),), log_level = :off,
        options...) do client
        start(client; blocking = false)
        try
            get_gateway_bot(client)
        catch problem
            # The answer may be overtaken by the refusal, which says why.
            fatal = getfield(client, :core).fatal
            problem isa ClosedError && fatal !== nothing ? throw(FatalError(fatal)) : rethrow()
        end
    end
end

"The shard that carries a guild when the bot has `num_shards`: `(guild_id >> 22) % num_shards`."
function shard_for_guild(guild_id::Snowflake, num_shards::Integer)
    num_shards > 0 || throw(ArgumentError("num_shards is $num_shards; a bot has at least one shard"))
    return Int(Lib.shard_for_guild(parse(UInt64, snowflake(guild_id)), UInt32(num_shards)))
end
