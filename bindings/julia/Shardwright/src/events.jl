# Events: what a handler gets.

"""
Something that happened. Reads like Discord's payload: `event.content` and `event.author.id` are fields of the
dispatch's `d`, `nothing` where there is none; `event["content"]` throws where there is none. The JSON is parsed
when the first field is read.

What the gateway adds to it comes from functions, so that no field of Discord's is hidden: [`event_name`](@ref),
[`shard_id`](@ref), [`sequence`](@ref), [`guild_id`](@ref), [`received_at`](@ref), [`isreplayed`](@ref),
[`data`](@ref) (all of it, parsed) and [`raw`](@ref) (all of it, as JSON text).
"""
mutable struct Event
    name::String
    topic::String # of what other processes say
    shard_id::Int # -1 for what is not about one shard
    sequence::UInt64
    guild_id::UInt64
    received_ns::Int64
    flags::UInt32
    status::Int32
    raw::String
    data::Any # NOT_PARSED until somebody asks
    lease::Union{Nothing,Lease} # where it counts when the event is done
end

struct NotParsed end
const NOT_PARSED = NotParsed()

const FROM_PROCESSES = (Lib.SHARD_EVENT_MESSAGE, Lib.SHARD_EVENT_CALL, Lib.SHARD_EVENT_JOB)

# Copies what the engine lent, so that it can be given back at once.
function Event(raw::Lib.ShardEvent, name::String, lease = nothing)
    shard = raw.shard_id == Lib.SHARD_NONE ? -1 : Int(raw.shard_id)
    topic = raw.kind in FROM_PROCESSES ? text(raw.name, raw.name_len) : ""
    return Event(name, topic, shard, raw.seq, raw.guild_id, raw.received_ns, raw.flags, raw.status,
        text(raw.data, raw.data_len), NOT_PARSED, lease)
end

text(bytes::Ptr{UInt8}, length) = length == 0 ? "" : unsafe_string(bytes, length)

"The event's name, such as `:MESSAGE_CREATE`."
event_name(event::Event) = Symbol(getfield(event, :name))

"The shard that the event came on or is about; `nothing` for what is about all of them."
shard_id(event::Event) = (id = getfield(event, :shard_id); id < 0 ? nothing : id)

"The gateway's sequence number of a dispatch, else 0."
sequence(event::Event) = Int(getfield(event, :sequence))

"The guild the payload names, as a number; `nothing` when it names none."
guild_id(event::Event) = (id = getfield(event, :guild_id); id == 0 ? nothing : id)

"When the event was taken from the socket, in seconds since 1970, as `time()` counts."
received_at(event::Event) = getfield(event, :received_ns) / 1e9

"Whether a dispatch was missed at first and replayed by Discord after a resume."
isreplayed(event::Event) = getfield(event, :flags) & Lib.SHARD_EVENT_FLAG_REPLAYED != 0

"The event's payload as JSON text, as it came."
raw(event::Event) = getfield(event, :raw)

"The event's payload, parsed: mostly a [`JSONObject`](@ref)."
function data(event::Event)
    parsed = getfield(event, :data)
    if parsed === NOT_PARSED
        parsed = parse_json(raw(event))
        setfield!(event, :data, parsed)
    end
    return parsed
end

function Base.getproperty(event::Event, name::Symbol)
    parsed = data(event)
    return parsed isa JSONObject ? getproperty(parsed, name) : nothing
end

Base.propertynames(event::Event, private::Bool = false) =
    data(event) isa JSONObject ? propertynames(data(event)) : Symbol[]
Base.getindex(event::Event, key) = data(event)[key]
Base.haskey(event::Event, key) = data(event) isa JSONObject && haskey(data(event), key)
Base.get(event::Event, key, default) = haskey(event, key) ? event[key] : default

function Base.show(io::IO, event::Event)
    print(io, "Event(", event_name(event))
    shard_id(event) === nothing || print(io, ", shard ", shard_id(event))
    print(io, ", ", sizeof(raw(event)), " bytes)")
end
