# JSON, read and written: just what Discord's events and commands need, so that the package needs no other.

"Deeper nesting is refused: nothing of Discord's comes near, and the reader recurses."
const MAX_DEPTH = 512

"""
A JSON object. Fields are read as properties, which are `nothing` where there is no such field
(`event.author.id`), or as keys, which must be there (`event["author"]["id"]`).
"""
struct JSONObject <: AbstractDict{String,Any}
    fields::Dict{String,Any}
end

JSONObject() = JSONObject(Dict{String,Any}())

fields(object::JSONObject) = getfield(object, :fields)

Base.getproperty(object::JSONObject, name::Symbol) = get(fields(object), String(name), nothing)
Base.propertynames(object::JSONObject, private::Bool = false) = sort!(map(Symbol, collect(keys(fields(object)))))
Base.getindex(object::JSONObject, key::AbstractString) = fields(object)[key]
Base.getindex(object::JSONObject, key::Symbol) = fields(object)[String(key)]
Base.get(object::JSONObject, key::AbstractString, default) = get(fields(object), key, default)
Base.get(object::JSONObject, key::Symbol, default) = get(fields(object), String(key), default)
Base.haskey(object::JSONObject, key::AbstractString) = haskey(fields(object), key)
Base.haskey(object::JSONObject, key::Symbol) = haskey(fields(object), String(key))
Base.length(object::JSONObject) = length(fields(object))
Base.iterate(object::JSONObject, state...) = iterate(fields(object), state...)

mutable struct Reader
    text::String
    at::Int # the next byte
end

"""
    parse_json(text) -> value

Reads one JSON value. Objects become [`JSONObject`](@ref), arrays `Vector{Any}`, `null` `nothing`; whole
numbers `Int64`, or `BigInt` where that is too small, all others `Float64`. Of members with the same name the
last one counts. An escaped half of a surrogate pair becomes U+FFFD. Throws [`JSONError`](@ref).
"""
function parse_json(text::AbstractString)
    reader = Reader(String(text), 1)
    isvalid(reader.text) || throw(JSONError("text that is not UTF-8", 1))
    value = read_value(reader, 1)
    skip_space(reader)
    reader.at > ncodeunits(reader.text) || fail(reader, "something after the value")
    return value
end

fail(reader::Reader, message) = throw(JSONError(message, reader.at))

# The next byte; 0, which no JSON text has outside of strings, at the end.
@inline function peek_byte(reader::Reader)
    return reader.at <= ncodeunits(reader.text) ? @inbounds(codeunit(reader.text, reader.at)) : 0x00
end

@inline function skip_space(reader::Reader)
    while peek_byte(reader) in (0x20, 0x0a, 0x0d, 0x09)
        reader.at += 1
    end
end

function expect(reader::Reader, char::Char, message)
    peek_byte(reader) == UInt8(char) || fail(reader, message)
    reader.at += 1
end

function read_value(reader::Reader, depth::Int)
    skip_space(reader)
    byte = peek_byte(reader)
    byte == UInt8('"') && return read_string(reader)
    byte == UInt8('{') && return read_object(reader, depth)
    byte == UInt8('[') && return read_array(reader, depth)
    byte == UInt8('t') && return read_word(reader, "true", true)
    byte == UInt8('f') && return read_word(reader, "false", false)
    byte == UInt8('n') && return read_word(reader, "null", nothing)
    (byte == UInt8('-') || isdigit_byte(byte)) && return read_number(reader)
    reader.at > ncodeunits(reader.text) && fail(reader, "the text ends where a value should be")
    fail(reader, "no value starts like this")
end

function read_object(reader::Reader, depth::Int)
    depth > MAX_DEPTH && fail(reader, "nested deeper than $MAX_DEPTH")
    reader.at += 1
    result = Dict{String,Any}()
    skip_space(reader)
    if peek_byte(reader) == UInt8('}')
        reader.at += 1
        return JSONObject(result)
    end
    while true
        skip_space(reader)
        peek_byte(reader) == UInt8('"') || fail(reader, "a member's name should be here")
        name = read_string(reader)
        skip_space(reader)
        expect(reader, ':', "a colon should be here")
        result[name] = read_value(reader, depth + 1)
        skip_space(reader)
        if peek_byte(reader) == UInt8('}')
            reader.at += 1
            return JSONObject(result)
        end
        expect(reader, ',', "a comma or the end of the object should be here")
    end
end

function read_array(reader::Reader, depth::Int)
    depth > MAX_DEPTH && fail(reader, "nested deeper than $MAX_DEPTH")
    reader.at += 1
    result = Any[]
    skip_space(reader)
    if peek_byte(reader) == UInt8(']')
        reader.at += 1
        return result
    end
    while true
        push!(result, read_value(reader, depth + 1))
        skip_space(reader)
        if peek_byte(reader) == UInt8(']')
            reader.at += 1
            return result
        end
        expect(reader, ',', "a comma or the end of the array should be here")
    end
end

function read_word(reader::Reader, word::String, value)
    for byte in codeunits(word)
        peek_byte(reader) == byte || fail(reader, "this should be `$word`")
        reader.at += 1
    end
    return value
end

function read_string(reader::Reader)
    reader.at += 1
    start = reader.at
    while true # to the end or the first escape: most strings have none and are copied at once
        byte = peek_byte(reader)
        if byte == UInt8('"')
            text = unsafe_slice(reader.text, start, reader.at - 1)
            reader.at += 1
            return text
        end
        byte == UInt8('\\') && break
        byte < 0x20 && refuse_control(reader)
        reader.at += 1
    end
    out = IOBuffer()
    write(out, unsafe_slice(reader.text, start, reader.at - 1))
    while true
        byte = peek_byte(reader)
        reader.at += 1
        if byte == UInt8('"')
            return String(take!(out))
        elseif byte == UInt8('\\')
            read_escape(reader, out)
        elseif byte < 0x20
            reader.at -= 1
            refuse_control(reader)
        else
            write(out, byte)
        end
    end
