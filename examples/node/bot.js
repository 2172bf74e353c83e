// A Discord bot in Node.js on Shardwright's C ABI, by way of koffi: answers "!ping" with "Pong!".
// Run it with DISCORD_TOKEN set, and SHARDWRIGHT_LIBRARY where the library is not on the linker's path.
'use strict';
const koffi = require('koffi');
const { promisify } = require('node:util');

const SHARD_OK = 0, SHARD_E_CLOSED = -5, SHARD_E_INTERRUPTED = -6, SHARD_STOP_CLOSE = 1;
const SHARD_NONE = 0xffffffff;
const KIND = { DISPATCH: 1, SHARD_STATE: 2, REPLY: 3, FATAL: 9 };

const library = koffi.load(process.env.SHARDWRIGHT_LIBRARY ?? 'libshardwright.so.0');
koffi.opaque('shard_client');
koffi.struct('shard_event', {
  kind: 'uint32_t', shard_id: 'uint32_t', seq: 'uint64_t', guild_id: 'uint64_t', command_id: 'uint64_t',
  received_ns: 'int64_t', name: 'void *', name_len: 'size_t', data: 'void *', data_len: 'size_t',
  status: 'int32_t', flags: 'uint32_t', owner: 'void *', reserved: koffi.array('uint64_t', 2),
});
const abiVersion = library.func('uint32_t shard_abi_version()');
const lastError = library.func('size_t shard_last_error(_Out_ uint8_t *buf, size_t cap)');
const clientNew = library.func('shard_client *shard_client_new(const char *json, size_t len)');
const clientStart = library.func('int32_t shard_client_start(shard_client *client)');
const clientStop = library.func('int32_t shard_client_stop(shard_client *client, uint32_t how, int32_t timeout_ms)');
const clientFree = library.func('void shard_client_free(shard_client *client)');
const sendCommand = library.func(
  'int32_t shard_client_send_command(shard_client *client, const char *json, size_t len, void *command_id)');
const eventRelease = library.func('void shard_event_release(void *event)');
const pollEvent = library.func(
  'int32_t shard_client_poll_event(shard_client *client, void *event, int32_t timeout_ms)');
// The wait is on one of koffi's threads; the promise resolves on Node's loop, which goes on meanwhile.
const waitForEvent = promisify(pollEvent.async);

// Says what went wrong in the call just made. The text belongs to the thread of that call.
function check(ok, what) {
  if (ok) return;
  const buffer = Buffer.alloc(512);
  const length = Math.min(lastError(buffer, buffer.length), buffer.length);
  throw new Error(`${what}: ${buffer.toString('utf8', 0, length)}`);
}

// Copies text out of an event. Lengths are in bytes, and nothing is NUL-terminated.
const text = (pointer, length) => (length ? koffi.decode.string(pointer, length) : '');

function send(client, command) {
  const json = JSON.stringify(command);
  check(sendCommand(client, json, Buffer.byteLength(json), null) === SHARD_OK, 'send_command');
}

function onEvent(client, { kind, shard_id: shard, status, name }, data) {
  switch (kind) {
    case KIND.DISPATCH: // the only one asked for is MESSAGE_CREATE
      if (data.content === '!ping') {
        console.log(`shard ${shard}: !ping in channel ${data.channel_id}, answering`);
        const path = `/channels/${data.channel_id}/messages`;
        send(client, { type: 'rest', method: 'POST', path, body: { content: 'Pong!' } });
      }
      break;
    case KIND.REPLY:
      console.log(`answered with status ${status}`);
      break;
    case KIND.SHARD_STATE:
      console.log(shard === SHARD_NONE ? `all shards: ${data.reason}` : `shard ${shard}: ${name} (${data.reason})`);
      break;
    case KIND.FATAL:
      console.error(`refused: ${data.reason}`);
      process.exitCode = 1;
      clientStop(client, SHARD_STOP_CLOSE, 0);
      break;
  }
}

async function main() {
  check(abiVersion() >>> 16 === 1, 'this library speaks another ABI');
  const config = JSON.stringify({
    intents: ['GUILDS', 'GUILD_MESSAGES', 'MESSAGE_CONTENT'], events: ['MESSAGE_CREATE'], log: { to: 'none' },
  });
  const client = clientNew(config, Buffer.byteLength(config));
  check(client !== null, 'shard_client_new');
  // A stop that does not wait: the poll then hands out what is left, and ends with SHARD_E_CLOSED.
  for (const name of ['SIGINT', 'SIGTERM']) process.on(name, () => clientStop(client, SHARD_STOP_CLOSE, 0));
  check(clientStart(client) === SHARD_OK, 'shard_client_start');

  const event = koffi.alloc('shard_event', 1); // outlives the call that fills it, on another thread
  for (let polled = 0; polled >= 0 || polled === SHARD_E_INTERRUPTED;) {
    polled = await waitForEvent(client, event, -1);
    if (polled === 1) {
      const fields = koffi.decode(event, 'shard_event');
      const name = text(fields.name, fields.name_len), data = text(fields.data, fields.data_len);
      eventRelease(event); // the text is copied, so give it back before the handler runs
      onEvent(client, { ...fields, name }, data && JSON.parse(data));
    } else if (polled < 0 && polled !== SHARD_E_CLOSED && polled !== SHARD_E_INTERRUPTED) {
      throw new Error(`shard_client_poll_event: status ${polled}`);
    }
  }
  koffi.free(event);
  clientFree(client);
}

main().catch((error) => { console.error(error.message); process.exit(1); });
