/* shardwright.h: Discord gateway shards for programs in any language.
 *
 * Generated from src/ffi by cbindgen; do not edit.
 *
 * In short: shard_client_new() makes a client from a JSON configuration, shard_client_start() runs it,
 * poll_event() hands out events, send_command() takes commands. What holds for every function:
 *
 * - 0 is success, a negative value an error (SHARD_E_...), a positive one a count. The text of this
 *   thread's last failure is in shard_last_error(). Codes are never renumbered.
 * - Every pointer comes with its length; NULL with length 0 is empty. Text is UTF-8 and needs no NUL.
 * - Any function from any thread at any time; one thread may wait in a poll while another stops or
 *   frees. A stale handle is a status, never a crash.
 * - timeout_ms: 0 does not wait, a negative one waits for ever. A wait that a signal handler
 *   interrupts returns SHARD_E_INTERRUPTED.
 * - After fork() the child cannot use the parent's clients (SHARD_E_FORKED); it can make its own.
 */

#ifndef SHARDWRIGHT_H
#define SHARDWRIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Success.
#define SHARD_OK 0

// NULL, a bad length, not UTF-8, bad JSON, an unknown command type.
#define SHARD_E_INVALID_ARG -1

// A handle that was freed, never created, or is not one of ours.
#define SHARD_E_INVALID_HANDLE -2

// A key of the configuration is wrong; shard_last_error() names it.
#define SHARD_E_INVALID_CONFIG -3

// The wrong order: started twice, not started, called from a log callback.
#define SHARD_E_STATE -4

// Stopped, and the queue is drained: the end of the stream.
#define SHARD_E_CLOSED -5

// A signal handler ran in this thread; call again.
#define SHARD_E_INTERRUPTED -6

// No such shard in this client; shard_last_error() says whose it is.
#define SHARD_E_UNKNOWN_SHARD -7

// Too many commands whose reply was not polled; poll, then try again.
#define SHARD_E_QUEUE_FULL -8

// A gateway payload over 4096 bytes.
#define SHARD_E_TOO_LARGE -9

// *len holds the size that is needed.
#define SHARD_E_BUFFER_TOO_SMALL -10

// It did not finish in time; it goes on.
#define SHARD_E_TIMEOUT -11

// Discord refused for good: a bad token, bad intents.
#define SHARD_E_FATAL -12

// A handle from before fork(); make a new client in this process.
#define SHARD_E_FORKED -13

// Not on this platform, not in this build, or without a key of the configuration that it needs.
#define SHARD_E_UNSUPPORTED -14

// A file, a socket or a server failed.
#define SHARD_E_IO -15

// No such field (shard_event_get), or no such command (shard_client_cancel).
#define SHARD_E_NOT_FOUND -16

// The host cancelled the command; only in a REPLY.
#define SHARD_E_CANCELLED -17

// A bug in the library, caught at the boundary.
#define SHARD_E_PANIC -127

// The version of this ABI: major << 16 | minor. The major number changes when something that a host
// relies on changes; the minor number when something is added.
#define SHARD_ABI_VERSION 65536

// Log level 0: nothing.
#define SHARD_LOG_OFF 0

// Log level 1: what needs a person.
#define SHARD_LOG_ERROR 1

// Log level 2: what may need one.
#define SHARD_LOG_WARN 2

// Log level 3: what an operator wants to read later.
#define SHARD_LOG_INFO 3

// Log level 4: every step.
#define SHARD_LOG_DEBUG 4

// Log level 5: every payload's envelope.
#define SHARD_LOG_TRACE 5

// Sessions survive at Discord: for a restart. What shard_client_free() does.
#define SHARD_STOP_RESUMABLE 0

// Sessions end (close code 1000); the bot goes offline.
#define SHARD_STOP_CLOSE 1

// Drops the sockets and waits for nothing.
#define SHARD_STOP_ABORT 2

// shard_event.shard_id of an event that is not about one shard.
#define SHARD_NONE UINT32_MAX

// A gateway dispatch: name = t, data = d, as Discord sent it and not validated.
#define SHARD_EVENT_DISPATCH 1