end

function unsafe_slice(text::String, first::Int, last::Int)
    return GC.@preserve text unsafe_string(pointer(text, first), last - first + 1)
end

function refuse_control(reader::Reader)
    reader.at > ncodeunits(reader.text) && fail(reader, "the text ends inside a string")
    fail(reader, "a control character in a string")
end

function read_escape(reader::Reader, out::IO)
    byte = peek_byte(reader)
    reader.at += 1
    if byte == UInt8('u')
        write(out, read_unicode(reader))
    else
        index = findfirst(isequal(byte), codeunits("\"\\/bfnrt"))
        if index === nothing
            reader.at -= 1
            fail(reader, "no escape starts like this")
        end
        write(out, codeunit("\"\\/\b\f\n\r\t", index))
    end
end

function read_unicode(reader::Reader)
    unit = read_hex(reader)
    if 0xd800 <= unit <= 0xdbff && peek_byte(reader) == UInt8('\\')
        before = reader.at
        reader.at += 1
        if peek_byte(reader) == UInt8('u')
            reader.at += 1
            low = read_hex(reader)
            0xdc00 <= low <= 0xdfff && return Char(0x10000 + (unit - 0xd800) * 0x400 + (low - 0xdc00))
        end
        reader.at = before # not its other half: read again as what it is
    end
    return 0xd800 <= unit <= 0xdfff ? '\ufffd' : Char(unit)
end

function read_hex(reader::Reader)
    value = UInt32(0)
    for _ in 1:4
        byte = peek_byte(reader)
        digit = if isdigit_byte(byte)
            byte - UInt8('0')
        elseif UInt8('a') <= byte | 0x20 <= UInt8('f')
            (byte | 0x20) - UInt8('a') + 0x0a
        else
            fail(reader, "four hexadecimal digits should be here")
        end
        value = value * 16 + digit
        reader.at += 1
    end
    return value
end

isdigit_byte(byte::UInt8) = UInt8('0') <= byte <= UInt8('9')

function skip_digits(reader::Reader)
    isdigit_byte(peek_byte(reader)) || fail(reader, "a digit should be here")
    while isdigit_byte(peek_byte(reader))
        reader.at += 1
    end
end

function read_number(reader::Reader)
    start = reader.at
    peek_byte(reader) == UInt8('-') && (reader.at += 1)
    if peek_byte(reader) == UInt8('0')
        reader.at += 1
        isdigit_byte(peek_byte(reader)) && fail(reader, "a number with a leading zero")
    else
        skip_digits(reader)
    end
    whole = true
    if peek_byte(reader) == UInt8('.')
        whole = false
        reader.at += 1
        skip_digits(reader)
    end
    if peek_byte(reader) | 0x20 == UInt8('e')
        whole = false
        reader.at += 1
        peek_byte(reader) in (UInt8('+'), UInt8('-')) && (reader.at += 1)
        skip_digits(reader)
    end
    text = unsafe_slice(reader.text, start, reader.at - 1)
    if !whole
        number = tryparse(Float64, text)
        # Older versions of Julia have no answer beyond what fits: infinite, or zero.
        return number === nothing ? Float64(parse(BigFloat, text)) : number
    end
    number = tryparse(Int64, text)
    # Reading thousands of digits takes time that grows with their square; nobody's id is that long.
    number === nothing && ncodeunits(text) > 1000 && throw(JSONError("a number of more than 1000 digits", start))
    return number === nothing ? parse(BigInt, text) : number
end

"""
    to_json(value) -> String

Writes a value as JSON: dictionaries and named tuples as objects, vectors, tuples and sets as arrays,
`nothing` and `missing` as `null`, symbols as strings. Throws an `ArgumentError` for what JSON has no word for.
"""
to_json(value) = sprint(write_json, value)

write_json(io::IO, ::Union{Nothing,Missing}) = print(io, "null")
write_json(io::IO, value::Bool) = print(io, value)
write_json(io::IO, value::Integer) = print(io, string(value))
write_json(io::IO, value::Symbol) = write_json(io, String(value))
write_json(io::IO, value::AbstractChar) = write_json(io, string(value))
write_json(io::IO, value::Enum) = write_json(io, Integer(value))

function write_json(io::IO, value::AbstractFloat)
    isfinite(value) || throw(ArgumentError("JSON has no word for $value"))
    print(io, Float64(value))
end

function write_json(io::IO, value::AbstractString)
    isvalid(value) || throw(ArgumentError("a text that is not valid Unicode cannot be sent"))
    print(io, '"')
    for char in value
        if char == '"' || char == '\\'
            print(io, '\\', char)
        elseif char == '\n'
            print(io, "\\n")
        elseif char < ' '
            print(io, "\\u", string(UInt32(char), base = 16, pad = 4))
        else
            print(io, char)
        end
    end
    print(io, '"')
end

function write_json(io::IO, object::Union{AbstractDict,NamedTuple})
    print(io, '{')
    for (index, (key, value)) in enumerate(pairs(object))
        index > 1 && print(io, ',')
        write_json(io, string(key))
        print(io, ':')
        write_json(io, value)
    end
    print(io, '}')
end

function write_json(io::IO, array::Union{AbstractVector,Tuple,AbstractSet,Base.Generator})
    print(io, '[')
    for (index, value) in enumerate(array)
        index > 1 && print(io, ',')
        write_json(io, value)
    end
    print(io, ']')
end

write_json(::IO, value) = throw(ArgumentError("a $(typeof(value)) cannot be written as JSON"))
