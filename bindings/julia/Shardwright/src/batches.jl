# Events where the engine has them, for bots that look at hundreds of thousands per second: no copy, no task, no
# memory for Julia's garbage collector.

"Bytes in the engine's memory. They are gone when the function they were given to returns."
struct BorrowedBytes <: DenseVector{UInt8}
    address::Ptr{UInt8}
    length::Int
end

Base.size(bytes::BorrowedBytes) = (bytes.length,)
Base.IndexStyle(::Type{BorrowedBytes}) = IndexLinear()
Base.@propagate_inbounds function Base.getindex(bytes::BorrowedBytes, index::Int)
    @boundscheck checkbounds(bytes, index)
    return unsafe_load(bytes.address, index)
end
Base.unsafe_convert(::Type{Ptr{UInt8}}, bytes::BorrowedBytes) = bytes.address
Base.elsize(::Type{BorrowedBytes}) = 1
Base.strides(::BorrowedBytes) = (1,)
Base.String(bytes::BorrowedBytes) = text(bytes.address, bytes.length)

"""
A dispatch of a [`Batch`](@ref): `name_bytes(event)` and `raw_bytes(event)` lend its name and its payload, and
[`event_name`](@ref), [`raw`](@ref), [`data`](@ref), [`shard_id`](@ref), [`sequence`](@ref), [`guild_id`](@ref),
[`received_at`](@ref) and [`isreplayed`](@ref) are those of an [`Event`](@ref). `Event(event)` is a copy to keep.
"""
struct BorrowedEvent
    struct_of::Lib.ShardEvent
end

name_bytes(event::BorrowedEvent) = BorrowedBytes(event.struct_of.name, event.struct_of.name_len)
raw_bytes(event::BorrowedEvent) = BorrowedBytes(event.struct_of.data, event.struct_of.data_len)

Event(event::BorrowedEvent) = Event(event.struct_of, String(name_bytes(event)))
event_name(event::BorrowedEvent) = Symbol(String(name_bytes(event)))
raw(event::BorrowedEvent) = String(raw_bytes(event))
data(event::BorrowedEvent) = parse_json(raw(event))
shard_id(event::BorrowedEvent) = Int(event.struct_of.shard_id)
sequence(event::BorrowedEvent) = Int(event.struct_of.seq)
guild_id(event::BorrowedEvent) = event.struct_of.guild_id == 0 ? nothing : event.struct_of.guild_id
received_at(event::BorrowedEvent) = event.struct_of.received_ns / 1e9
isreplayed(event::BorrowedEvent) = event.struct_of.flags & Lib.SHARD_EVENT_FLAG_REPLAYED != 0

"The dispatches that one poll brought, oldest first; see [`on_batch`](@ref)."
struct Batch
    structs::Vector{Lib.ShardEvent}
    count::Int
end

Base.IteratorSize(::Type{Batch}) = Base.SizeUnknown()
Base.eltype(::Type{Batch}) = BorrowedEvent

function Base.iterate(batch::Batch, last::Int = 0)
    for index in (last + 1):batch.count
        @inbounds raw = batch.structs[index]
        raw.kind == Lib.SHARD_EVENT_DISPATCH && return BorrowedEvent(raw), index
    end
    return nothing
end

"""
    on_batch(client) do batch
        for event in batch … end
    end

Calls the function with all dispatches of each poll, where the engine has them: [`BorrowedEvent`](@ref)s, which cost a
tenth of an [`Event`](@ref) and are gone when the function returns. It runs in the task that takes events from the
engine, so it must not wait; while it works, nothing else of the client goes on. What it throws is logged.
With `delivery = "at_least_once"` an event is done when the function returns, unless a handler or a channel has it too.
"""
function on_batch(taker, client::Client)
    core = getfield(client, :core)
    push!(core.takers, taker)
    keep(client)
    return taker
end

function offer(core::Core, batch::Batch)
    for taker in core.takers
        try
            # It may be newer than this task.
            Base.invokelatest(taker, batch)
        catch problem
            problem isa InterruptException && return interrupted(core)
            @error "a function for batches threw; the client goes on" exception = (problem, catch_backtrace())
        end
    end
end
