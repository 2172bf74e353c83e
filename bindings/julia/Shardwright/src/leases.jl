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