// A shard changed its state: name = the new state, data = {"from":…,"to":…,"reason":…,"close_code":…}.
// With SHARD_NONE something holds up all shards.
#define SHARD_EVENT_SHARD_STATE 2

// The answer to command_id: status = 0, an error, or for `rest` the HTTP status; data = the result.
#define SHARD_EVENT_REPLY 3

// A message of another process: name = topic, data = {"from":…,"data":…}.
#define SHARD_EVENT_MESSAGE 4

// Another process asks: name = topic, data = {"call":…,"from":…,"data":…}; reply with the `answer` command.
#define SHARD_EVENT_CALL 5

// Work: name = queue, data = {"job_id":…,"attempt":…,"payload":…}.
#define SHARD_EVENT_JOB 6

// The queue was full: status = events dropped since the last one of these.
#define SHARD_EVENT_OVERFLOW 7

// A log line: status = level, name = target, data = text.
#define SHARD_EVENT_LOG 8

// Discord refused a shard (or with SHARD_NONE the client) for good: status = shard_status,
// data = {"reason":…,"close_code":…}.
#define SHARD_EVENT_FATAL 9

// The guilds that a READY listed have come, or are not waited for any more: status = how many are
// missing, data = {"guilds":…,"missing":["id",…],"missing_count":…}. Once for each READY.
#define SHARD_EVENT_GUILDS_COMPLETE 10

// A dispatch that the bot may have got before: it came between RESUME and RESUMED, or with shards that took over from
// those of other processes.
#define SHARD_EVENT_FLAG_REPLAYED 1

// A bot in this process: its shards and one event queue. The pointer is a handle that is checked on
// every call; a stale one is SHARD_E_INVALID_HANDLE, never a crash.
typedef struct shard_client shard_client;

// 0 is success, negative is an error (SHARD_E_…).
typedef int32_t shard_status;

// Takes one log line, on one of the engine's threads. `target` and `text` are UTF-8, not
// NUL-terminated, and valid during the call only. It must not block, and of this library it may call
// only the functions that take no client.
typedef void (*shard_log_fn)(void *userdata,
                             int32_t level,
                             const char *target,
                             size_t target_len,
                             const char *text,
                             size_t text_len);

// One event. After a poll the host owns one reference to `data` and `name`, until it releases the
// event; the struct itself is the host's and may be copied, but only one copy may be released.
typedef struct shard_event {
  // SHARD_EVENT_…; skip the ones you do not know.
  uint32_t kind;
  // The shard it is about, or SHARD_NONE.
  uint32_t shard_id;
  // The gateway's sequence number `s`, else 0.
  uint64_t seq;
  // The guild, where the payload names one, else 0.
  uint64_t guild_id;
  // The command this replies to, else 0.
  uint64_t command_id;
  // CLOCK_REALTIME when it was taken from the socket, in nanoseconds.
  int64_t received_ns;
  // UTF-8, `name_len` bytes, not NUL-terminated.
  const char *name;
  // Bytes at `name`.
  size_t name_len;
  // JSON (for LOG: text), `data_len` bytes, borrowed from the engine: no copy was made.
  const uint8_t *data;
  // Bytes at `data`.
  size_t data_len;
  // Depends on the kind.
  int32_t status;
  // SHARD_EVENT_FLAG_…
  uint32_t flags;
  // Private; NULL after release.
  void *owner;
  // Zero.
  uint64_t reserved[2];
} shard_event;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the ABI that the library speaks. Compare `>> 16` with that of SHARD_ABI_VERSION
// when you load it, and refuse another one.
uint32_t shard_abi_version(void);

// The version of the library, for people: `"shardwright/0.1.0 …"`. Static, NUL-terminated.
const char *shard_version(void);

// The name of a status, such as `"SHARD_E_CLOSED"`. Static, NUL-terminated, never NULL.
const char *shard_status_name(shard_status status);

// The status of the last call that failed in this thread; SHARD_OK when none did.
shard_status shard_last_status(void);

