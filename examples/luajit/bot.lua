-- A Discord bot in LuaJIT on Shardwright's C ABI: answers "!ping" with "Pong!".
-- Run it with DISCORD_TOKEN set, and SHARDWRIGHT_LIBRARY where the library is not on the linker's path.
local ffi, bit = require("ffi"), require("bit")

ffi.cdef [[
typedef struct shard_client shard_client;
typedef struct shard_event {
  uint32_t kind, shard_id; uint64_t seq, guild_id, command_id; int64_t received_ns;
  const char *name; size_t name_len; const uint8_t *data; size_t data_len;
  int32_t status; uint32_t flags; void *owner; uint64_t reserved[2];
} shard_event;
uint32_t shard_abi_version(void);
size_t shard_last_error(char *buf, size_t cap);
shard_client *shard_client_new(const char *config_json, size_t config_len);
int32_t shard_client_start(shard_client *client);
int32_t shard_client_stop(shard_client *client, uint32_t how, int32_t timeout_ms);
void shard_client_free(shard_client *client);
int32_t shard_client_event_fd(shard_client *client);
int32_t shard_client_poll_event(shard_client *client, shard_event *event, int32_t timeout_ms);
void shard_event_release(shard_event *event);
int32_t shard_event_get(shard_event *event, const char *pointer, size_t len, const char **text, size_t *text_len);
int32_t shard_client_send_command(shard_client *client, const char *json, size_t len, uint64_t *command_id);

typedef struct { unsigned long bits[16]; } sigset_t;
struct pollfd { int fd; short events, revents; };
int sigaddset(sigset_t *set, int number);
int sigprocmask(int how, const sigset_t *set, sigset_t *old);
int signalfd(int fd, const sigset_t *mask, int flags);
int poll(struct pollfd *fds, unsigned long count, int timeout_ms);
]]

local OK, E_CLOSED, STOP_CLOSE, NONE = 0, -5, 1, 0xffffffff
local DISPATCH, SHARD_STATE, REPLY, FATAL = 1, 2, 3, 9
local SIGINT, SIGTERM, SIG_BLOCK, POLLIN = 2, 15, 0, 1
local CONFIG = [[{"intents": ["GUILDS", "GUILD_MESSAGES", "MESSAGE_CONTENT"],
                  "events": ["MESSAGE_CREATE"], "log": {"to": "none"}}]]

local lib = ffi.load(os.getenv("SHARDWRIGHT_LIBRARY") or "libshardwright.so.0")
assert(bit.rshift(lib.shard_abi_version(), 16) == 1, "this library speaks another ABI")

local function check(ok, what)
  local buf = ffi.new("char[512]") -- zeroed, so the text ends at a NUL
  if not ok then lib.shard_last_error(buf, 511) error(what .. ": " .. ffi.string(buf), 0) end
end

-- A field of an event as a Lua string, so that no JSON library is needed; nil when there is none.
local text, text_len = ffi.new("const char *[1]"), ffi.new("size_t[1]")
local function field(event, pointer)
  if lib.shard_event_get(event, pointer, #pointer, text, text_len) == OK then
    return ffi.string(text[0], text_len[0])
  end
end

local function on_event(client, event)
  if event.kind == DISPATCH and field(event, "/content") == "!ping" then
    local channel = field(event, "/channel_id")
    print(("shard %d: !ping in channel %s, answering"):format(event.shard_id, channel))
    local command = ([[{"type": "rest", "method": "POST", "path": "/channels/%s/messages",
                        "body": {"content": "Pong!"}}]]):format(channel)
    check(lib.shard_client_send_command(client, command, #command, nil) == OK, "send_command")
  elseif event.kind == REPLY then
    print("answered with status " .. event.status)
  elseif event.kind == SHARD_STATE then
    local who = event.shard_id == NONE and "all shards" or "shard " .. event.shard_id
    print(("%s: %s (%s)"):format(who, ffi.string(event.name, event.name_len), field(event, "/reason") or ""))
  elseif event.kind == FATAL then
    error("refused: " .. (field(event, "/reason") or ""), 0)
  end
end

-- Lua has no signal handlers, and a C callback into Lua must not be one: the signals become readable
-- on a descriptor of Linux, beside that of the events. Blocked first, so that none is missed.
local signals = ffi.new("sigset_t") -- zeroed, which is empty on Linux
ffi.C.sigaddset(signals, SIGINT)
ffi.C.sigaddset(signals, SIGTERM)
ffi.C.sigprocmask(SIG_BLOCK, signals, nil)

io.stdout:setvbuf("line")
local client = lib.shard_client_new(CONFIG, #CONFIG)
check(client ~= nil, "shard_client_new")
check(lib.shard_client_start(client) == OK, "shard_client_start")
local fds = ffi.new("struct pollfd[2]", {
  { lib.shard_client_event_fd(client), POLLIN }, { ffi.C.signalfd(-1, signals, 0), POLLIN } })
local event, polled = ffi.new("shard_event"), 0
while polled ~= E_CLOSED do
  ffi.C.poll(fds, 2, -1)
  polled = lib.shard_client_poll_event(client, event, 0)
  check(polled >= 0 or polled == E_CLOSED, "poll_event")
  if polled == 1 then
    on_event(client, event)
    lib.shard_event_release(event)
  end
  if fds[1].revents ~= 0 then -- not waited for: the loop goes on to the end of the stream
    lib.shard_client_stop(client, STOP_CLOSE, 0)
    fds[1].fd = -1
  end
end
lib.shard_client_free(client)
