// The panel of one shard: how it does, what it went through, what can be done about it.

import { element, own, setAttribute, setChildren, setText } from './dom.js';
import { get } from './api.js';
import * as format from './format.js';
import { Tail } from './log.js';
import { cause, describe, shardCount, stateOf } from './shards.js';
import { Sparkline } from './sparkline.js';
import { workerName } from './worker.js';

/** As much as the server keeps: ten minutes, every three seconds. */
const POINTS = 200;

export class ShardPanel {
  /** The one that is shown; null when none is. */
  shard = null;
  #app;
  #node;
  #title = element('h2', { id: 'shard-title', tabIndex: -1 });
  #state = element('span', { className: 'pill' });
  #meaning = element('p', { className: 'note' });
  #facts = {};
  #error = element('p', { className: 'error-text' });
  #causes = element('ul', { className: 'causes' });
  #rates = new Sparkline('Events per second, the last ten minutes');
  #latencies = new Sparkline('Latency, the last ten minutes');
  #history = { rates: [], latencies: [], at: 0 };
  #tail = new Tail();
  #noLog = element('p', { className: 'note', textContent: 'The log is where the worker writes it; only a cluster\'s can be read here.' });
  #buttons;

  /** `onClose()` is called when the reader closes it. */
  constructor(app, node, onClose) {
    this.#app = app;
    this.#node = node;
    const list = element('dl', { className: 'facts' });
    const fact = (key, label, ...more) => {
      this.#facts[key] = element('span');
      list.append(element('div', {}, element('dt', { textContent: label }), element('dd', {}, this.#facts[key], ...more)));
    };
    fact('worker', 'Worker');
    fact('rate', 'Events per second', this.#rates.node);
    fact('latency', 'Latency', this.#latencies.node);
    fact('guilds', 'Guilds');
    fact('members', 'Members');
    fact('events', 'Events');
    fact('sequence', 'Sequence');
    fact('sessions', 'Sessions');
    list.lastChild.className = 'wide';
    const restart = (label, resume) => element('button', {
      type: 'button', textContent: label, onclick: () => app.actions.confirm({ do: 'restart_shard', shard: this.shard, resume }),
    });
    this.#buttons = element('div', { className: 'buttons operate' },
      restart('Restart, resume', true), restart('Restart, identify anew', false));
    const close = element('button', {
      type: 'button', className: 'close', ariaLabel: 'Close', title: 'Close (Esc)', textContent: '×', onclick: onClose,
    });
    node.append(
      element('div', { className: 'bar' }, this.#title, this.#state, close), this.#meaning, this.#error, this.#buttons, list,
      element('h3', { textContent: 'Reconnects' }), this.#causes,
      element('h3', { textContent: 'Log' }), this.#tail.node, this.#noLog,
    );
  }

  open(shard, byKeyboard) {
    const again = this.shard === shard;
    this.shard = shard;
    this.#node.hidden = false;
    setText(this.#title, `Shard ${format.number(shard)}`);
    if (!again) {
      this.#history = { rates: [], latencies: [], at: 0 };
      this.#readHistory();
    }
    this.#show();
    if (byKeyboard) this.#title.focus();
  }

  close() {
    this.shard = null;
    this.#node.hidden = true;
    this.#tail.stop();
  }

  update(changes) {
    if (this.shard === null) return;
    const key = String(this.shard);
    if (changes.all || changes.keys('shards').has(key)) this.#remember();
    if (changes.all || changes.keys('shards').has(key) || changes.has('workers', 'cluster')) this.#show();
  }

  #show() {
    const state = this.#app.state.value;
    if (!state) return;
    const shard = own(state.shards, String(this.shard));
    const name = stateOf(shard);
    const known = this.shard < shardCount(state);
    this.#state.dataset.state = name;
    setText(this.#state, describe(name).name);
    setText(this.#meaning, known ? describe(name).text : `There are only ${format.plural(shardCount(state), 'shard')}.`);
    setAttribute(this.#error, 'hidden', shard?.last_error ? null : '');
    setText(this.#error, shard?.last_error ? `Last error: ${shard.last_error}` : '');
    const names = (shard?.workers ?? []).map((id) => workerName(state, id));
    const set = (key, text) => setText(this.#facts[key], text);
    set('worker', names.length ? names.join(' and ') : 'none');
    set('rate', format.rate(shard?.events_per_second));
    set('latency', format.milliseconds(shard?.latency_ms));
    set('guilds', format.number(shard?.guilds));
    set('members', format.number(shard?.members));
    set('events', format.number(shard?.events));
    set('sequence', format.number(shard?.sequence));
    set('sessions', shard ? `${format.number(shard.identifies)} identified, ${format.number(shard.resumes)} resumed` : format.NOTHING);
    const reconnects = Object.entries(shard?.reconnects ?? {}).filter(([, count]) => count > 0).sort((left, right) => right[1] - left[1]);
    setChildren(this.#causes, (reconnects.length ? reconnects.map(([key, count]) => `${format.number(count)} × ${cause(key)}`) : ['none'])
      .map((text, index) => {
        const item = this.#causes.children[index] ?? element('li');
        setText(item, text);
        return item;
      }));
    this.#buttons.hidden = !this.#app.state.operates || !known;
    const member = names.find((worker) => own(state.cluster?.workers, worker)?.log);
    this.#noLog.hidden = Boolean(member);
    this.#tail.node.hidden = !member;
    if (member) this.#tail.follow(member, this.shard);
    else this.#tail.stop();
  }

  async #readHistory() {
    const { shard } = this;
    const history = await get(`shards/${shard}`).catch(() => null);
    if (!history || this.shard !== shard) return;
    this.#history = { rates: history.events_per_second, latencies: history.latency_ms, at: history.at_ms.at(-1) ?? 0 };
    this.#draw();
  }

  /** Adds what the server says now to what it said of the last minutes. */
  #remember() {
    const shard = own(this.#app.state.value.shards, String(this.shard));
    const now = Date.now();
    if (!shard || now - this.#history.at < 2500) return;
    const { rates, latencies } = this.#history;
    rates.push(shard.events_per_second);
    latencies.push(shard.latency_ms ?? null);
    this.#history = { rates: rates.slice(-POINTS), latencies: latencies.slice(-POINTS), at: now };
    this.#draw();
  }

  #draw() {
    this.#rates.draw(this.#history.rates);
    this.#latencies.draw(this.#history.latencies);
  }
}
