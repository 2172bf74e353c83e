# Events that are the engine's until their work is done: `delivery = "at_least_once"`.
#
# The engine counts an event as done when it gets it back. So each dispatch has a `Lease`, which gives it back when
# the last who works on it is done: its handlers, whoever took it from a channel, and every `Hold`.

"One event that is not done."
mutable struct Lease
    owner::Ptr{Cvoid} # C_NULL once the engine has it back
    holders::Int
    leases::Any # the `Leases` it is one of
end

"All events of one client that are not done."
struct Leases
    lock::ReentrantLock
    open::Set{Lease}
    Leases() = new(ReentrantLock(), Set{Lease}())
end

"A lease for a polled event with this `owner`. Its one holder is who brings it to handlers and channels."
function lend(leases::Leases, owner::Ptr{Cvoid})
    lease = Lease(owner, 1, leases)
    lock(() -> push!(leases.open, lease), leases.lock)
    return lease
end

# One more works on it. Too late when it is done already.
add_holder(lease::Nothing) = nothing
add_holder(lease::Lease) = lock(() -> (lease.holders += 1), lease.leases.lock)

# One of them is done; with the last one the event is.
remove_holder(lease::Nothing) = nothing
function remove_holder(lease::Lease)
    lock(lease.leases.lock) do
        lease.holders -= 1
        lease.holders == 0 && lease.owner != C_NULL || return
        delete!(lease.leases.open, lease)
        give_back(lease)
    end
    return
end

function give_back(lease::Lease)
    Lib.shard_event_release(Ref(Lib.ShardEvent(0, 0, 0, 0, 0, 0, C_NULL, 0, C_NULL, 0, 0, 0, lease.owner, (0, 0))))
    lease.owner = C_NULL
end

# Gives all of them back. For a client that was freed: the engine counts nothing any more.
end_leases(leases::Nothing) = nothing
end_leases(leases::Leases) = lock(leases.lock) do
    foreach(give_back, leases.open)
    empty!(leases.open)
    return
end

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
