@testset "values" begin
    for (text, value) in [
        "null" => nothing, "true" => true, " false " => false, "0" => 0, "-0" => 0, "-12" => -12, "1.5" => 1.5,
        "1e3" => 1000.0, "-2.5E-1" => -0.25, "\"\"" => "", "\"ä€😀\"" => "ä€😀", "[]" => [], "[1,\t[2]\n]" => [1, [2]],
        "9223372036854775807" => typemax(Int64), "9223372036854775808" => big"9223372036854775808",
    ]
        @test parse_json(text) == value
        @test typeof(parse_json(text)) in (typeof(value), Vector{Any})
    end
    object = parse_json("""{"a": {"b": [1, {"c": null}]}, "a b": 2, "x": 1, "x": 2}""")
    @test object.a.b[1] == 1
    @test object.a.b[2].c === nothing
    @test object.missing_field === nothing
    @test object["a b"] == object[Symbol("a b")] == 2
    @test object.x == 2
    @test_throws KeyError object["missing"]
    @test get(object, "missing", 7) == 7 && haskey(object, :a) && !haskey(object, :missing)
    @test propertynames(object) == [:a, Symbol("a b"), :x]
end

@testset "escapes" begin
    @test parse_json("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"") == "\"\\/\b\f\n\r\t"
    @test parse_json(raw""" "\u00e4\u20AC" """) == "ä€"
    @test parse_json(raw""" "\ud83d\ude00" """) == "😀"
    # Halves of a pair: alone, before something else, before another escape, in the wrong order.
    @test parse_json(raw""" "\ud83d" """) == "\ufffd"
    @test parse_json(raw""" "\ud83dx" """) == "\ufffdx"
    @test parse_json(raw""" "\ud83d\n" """) == "\ufffd\n"
    @test parse_json(raw""" "\ud83d\ud83d\ude00" """) == "\ufffd😀"
    @test parse_json(raw""" "\ude00\ud83d" """) == "\ufffd\ufffd"
end

@testset "what is wrong is said" begin
    for (text, message, offset) in [
        ("", "ends where a value", 1), ("[1,", "ends where a value", 4), ("nul", "should be `null`", 4),
        ("{1:2}", "member's name", 2), ("{\"a\" 1}", "colon", 6), ("{\"a\":1", "comma or the end of the object", 7),
        ("[1 2]", "comma or the end of the array", 4), ("01", "leading zero", 2), ("1.", "digit", 3), ("-", "digit", 2),
        ("1e+", "digit", 4), ("\"a", "ends inside a string", 3), ("\"\\", "no escape", 3), ("\"\\x\"", "no escape", 3),
        ("\"\\u12g4\"", "hexadecimal", 6), ("\"a\nb\"", "control character", 3), ("1 2", "after the value", 3),
        ("[1]]", "after the value", 4), ("NaN", "no value", 1), ("\"\xff\"", "not UTF-8", 1), ("[1,]", "no value", 4),
    ]
        problem = thrown(() -> parse_json(text))
        @test problem isa JSONError
        @test occursin(message, problem.message)
        @test problem.offset == offset
    end
    @test sprint(showerror, JSONError("something", 3)) == "JSONError: something at byte 3"
end

@testset "bounds" begin
    depth = Shardwright.MAX_DEPTH
    @test parse_json("["^depth * "]"^depth) isa Vector
    for opening in ("[", "{\"a\":")
        @test occursin("nested deeper", thrown(() -> parse_json(opening^(depth + 1))).message)
        @test occursin("nested deeper", thrown(() -> parse_json(opening^1_000_000)).message)
    end
    @test parse_json("1"^1000) isa BigInt
    @test occursin("1000 digits", thrown(() -> parse_json("1"^1_000_000)).message)
    @test parse_json("1e999999") == Inf && parse_json("-1e999999") == -Inf && parse_json("1e-999999") == 0.0
end

@testset "writing" begin
    value = (a = nothing, b = [1, 2.5, true], c = :word, d = Dict("x" => missing), e = "\"\\\n\x01ä", f = (1, "two"))
    text = to_json(value)
    @test text == "{\"a\":null,\"b\":[1.0,2.5,1.0],\"c\":\"word\",\"d\":{\"x\":null},\"e\":\"\\\"\\\\\\n\\u0001ä\",\"f\":[1,\"two\"]}"
    @test parse_json(text).e == value.e
    @test to_json(big"123456789012345678901234567890") == "123456789012345678901234567890"
    @test to_json(0x10) == "16"
    @test to_json(parse_json("""{"a":[{}]}""")) == """{"a":[{}]}"""
    for value in (NaN, Inf, 1 + 2im, println, "\xff")
        @test thrown(() -> to_json(value)) isa ArgumentError
    end
    # Every character survives the way there and back.
    everything = String([Char(c) for c in 0:0xffff if isvalid(Char(c))]) * "😀"
    @test parse_json(to_json(everything)) == everything
end

@testset "a payload of the simulator" begin
    event = Shardwright.Event("X", "", 0, 1, 0, 0, 0, 0, "{\"a\":{\"b\":1},\"name\":\"field\"}", Shardwright.NOT_PARSED,
        nothing)
    @test event.a.b == 1 && event.name == "field" && event.none === nothing
    @test event["a"]["b"] == 1 && haskey(event, "a") && get(event, "none", 5) == 5
    @test propertynames(event) == [:a, :name]
    @test event_name(event) === :X && shard_id(event) == 0 && guild_id(event) === nothing
    @test sprint(show, event) == "Event(X, shard 0, 28 bytes)"
end
