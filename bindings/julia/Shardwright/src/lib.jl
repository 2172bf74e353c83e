"""
The C functions of `include/shardwright.h`, one Julia function each, with the same names and the same
arguments. Nothing is checked here: [`check`](@ref Shardwright.check) and the rest of the package do that.
"""
module LibShardwright

import Libdl

"Filled by the library for every event; the fields are explained in the header."
struct ShardEvent
    kind::UInt32
    shard_id::UInt32
    seq::UInt64
    guild_id::UInt64
    command_id::UInt64
    received_ns::Int64
    name::Ptr{UInt8}
    name_len::Csize_t
    data::Ptr{UInt8}
    data_len::Csize_t
    status::Int32
    flags::UInt32
    owner::Ptr{Cvoid}
    reserved::NTuple{2,UInt64}
end

"The constants of the header, by the same names."
const CONSTANTS = Dict{Symbol,Int64}()

macro constant(name, value)
    quote
        const $(esc(name)) = $(esc(value))
        CONSTANTS[$(QuoteNode(name))] = $(esc(name))
    end
end

@constant SHARD_OK 0
@constant SHARD_E_INVALID_ARG -1
@constant SHARD_E_INVALID_HANDLE -2
@constant SHARD_E_INVALID_CONFIG -3
@constant SHARD_E_STATE -4
@constant SHARD_E_CLOSED -5
@constant SHARD_E_INTERRUPTED -6
@constant SHARD_E_UNKNOWN_SHARD -7
@constant SHARD_E_QUEUE_FULL -8
@constant SHARD_E_TOO_LARGE -9
@constant SHARD_E_BUFFER_TOO_SMALL -10
@constant SHARD_E_TIMEOUT -11
@constant SHARD_E_FATAL -12
@constant SHARD_E_FORKED -13
@constant SHARD_E_UNSUPPORTED -14
@constant SHARD_E_IO -15
@constant SHARD_E_NOT_FOUND -16
@constant SHARD_E_CANCELLED -17
@constant SHARD_E_PANIC -127

@constant SHARD_ABI_VERSION 65536

@constant SHARD_LOG_OFF 0
@constant SHARD_LOG_ERROR 1
@constant SHARD_LOG_WARN 2
@constant SHARD_LOG_INFO 3
@constant SHARD_LOG_DEBUG 4
@constant SHARD_LOG_TRACE 5

@constant SHARD_STOP_RESUMABLE 0
@constant SHARD_STOP_CLOSE 1
@constant SHARD_STOP_ABORT 2

@constant SHARD_NONE typemax(UInt32)

@constant SHARD_EVENT_DISPATCH 1
@constant SHARD_EVENT_SHARD_STATE 2
@constant SHARD_EVENT_REPLY 3
@constant SHARD_EVENT_MESSAGE 4
@constant SHARD_EVENT_CALL 5
@constant SHARD_EVENT_JOB 6
@constant SHARD_EVENT_OVERFLOW 7
@constant SHARD_EVENT_LOG 8
@constant SHARD_EVENT_FATAL 9
@constant SHARD_EVENT_GUILDS_COMPLETE 10
@constant SHARD_EVENT_FLAG_REPLAYED 1

"The return type and the argument types of every function, for the test that compares them with the header."
const SIGNATURES = Dict{Symbol,Tuple{DataType,Tuple}}()

"Where each function's address is kept once the library is loaded."
const ADDRESSES = Dict{Symbol,Base.RefValue{Ptr{Cvoid}}}()

# `@c name(argument::Type, …)::Return` declares a C function: a Julia function of that name calls it.
macro c(declaration)
    call, return_type = declaration.args
    name = call.args[1]
    arguments = [argument.args[1] for argument in call.args[2:end]]
    types = [argument.args[2] for argument in call.args[2:end]]
    address = Symbol(name, :_address)
    quote
        const $(esc(address)) = Ref{Ptr{Cvoid}}(C_NULL)
        ADDRESSES[$(QuoteNode(name))] = $(esc(address))
        SIGNATURES[$(QuoteNode(name))] = ($(esc(return_type)), ($(map(esc, types)...),))
        $(esc(:(
            function $name($(arguments...))
                ccall($address[], $return_type, ($(types...),), $(arguments...))
            end
        )))
    end
