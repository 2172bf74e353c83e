# Who works on an event, with `delivery = "at_least_once"`: holds, and channels that know who took what.

"Keeps an event from being done until [`done`](@ref); see [`hold`](@ref)."
mutable struct Hold
    lease::Union{Nothing,Lease}
end

"""
    hold(event) -> Hold

For work that goes on when the handler or the loop is done with the event: with `delivery = "at_least_once"` it
counts as done only after [`done`](@ref) of the result. With the default it does nothing.
"""
function hold(event::Event)
    lease = getfield(event, :lease)
    add_holder(lease)
    return Hold(lease)
end

"""
    done(hold)

The work for which an event was held is done. Again without effect.
"""
function done(hold::Hold)
    lease = hold.lease
    lease === nothing && return
    lock(lease.leases.lock) do
        hold.lease === nothing || remove_holder(lease)
        hold.lease = nothing
    end
    return
end

"""
What [`events`](@ref) returns with `delivery = "at_least_once"`: a channel whose events are done when the task that
took one takes the next, or has ended.
"""
struct EventStream <: AbstractChannel{Event}
    channel::Channel{Event}
    in_hand::IdDict{Task,Event}
    lock::ReentrantLock
    EventStream(channel::Channel{Event}) = new(channel, IdDict{Task,Event}(), ReentrantLock())
end

# What tasks have in hand that went on, or ended, is done.
function went_on(stream::EventStream, tasks...)
    lock(stream.lock) do
        for (task, event) in collect(stream.in_hand)
            if task in tasks || istaskdone(task)
                delete!(stream.in_hand, task)
                remove_holder(getfield(event, :lease))
            end
        end
    end
    return
end

function Base.take!(stream::EventStream)
    went_on(stream, current_task())
    event = take!(stream.channel)
    lock(() -> (stream.in_hand[current_task()] = event), stream.lock)
    return event
end

function Base.iterate(stream::EventStream, state = nothing)
    try
        return take!(stream), nothing
    catch problem
        problem isa InvalidStateException && problem.state === :closed && return nothing
        rethrow()
    end
end

# Whoever has enough closes it, and what is left in it counts as done.
function Base.close(stream::EventStream)
    close(stream.channel)
    while isready(stream.channel)
        remove_holder(getfield(take!(stream.channel), :lease))
    end
    return
end

Base.isopen(stream::EventStream) = isopen(stream.channel)
Base.isready(stream::EventStream) = isready(stream.channel)
Base.wait(stream::EventStream) = wait(stream.channel)
Base.fetch(stream::EventStream) = fetch(stream.channel)
Base.eltype(::Type{EventStream}) = Event
Base.IteratorSize(::Type{EventStream}) = Base.SizeUnknown()
Base.show(io::IO, stream::EventStream) = print(io, "EventStream(", isopen(stream) ? "open)" : "closed)")
