// With a simulated Discord: talk to the bot on one side, break its connections on the other, and watch them heal.

import { byId, element, setChildren, setText } from './dom.js';
import { post } from './api.js';
import { Chat } from './chat.js';
import * as format from './format.js';
import { Grid } from './grid.js';
import { shardCount } from './shards.js';

const BREAKS = [
  { what: 'drop', label: 'Cut the connection', text: 'The socket dies without a word.' },
  { what: 'op7', label: 'Ask to reconnect', text: 'Op 7: Discord wants the shard on another server.' },
  { what: 'silence', label: 'Fall silent', text: 'Nothing is answered any more; the shard has to notice by itself.' },
  { what: 'invalid_session', label: 'Void the session', text: 'Op 9: there is nothing to resume, it has to identify anew.' },
  { what: 'outage', label: 'Outage', text: 'The whole gateway goes away for a while.' },
];
const KEPT = 60;

export class Playground {
  node = byId('view-playground');
  title = 'Playground';
  #app;
  #chat;
  #grid;
  #aim = element('input', { id: 'aim', type: 'number', min: 0, inputMode: 'numeric', placeholder: 'all' });
  #health = element('p', { className: 'health', role: 'status' });
  #error = element('p', { className: 'error', role: 'alert' });
  #feed = element('ol', { className: 'feed' });
  #seen = null;
  #brokenAt = null;
  #worst = 0;

  constructor(app) {
    this.#app = app;
    this.#chat = new Chat(app, ({ shard }) => this.#aimAt(shard));
    this.#grid = new Grid({ label: 'Shards to aim at', onOpen: (shard) => this.#aimAt(shard) });
    this.#aim.addEventListener('input', () => {
      const { value, validity, valueAsNumber } = this.#aim;
      this.#grid.select(value === '' || !validity.valid ? null : valueAsNumber);
    });
    const buttons = BREAKS.map(({ what, label, text }) => element('button', {
      type: 'button', className: 'break', onclick: () => this.#break(what),
    }, element('strong', { textContent: label }), element('span', { textContent: text })));
    this.node.append(
      element('div', { className: 'bar' }, element('h1', { id: 'playground-title', textContent: 'Playground' }),
        element('p', { className: 'note', textContent: 'This Discord is simulated: nothing you do here can hurt anybody.' })),
      element('div', { className: 'toys' }, this.#chat.node,
        element('section', { className: 'panel', 'aria-labelledby': 'break-title' },
          element('div', { className: 'bar' }, element('h2', { id: 'break-title', textContent: 'Break it' }), this.#health),
          this.#grid.node,
          element('div', { className: 'inline operate' }, element('label', { htmlFor: 'aim', textContent: 'Aim at shard' }), this.#aim,
            element('button', { type: 'button', textContent: 'All shards', onclick: () => this.#aimAt(null) })),
          element('div', { className: 'breaks operate' }, ...buttons), this.#error,
          element('h3', { textContent: 'What happens' }),
          element('div', { className: 'happened', role: 'log', ariaLabel: 'What happens', tabIndex: 0 }, this.#feed),
          element('p', { className: 'empty', textContent: 'Nothing yet. Pick a shard in the grid and break something.' }))));
  }

  show() {
    const state = this.#app.state.value;
    if (state) {
      this.#seen ??= new Set(Object.keys(state.incidents));
      this.update(state, { all: true, has: () => true });
    }
    this.#chat.show();
  }

  hide() {
    this.#chat.hide();
  }

  update(state, changes) {
    if (changes.has('shards', 'bot')) this.#grid.update(state, changes);
    this.#aim.max = Math.max(0, shardCount(state) - 1);
    if (changes.has('totals')) this.#watch(state.totals);
    if (changes.has('incidents')) this.#incidents(state);
  }

  #aimAt(shard) {
    this.#aim.value = shard ?? '';
    this.#grid.select(shard);
  }

  async #break(what) {
    setText(this.#error, '');
    if (!this.#aim.validity.valid) {
      setText(this.#error, 'There is no such shard.');
      return;
    }
    const shard = this.#aim.value === '' ? null : this.#aim.valueAsNumber;
    try {
      const { text } = await post('playground/break', { what, shard });
      this.#say('break', text);
    } catch (error) {
      setText(this.#error, error.message);
    }
  }

  /** Says how many are well, and how long it took until all were again. */
  #watch({ states, shards }) {
    const ready = states.ready ?? 0;
    const away = shards - ready;
    this.#health.dataset.well = String(away === 0);
    setText(this.#health, away === 0 ? `All ${format.plural(shards, 'shard')} ready`
      : `${format.number(ready)} of ${format.number(shards)} ready`);
    if (away > 0) {
      this.#brokenAt ??= Date.now();
      this.#worst = Math.max(this.#worst, away);
    } else if (this.#brokenAt !== null) {
      const took = format.duration(Math.max(1000, Date.now() - this.#brokenAt));
      this.#say('healed', `${format.plural(this.#worst, 'shard')} healed: all are ready again, after about ${took}`);
      this.#brokenAt = null;
      this.#worst = 0;
    }
  }

  #incidents({ incidents }) {
    this.#seen ??= new Set(Object.keys(incidents));
    for (const key of Object.keys(incidents).sort()) {
      if (this.#seen.has(key)) continue;
      this.#say(incidents[key].kind, incidents[key].text, incidents[key].at_ms);
    }
    this.#seen = new Set(Object.keys(incidents));
  }

  #say(kind, text, at = Date.now()) {
    const time = element('time', { dateTime: new Date(at).toISOString(), textContent: format.clock(at) });
    const line = element('li', {}, time, element('span', { textContent: text }));
    line.dataset.kind = kind;
    setChildren(this.#feed, [line, ...[...this.#feed.children].slice(0, KEPT - 1)]);
  }
}