end

const Handle = Ptr{Cvoid}

@c shard_abi_version()::UInt32
@c shard_version()::Cstring
@c shard_status_name(status::Int32)::Cstring
@c shard_last_status()::Int32
@c shard_last_error(buf::Ptr{UInt8}, cap::Csize_t)::Csize_t
@c shard_for_guild(guild_id::UInt64, total_shards::UInt32)::UInt32
@c shard_set_log_callback(callback::Ptr{Cvoid}, userdata::Ptr{Cvoid}, level::Int32)::Int32
@c shard_client_new(config_json::Ptr{UInt8}, config_len::Csize_t)::Handle
@c shard_client_start(client::Handle)::Int32
@c shard_client_wait_ready(client::Handle, timeout_ms::Int32)::Int32
@c shard_client_stop(client::Handle, how::UInt32, timeout_ms::Int32)::Int32
@c shard_client_free(client::Handle)::Cvoid
@c poll_event(client::Handle, event::Ptr{ShardEvent}, timeout_ms::Int32)::Int32
@c shard_client_poll_event(client::Handle, event::Ptr{ShardEvent}, timeout_ms::Int32)::Int32
@c shard_client_poll_events(client::Handle, events::Ptr{ShardEvent}, cap::Csize_t, timeout_ms::Int32)::Int32
@c shard_event_release(event::Ptr{ShardEvent})::Cvoid
@c shard_events_release(events::Ptr{ShardEvent}, count::Csize_t)::Cvoid
@c shard_client_event_fd(client::Handle)::Int32
@c shard_client_wake(client::Handle)::Int32
@c shard_event_get(event::Ptr{ShardEvent}, pointer::Ptr{UInt8}, pointer_len::Csize_t, text::Ptr{Ptr{UInt8}},
    text_len::Ptr{Csize_t})::Int32
@c send_command(client::Handle, json::Ptr{UInt8}, json_len::Csize_t, command_id::Ptr{UInt64})::Int32
@c shard_client_send_command(client::Handle, json::Ptr{UInt8}, json_len::Csize_t, command_id::Ptr{UInt64})::Int32
@c shard_client_cancel(client::Handle, command_id::UInt64)::Int32
@c shard_client_status_json(client::Handle, buf::Ptr{UInt8}, cap::Csize_t, len::Ptr{Csize_t})::Int32
@c shard_client_metrics_text(client::Handle, buf::Ptr{UInt8}, cap::Csize_t, len::Ptr{Csize_t})::Int32
@c shard_client_healthy(client::Handle)::Int32

"The places where the library may be, best first."
function candidates()
    named = get(ENV, "SHARDWRIGHT_LIBRARY", "")
    isempty(named) || return [named]
    file = "libshardwright.$(Libdl.dlext)"
    repository = normpath(joinpath(@__DIR__, "..", "..", "..", ".."))
    # A bare name is looked for wherever the system's loader looks.
    return [file, joinpath(repository, "target", "release", file)]
end

"""
Loads the library and looks up every function. Which library: `ENV["SHARDWRIGHT_LIBRARY"]`, else the
installed one, else that of the repository this package is in.
"""
function load()
    tried = String[]
    for path in candidates()
        library = try
            Libdl.dlopen(path)
        catch problem
            push!(tried, sprint(showerror, problem))
            continue
        end
        for (name, address) in ADDRESSES
            found = Libdl.dlsym_e(library, name)
            found == C_NULL && error("$path is not a libshardwright that this package can use: it has no $name")
            address[] = found
        end
        major = shard_abi_version() >> 16
        major == SHARD_ABI_VERSION >> 16 || error(
            "$path speaks version $major of the ABI, this package version $(SHARD_ABI_VERSION >> 16): " *
            "install a library and a package of the same release")
        return
    end
    error("libshardwright was not found. Install it (`make install` in its repository) or set " *
          "SHARDWRIGHT_LIBRARY to its path. Tried:\n  " * join(tried, "\n  "))
end

end