// Copies what went wrong last in this thread into `buf`: UTF-8, cut to `cap` bytes if it is longer,
// with a NUL behind it where there is room. Returns the full length; 0 when nothing went wrong.
// With a NULL `buf` it only returns the length.
//
// # Safety
// Unless it is NULL, `buf` must have room for `cap` bytes.
size_t shard_last_error(char *buf, size_t cap);

// The shard that carries a guild when a bot has `total_shards`: `(guild_id >> 22) % total_shards`.
// SHARD_NONE when `total_shards` is 0.
uint32_t shard_for_guild(uint64_t guild_id, uint32_t total_shards);

// Sets the function that takes the log lines of every client with `"log":{"to":"callback"}`, up to
// `level` (SHARD_LOG_…; the client's own level applies too), or takes it away with NULL. When this
// returns, the function that was set before is not running and will not be called again.
//
// `userdata` is passed on as it is, on any of the engine's threads. Returns SHARD_OK;
// SHARD_E_INVALID_ARG for an unknown level; SHARD_E_STATE from inside a log callback.
shard_status shard_set_log_callback(shard_log_fn callback,
                                    void *userdata,
                                    int32_t level);

// Makes a client from a JSON object (see the README for its keys). It does nothing until
// shard_client_start(). The host owns it and frees it with shard_client_free().
//
// NULL on failure: shard_last_status() and shard_last_error() say why, naming the key.
//
// # Safety
// `config_json` must be readable for `config_len` bytes.
struct shard_client *shard_client_new(const char *config_json, size_t config_len);

// Starts the client's threads and shards, and returns at once; progress comes as events.
// SHARD_E_STATE when it was started before; SHARD_E_IO when `metrics_address` cannot be listened on,
// after which it can be started again.
shard_status shard_client_start(struct shard_client *client);

// Waits until every shard has been ready once: `timeout_ms` 0 looks only, a negative one waits for
// ever. SHARD_E_TIMEOUT; SHARD_E_FATAL when Discord refuses a shard for good; SHARD_E_CLOSED when the
// client stops first; SHARD_E_INTERRUPTED when a signal handler ran in this thread.
shard_status shard_client_wait_ready(struct shard_client *client,
                                     int32_t timeout_ms);

// Stops the client (`how`: SHARD_STOP_…) and waits for its threads to end: `timeout_ms` 0 does not
// wait, a negative one waits as long as it takes, which is a few seconds at most. Events that were
// received can still be polled; then polls say SHARD_E_CLOSED. Open commands are replied to with
// SHARD_E_CLOSED. May be called again, also with a more impatient `how`.
//
// SHARD_E_TIMEOUT when it is still stopping; SHARD_E_INTERRUPTED when a signal handler ran.
shard_status shard_client_stop(struct shard_client *client,
                               uint32_t how,
                               int32_t timeout_ms);

// Frees the client; its handle is invalid from now on. A running one is stopped first as with
// SHARD_STOP_RESUMABLE, for which it gets two seconds; one that was stopped goes at once. A poll that
// waits in another thread returns. Events that were polled stay valid until they are released.
//
// NULL, and a handle that was freed already, are left alone.
void shard_client_free(struct shard_client *client);

#if !defined(SHARD_NO_SHORT_NAMES)
// Polls one event into `*event`: 1 when there was one, 0 when none came within `timeout_ms` (0 does
// not wait, a negative one waits for ever) or shard_client_wake() was called, else a status:
// SHARD_E_CLOSED at the end of the stream, SHARD_E_INTERRUPTED when a signal handler ran in this
// thread. Release the event with shard_event_release().
//
// # Safety
// `event` must be writable.
int32_t poll_event(struct shard_client *client, struct shard_event *event, int32_t timeout_ms);
#endif

// The same as poll_event().
//
// # Safety
// `event` must be writable.
int32_t shard_client_poll_event(struct shard_client *client,
                                struct shard_event *event,
                                int32_t timeout_ms);

// Polls up to `cap` events into the array `events`: their count, else as poll_event(). The more at
// once, the less each costs. Release them with shard_events_release().
//
// # Safety
// `events` must be writable for `cap` events.
int32_t shard_client_poll_events(struct shard_client *client,
                                 struct shard_event *events,
                                 size_t cap,
                                 int32_t timeout_ms);

