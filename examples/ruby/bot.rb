# A Discord bot in Ruby on Shardwright's C ABI, by way of Fiddle: answers "!ping" with "Pong!".
# Run it with DISCORD_TOKEN set, and SHARDWRIGHT_LIBRARY where the library is not on the linker's path.
require "fiddle/import"
require "io/wait"
require "json"

# The part of shardwright.h that this bot uses. Fiddle knows fixed-width types by their C names.
module Shardwright
  extend Fiddle::Importer
  dlload ENV.fetch("SHARDWRIGHT_LIBRARY", "libshardwright.so.0")
  typealias "uint32_t", "unsigned int"
  typealias "int32_t", "int"
  typealias "uint64_t", "unsigned long long"
  typealias "int64_t", "long long"

  Event = struct [
    "uint32_t kind", "uint32_t shard_id", "uint64_t seq", "uint64_t guild_id", "uint64_t command_id",
    "int64_t received_ns", "char *name", "size_t name_len", "char *data", "size_t data_len",
    "int32_t status", "uint32_t flags", "void *owner", "uint64_t reserved[2]"
  ]
  extern "uint32_t shard_abi_version()"
  extern "size_t shard_last_error(char *, size_t)"
  extern "void *shard_client_new(const char *, size_t)"
  extern "int32_t shard_client_start(void *)"
  extern "int32_t shard_client_stop(void *, uint32_t, int32_t)"
  extern "void shard_client_free(void *)"
  extern "int32_t shard_client_event_fd(void *)"
  extern "int32_t shard_client_poll_event(void *, void *, int32_t)"
  extern "void shard_event_release(void *)"
  extern "int32_t shard_client_send_command(void *, const char *, size_t, void *)"

  OK, E_CLOSED, STOP_CLOSE, NONE = 0, -5, 1, 0xffffffff
  DISPATCH, SHARD_STATE, REPLY, FATAL = 1, 2, 3, 9

  # Says what went wrong last in this thread.
  def self.check(okay, what)
    return if okay

    buffer = Fiddle::Pointer.malloc(512, Fiddle::RUBY_FREE)
    abort "#{what}: #{buffer[0, [shard_last_error(buffer, 512), 512].min]}"
  end

  # A copy of text in an event; without a length, Fiddle would read on to a NUL that is not there.
  def self.text(pointer, length)
    length.zero? ? "" : pointer[0, length].force_encoding(Encoding::UTF_8)
  end
end

def on_event(client, kind, shard, status, name, data)
  case kind
  when Shardwright::DISPATCH # the only one asked for is MESSAGE_CREATE
    message = JSON.parse(data)
    return unless message["content"] == "!ping"

    puts "shard #{shard}: !ping in channel #{message["channel_id"]}, answering"
    command = JSON.generate(type: "rest", method: "POST", path: "/channels/#{message["channel_id"]}/messages",
                            body: { content: "Pong!" })
    sent = Shardwright.shard_client_send_command(client, command, command.bytesize, nil)
    Shardwright.check(sent == Shardwright::OK, "send_command")
  when Shardwright::REPLY then puts "answered with status #{status}"
  when Shardwright::SHARD_STATE
    who = shard == Shardwright::NONE ? "all shards" : "shard #{shard}"
    puts "#{who}: #{name} (#{JSON.parse(data)["reason"]})"
  when Shardwright::FATAL then abort "refused: #{JSON.parse(data)["reason"]}"
  end
end

$stdout.sync = true
Shardwright.check(Shardwright.shard_abi_version >> 16 == 1, "this library speaks another ABI")
config = JSON.generate(intents: %w[GUILDS GUILD_MESSAGES MESSAGE_CONTENT], events: %w[MESSAGE_CREATE],
                       log: { to: "none" })
client = Shardwright.shard_client_new(config, config.bytesize)
Shardwright.check(!client.null?, "shard_client_new")
# A stop that does not wait: the loop below goes on to the end of the stream.
%w[INT TERM].each { |name| trap(name) { Shardwright.shard_client_stop(client, Shardwright::STOP_CLOSE, 0) } }
Shardwright.check(Shardwright.shard_client_start(client) == Shardwright::OK, "shard_client_start")

# Ruby waits for the descriptor itself, so other threads run, traps come at once, and a fiber scheduler
# could take it. It belongs to the client: Ruby must not close it.
readable = IO.for_fd(Shardwright.shard_client_event_fd(client), "r", autoclose: false)
event = Shardwright::Event.malloc(Fiddle::RUBY_FREE)
until (polled = Shardwright.shard_client_poll_event(client, event, 0)) == Shardwright::E_CLOSED
  Shardwright.check(polled >= 0, "poll_event")
  next readable.wait_readable if polled.zero?

  name = Shardwright.text(event.name, event.name_len)
  data = Shardwright.text(event.data, event.data_len)
  Shardwright.shard_event_release(event) # all is copied
  on_event(client, event.kind, event.shard_id, event.status, name, data)
end
Shardwright.shard_client_free(client)
