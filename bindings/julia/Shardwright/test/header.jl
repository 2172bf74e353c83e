# The raw layer against the header: every function, constant and struct, as a C compiler sees them.

using Shardwright: Lib

const HEADER = joinpath(REPOSITORY, "include", "shardwright.h")

"What a type of the header is in Julia."
const KINDS = Dict(
    "void" => Cvoid, "int32_t" => Int32, "shard_status" => Int32, "uint32_t" => UInt32, "uint64_t" => UInt64,
    "size_t" => Csize_t, "char *" => Ptr{UInt8}, "void *" => Ptr{Cvoid}, "struct shard_client *" => Ptr{Cvoid},
    "struct shard_event *" => Ptr{Lib.ShardEvent}, "uint64_t *" => Ptr{UInt64}, "size_t *" => Ptr{Csize_t},
    "const char **" => Ptr{Ptr{UInt8}}, "shard_log_fn" => Ptr{Cvoid})
# A text that goes in comes with its length; one that comes out ends with a NUL.
argument_type(name) = name == "const char *" ? Ptr{UInt8} : KINDS[name]
return_type(name) = name == "const char *" ? Cstring : KINDS[name]

text = replace(read(HEADER, String), r"//.*" => "")
declared = Dict{Symbol,Tuple{String,Vector{String}}}()
for found in eachmatch(r"^(?!typedef)([\w ]+?[ *])(\w+)\(([^)]*)\);"m, text)
    returned, name, arguments = found.captures
    types = strip(arguments) == "void" ? String[] : map(split(arguments, ',')) do argument
        String(strip(replace(join(split(argument), ' '), r"\w+$" => "")))
    end
    declared[Symbol(name)] = (String(strip(returned)), types)
end

"What a C program prints, one number for each expression."
function probe(expressions)
    mktempdir() do folder
        prints = join(("  printf(\"%lld\\n\", (long long)($e));\n" for e in expressions))
        source = joinpath(folder, "probe.c")
        write(source, "#include <stddef.h>\n#include <stdio.h>\n#include \"shardwright.h\"\n" *
            "int main(void) {\n$prints  return 0;\n}\n")
        run(`gcc -std=c11 -Wall -I $(dirname(HEADER)) $source -o $folder/probe`)
        return parse.(Int64, split(read(`$folder/probe`, String)))
    end
end

@testset "functions" begin
    # Every line that ends a declaration was read, but for the type of the log callback.
    ends = count(_ -> true, eachmatch(r"^[^/#\n]*\);$"m, replace(text, ",\n" => ","))) - 1
    @test length(declared) == ends >= 26
    @test Set(keys(declared)) == Set(keys(Lib.SIGNATURES)) == Set(keys(Lib.ADDRESSES))
    for (name, (returned, arguments)) in declared
        @testset "$name" begin
            @test Lib.SIGNATURES[name][1] === return_type(returned)
            @test collect(Lib.SIGNATURES[name][2]) == map(argument_type, arguments)
            @test hasmethod(getproperty(Lib, name), NTuple{length(arguments),Any})
            @test Lib.ADDRESSES[name][] != C_NULL
        end
    end
end

@testset "constants" begin
    names = [found[1] for found in eachmatch(r"^#define (SHARD_\w+) \S+$"m, text)]
    @test length(names) >= 40
    @test Set(Symbol.(names)) == Set(keys(Lib.CONSTANTS))
    @test [Lib.CONSTANTS[Symbol(name)] for name in names] == probe(names)
end

@testset "shard_event" begin
    body = match(r"typedef struct shard_event \{(.*?)\} shard_event;"s, text)[1]
    names = [found[1] for found in eachmatch(r"(\w+)(?:\[\d+\])?;", body)]
    @test Symbol.(names) == collect(fieldnames(Lib.ShardEvent))
    expressions = ["sizeof(shard_event)"]
    ours = Int64[sizeof(Lib.ShardEvent)]
    for (index, name) in enumerate(names)
        push!(expressions, "offsetof(shard_event, $name)", "sizeof(((shard_event *)0)->$name)")
        push!(ours, fieldoffset(Lib.ShardEvent, index), sizeof(fieldtype(Lib.ShardEvent, index)))
    end
    @test probe(expressions) == ours
end

@testset "which library" begin
    withenv("SHARDWRIGHT_LIBRARY" => "/nowhere/libshardwright.so") do
        problem = thrown(Lib.load)
        @test occursin("SHARDWRIGHT_LIBRARY", problem.msg) && occursin("/nowhere/libshardwright.so", problem.msg)
    end
    withenv("SHARDWRIGHT_LIBRARY" => "libm.so.6") do
        @test occursin("not a libshardwright", thrown(Lib.load).msg)
    end
    Lib.load()
    @test startswith(library_version(), "shardwright/")
end
