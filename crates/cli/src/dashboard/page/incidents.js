// What happened, in words: the newest first, day by day.

import { byId, element, own, setChildren, setText } from './dom.js';
import { get } from './api.js';
import * as format from './format.js';
import { workerName } from './worker.js';

/** Shards that are named one by one. */
const NAMED = 8;
const LATEST = 5;

export class Incidents {
  node = byId('view-incidents');
  title = 'Incidents';
  #app;
  #older = new Map();
  #next;
  #items = new Map();
  #days = new Map();

  constructor(app) {
    this.#app = app;
    byId('older').addEventListener('click', () => this.#readOlder());
    byId('incident-filter').addEventListener('submit', (event) => event.preventDefault());
    byId('incident-shard').addEventListener('input', () => this.#show());
    setInterval(() => this.node.hidden || this.#show(), 10_000);
  }

  show() {
    this.#show();
  }

  hide() {}

  update(_state, changes) {
    if (changes.has('incidents')) this.#show();
  }

  #show() {
    const state = this.#app.state.value;
    if (!state) return;
    const only = byId('incident-shard').value;
    const all = new Map([...this.#older, ...Object.entries(state.incidents)]);
    const shown = [...all].filter(([, { shards }]) => only === '' || (shards ?? []).includes(Number(only)));
    shown.sort(([left], [right]) => (left < right ? 1 : -1));
    for (const key of this.#items.keys()) if (!all.has(key)) this.#items.delete(key);
    const days = new Map();
    for (const [key, incident] of shown) {
      const day = format.day(incident.at_ms);
      if (!days.has(day)) days.set(day, []);
      days.get(day).push(this.#item(key, incident));
    }
    setChildren(byId('timeline'), [...days].map(([day, items]) => this.#day(day, items)));
    for (const day of this.#days.keys()) if (!days.has(day)) this.#days.delete(day);
    byId('no-incidents').hidden = shown.length > 0;
    byId('older').hidden = this.#next === null || all.size < 100;
  }

  #day(day, items) {
    if (!this.#days.has(day)) {
      const list = element('ol');
      this.#days.set(day, { list, node: element('section', { ariaLabel: day }, element('h2', { textContent: day }), list) });
    }
    const { list, node } = this.#days.get(day);
    setChildren(list, items);
    return node;
  }

  #item(key, incident) {
    if (!this.#items.has(key)) this.#items.set(key, new Incident());
    return this.#items.get(key).show(incident, this.#app.state.value);
  }

  async #readOlder() {
    const state = this.#app.state.value;
    const oldest = this.#next ?? [...this.#older.keys(), ...Object.keys(state.incidents)].sort()[0];
    byId('older').disabled = true;
    try {
      const { incidents, next } = await get('incidents', { before: oldest, limit: 100 });
      incidents.forEach(({ key, ...incident }) => this.#older.set(key, incident));
      this.#next = next;
    } catch (error) {
      this.#app.banners.say(error.message);
    }
    byId('older').disabled = false;
    this.#show();
  }
}

/** The newest few, for the first view. */
export class Latest {
  #app;
  #node;
  #items = new Map();

  constructor(app, node) {
    this.#app = app;
    this.#node = node;
  }

  show() {
    const state = this.#app.state.value;
    const keys = Object.keys(state.incidents).sort().reverse().slice(0, LATEST);
    for (const key of this.#items.keys()) if (!keys.includes(key)) this.#items.delete(key);
    setChildren(this.#node, keys.map((key) => {
      if (!this.#items.has(key)) this.#items.set(key, new Incident());
      return this.#items.get(key).show(state.incidents[key], state);
    }));
    byId('no-latest').hidden = keys.length > 0;
  }
}

/** What a lost connection meant for events: who resumes gets those of the meantime. */
function loss(kind, resumed) {
  if (kind !== 'reconnected') return '';
  return resumed ? ', 0 events lost' : ', the events of that time are lost';
}

/** One line of a timeline. */
class Incident {
  #time = element('time');
  #ago = element('span', { className: 'note' });
  #text = element('p');
  #count = element('span', { className: 'count', hidden: true });
  #by = element('span', { className: 'note' });
  #shards = element('span', { className: 'links' });
  #node = element('li', {},
    element('div', { className: 'bar' }, this.#time, this.#ago, this.#count), this.#text,
    element('div', { className: 'bar' }, this.#by, this.#shards));
  #linked = '';

  show({ at_ms: at, worker, kind, text, shards, count, resumed }, state) {
    this.#node.dataset.kind = kind;
    setText(this.#time, format.clock(at));
    this.#time.dateTime = new Date(at).toISOString();
    this.#time.title = format.when(at);
    // Never in the future, also when the clocks of the two machines differ.
    setText(this.#ago, format.ago(Math.min(at, Date.now())));
    setText(this.#text, `${text}${loss(kind, resumed)}`);
    this.#count.hidden = !(count > 1);
    setText(this.#count, `${format.number(count)} times`);
    setText(this.#by, worker ? (own(state.workers, worker) ? workerName(state, worker) : `worker ${worker.slice(0, 8)}, gone since`) : '');
    const linked = (shards ?? []).slice(0, NAMED).join();
    if (linked !== this.#linked) {
      this.#linked = linked;
      const links = shards.slice(0, NAMED).map((shard) => element('a', { href: `#/shards/${shard}`, textContent: `shard ${shard}` }));
      this.#shards.replaceChildren(...links, ...(shards.length > NAMED ? [`and ${format.number(shards.length - NAMED)} more`] : []));
    }
    return this.#node;
  }
}