// Gives back what an event borrowed; `data`, `name` and `owner` are NULL afterwards, so that a second
// release does nothing. From any thread, in any order, also after the client was freed. NULL is fine.
//
// # Safety
// `event` must be NULL, or have come from a poll, or be zeroed memory.
void shard_event_release(struct shard_event *event);

// Releases an array of events; those that were released already, or never filled but zeroed, are
// skipped.
//
// # Safety
// As shard_event_release(), for `count` events.
void shard_events_release(struct shard_event *events, size_t count);

// The descriptor that is readable while a poll would return at once, and for ever after the end of
// the stream. Level-triggered. It is the client's: poll it, never read or close it; it is gone with
// shard_client_free(). A forked child must not poll it.
int32_t shard_client_event_fd(struct shard_client *client);

// Lets one poll, waiting in another thread or the next one, return 0.
shard_status shard_client_wake(struct shard_client *client);

// Finds one field of an event's data by JSON Pointer (RFC 6901), such as `"/author/id"` or
// `"/embeds/0/title"`; empty for all of it. A string comes decoded and without its quotes, any other
// value as its JSON text. `*text` is UTF-8 of `*text_len` bytes, not NUL-terminated, and valid until
// the event is released.
//
// SHARD_E_NOT_FOUND when there is no such field; SHARD_E_INVALID_ARG when the event was released, or
// the field's text is no JSON string.
//
// # Safety
// `event` must have come from a poll; `pointer` must be readable for `pointer_len` bytes; `text` and
// `text_len` must be writable.
shard_status shard_event_get(struct shard_event *event,
                             const char *pointer,
                             size_t pointer_len,
                             const char **text,
                             size_t *text_len);

#if !defined(SHARD_NO_SHORT_NAMES)
// Sends a command, a JSON object with a `type` (see the README). When it is accepted, `*command_id`
// (unless NULL) is its id and exactly one REPLY event with that id will come; when not, none will,
// and shard_last_error() says what is wrong. Never blocks.
//
// # Safety
// `json` must be readable for `json_len` bytes; `command_id` must be NULL or writable.
shard_status send_command(struct shard_client *client,
                          const char *json,
                          size_t json_len,
                          uint64_t *command_id);
#endif

// The same as send_command().
//
// # Safety
// `json` must be readable for `json_len` bytes; `command_id` must be NULL or writable.
shard_status shard_client_send_command(struct shard_client *client,
                                       const char *json,
                                       size_t json_len,
                                       uint64_t *command_id);

// Ends a command: its REPLY comes with SHARD_E_CANCELLED. What was sent stays sent.
// SHARD_E_NOT_FOUND when its reply is written already.
shard_status shard_client_cancel(struct shard_client *client, uint64_t command_id);

// Writes how the client is doing into `buf` as a JSON object: its stage, its queue, and for every
// shard its state, session, sequence, latency, counts and last error. `*len` is the full length, also
// with SHARD_E_BUFFER_TOO_SMALL; a NUL follows where there is room.
//
// # Safety
// `buf` must be NULL or have room for `cap` bytes; `len` must be writable.
shard_status shard_client_status_json(struct shard_client *client,
                                      char *buf,
                                      size_t cap,
                                      size_t *len);

// Writes the client's numbers into `buf` for Prometheus, with the same rules. The format is OpenMetrics,
// `application/openmetrics-text; version=1.0.0; charset=utf-8`. See `metrics_address` of the
// configuration for an endpoint that does it all.
//
// # Safety
// As shard_client_status_json().
shard_status shard_client_metrics_text(struct shard_client *client,
                                       char *buf,
                                       size_t cap,
                                       size_t *len);

// A readiness probe: SHARD_OK when every shard is ready, else the worst reason why not, which is one
// of SHARD_E_FATAL, SHARD_E_CLOSED and SHARD_E_STATE; shard_last_error() says which shard and why.
shard_status shard_client_healthy(struct shard_client *client);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SHARDWRIGHT_H */
