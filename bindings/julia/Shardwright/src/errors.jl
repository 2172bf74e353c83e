# What can go wrong, as exceptions. Their texts are the library's own: they say what to do.

"""
The parent of every exception that this package throws of its own.
"""
abstract type ShardException <: Exception end

"""
The library said no. `status` is the number and `name` the name of the status
(`"SHARD_E_INVALID_CONFIG"`), `message` what is wrong and what to do.
"""
struct ShardError <: ShardException
    status::Int
    name::String
    message::String
end

"""
The client was closed, or is not open any more.
"""
struct ClosedError <: ShardException
    message::String
end

"""
Discord refused the token, the intents or a shard for good. Trying again does not help; `message` says what does.
"""
struct FatalError <: ShardException
    message::String
end

"""
Something did not happen in the time it was given. It may still go on.
"""
struct ShardTimeout <: ShardException
    message::String
end

"""
Discord's REST API answered with an error. `status` is the HTTP status, `code` Discord's own
[code](https://discord.com/developers/docs/topics/opcodes-and-status-codes#json) (0 without one),
`message` Discord's text, `body` the parsed body and `request` what was asked, such as `"GET /users/1"`.
"""
struct RESTError <: ShardException
    status::Int
    code::Int
    message::String
    body::Any
    request::String
end

"""
Text that is not JSON: `message` says what is wrong, `offset` at which byte, from 1.
"""
struct JSONError <: ShardException
    message::String
    offset::Int
end

Base.showerror(io::IO, e::JSONError) = print(io, "JSONError: ", e.message, " at byte ", e.offset)
Base.showerror(io::IO, e::ShardError) = print(io, "ShardError: ", e.message, " (", e.name, ")")
Base.showerror(io::IO, e::ClosedError) = print(io, "ClosedError: ", e.message)
Base.showerror(io::IO, e::FatalError) = print(io, "FatalError: ", e.message)
Base.showerror(io::IO, e::ShardTimeout) = print(io, "ShardTimeout: ", e.message)
function Base.showerror(io::IO, e::RESTError)
    print(io, "RESTError: ", e.request, " answered HTTP ", e.status)
    isempty(e.message) || print(io, ": ", e.message)
    e.code == 0 || print(io, " (code ", e.code, ")")
    # What exactly was wrong with a form stands in `errors`, field by field.
    if e.body isa JSONObject && haskey(e.body, "errors")
        print(io, "\n  ", to_json(e.body["errors"]))
    end
end

"The exception for a status and the text that came with it."
function exception(status::Integer, message::AbstractString)
    status == Lib.SHARD_E_CLOSED && return ClosedError(message)
    status == Lib.SHARD_E_INVALID_HANDLE && return ClosedError("the client was closed")
    status == Lib.SHARD_E_FATAL && return FatalError(message)
    status == Lib.SHARD_E_TIMEOUT && return ShardTimeout(message)
    return ShardError(status, unsafe_string(Lib.shard_status_name(status)), message)
end

"The text of this thread's last failure."
function last_error()
    buffer = Vector{UInt8}(undef, 1024)
    length = Lib.shard_last_error(buffer, sizeof(buffer))
    if length > sizeof(buffer)
        resize!(buffer, length)
        length = min(length, Lib.shard_last_error(buffer, sizeof(buffer)))
    end
    return String(resize!(buffer, length))
end

"Throws what a negative status means; hands any other on. Nothing may yield between the call and this."
check(status::Integer) = status < 0 ? throw(exception(status, last_error())) : status
