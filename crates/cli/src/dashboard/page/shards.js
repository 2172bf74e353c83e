// The words for shards: their states, as `shardwright top` writes them, and why they reconnected.

import { own } from './dom.js';

/** Every state, worst first, with its letter in the grid and what it means. */
export const STATES = new Map([
  ['fatal', { letter: 'F', name: 'fatal', text: 'Discord refused it for good; change what it complains about, then restart it' }],
  ['nobody', { letter: '-', name: 'run by nobody', text: 'no worker runs it' }],
  ['disconnected', { letter: 'D', name: 'disconnected', text: 'lost its connection and tries again soon' }],
  ['stopped', { letter: 'S', name: 'stopped', text: 'stopped with its client' }],
  ['idle', { letter: '_', name: 'idle', text: 'not started' }],
  ['queued', { letter: 'q', name: 'queued', text: 'waits for its turn to identify' }],
  ['connecting', { letter: 'c', name: 'connecting', text: 'opens its connection' }],
  ['identifying', { letter: 'i', name: 'identifying', text: 'sent IDENTIFY, waits for READY' }],
  ['resuming', { letter: 'r', name: 'resuming', text: 'catches up on what it missed' }],
  ['ready', { letter: '', name: 'ready', text: 'receives events' }],
]);

const ALIASES = { not_started: 'idle', waiting: 'queued' };

const UNKNOWN = { letter: '?', name: 'unknown', text: 'in a state that this page does not know' };

/** The name in STATES of a state that has two. */
export function canonical(state) {
  return own(ALIASES, state) ?? state;
}

/** The key in STATES of what the server calls a state. */
export function stateOf(shard) {
  return canonical(shard?.state ?? 'nobody');
}

/** Letter, name and meaning of a state. */
export function describe(state) {
  return STATES.get(state) ?? { ...UNKNOWN, name: String(state) };
}

const CAUSES = new Map([
  ['connect_failed', 'the connection could not be opened'],
  ['no_hello', 'the gateway sent no HELLO'],
  ['closed_by_server', 'the gateway closed it'],
  ['closed', 'the gateway closed it'],
  ['connection_lost', 'the connection broke'],
  ['op7', 'the gateway asked for it (op 7)'],
  ['invalid_session', 'the session was invalid (op 9)'],
  ['zombie', 'heartbeats were not answered'],
  ['unanswered', 'IDENTIFY or RESUME was not answered'],
  ['bad_data', 'what came could not be read'],
  ['silent', 'no event came for too long'],
  ['restart', 'somebody restarted it'],
  ['bug', 'a bug in the engine'],
]);

/** What a cause of reconnects means. */
export function cause(name) {
  return CAUSES.get(name) ?? name;
}

/** How many shards there are: the bot's total, or as many as are known. */
export function shardCount(state) {
  const known = Object.keys(state.shards).reduce((most, key) => Math.max(most, Number(key) + 1), 0);
  return Math.max(state.bot?.shard_total ?? 0, known);
}
