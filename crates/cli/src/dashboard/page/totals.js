// The strip of figures on top: how the whole bot does, and what is left of the identify budget.

import { get } from './api.js';
import { element, setText } from './dom.js';
import * as format from './format.js';
import { Sparkline } from './sparkline.js';

/** What the small line of events shows: ten minutes, every three seconds. */
const MINUTES = 10;
const EVERY_MS = 2900;
const POINTS = 200;

export class Totals {
  #figures = {};
  /** Times and rates, oldest first. */
  #times = [];
  #rates = [];
  #sparkline = new Sparkline('Events per second, the last minutes');
  #meter = element('meter', { min: 0, ariaLabel: 'Identifies left' });

  constructor(node) {
    const figure = (key, label, ...more) => {
      const value = element('span', { textContent: format.NOTHING });
      const of = element('span', { className: 'of' });
      const note = element('span', { className: 'note' });
      this.#figures[key] = { value, of, note };
      node.append(element('div', { className: key }, element('dt', { textContent: label }),
        element('dd', {}, element('span', { className: 'value' }, value, of), ...more, note)));
    };
    figure('shards', 'Shards ready');
    figure('guilds', 'Guilds');
    figure('events', 'Events per second', this.#sparkline.node);
    figure('latency', 'Latency');
    figure('queue', 'Events in queues');
    figure('memory', 'Memory');
    figure('reconnects', 'Reconnects');
    figure('budget', 'Identifies left', this.#meter);
    // The time until the budget is full again passes without any change of the state.
    setInterval(() => this.#budget(), 10_000);
    this.#readHistory();
  }

  #state = null;

  update(state, changes) {
    this.#state = state;
    if (changes.has('budget')) this.#budget();
    if (!changes.has('totals', 'bot')) return;
    const { totals } = state;
    const ready = totals.states.ready ?? 0;
    this.#set('shards', format.number(ready), `in ${format.plural(totals.workers, 'worker')}`, totals.shards);
    this.#figures.shards.value.classList.toggle('bad', ready < totals.shards);
    this.#set('guilds', format.short(totals.guilds), totals.unavailable > 0
      ? `${format.short(totals.unavailable)} unavailable` : `${format.short(totals.members)} members`);
    this.#set('events', format.rate(totals.events_per_second), '');
    this.#set('latency', format.milliseconds(totals.latency_ms), !Number.isFinite(totals.latency_max_ms)
      ? '' : `at most ${format.milliseconds(totals.latency_max_ms)}`);
    this.#set('queue', format.short(totals.queue_events), 'wait for their host');
    this.#set('memory', totals.memory_bytes ? format.bytes(totals.memory_bytes) : format.NOTHING, 'all workers');
    this.#set('reconnects', format.short(totals.reconnects),
      `${format.short(totals.resumes)} resumed, ${format.short(totals.identifies)} identified`);
    this.#remember(totals.events_per_second);
  }

  /** The last minutes as the server knows them, before those that the reader watches. */
  async #readHistory() {
    const history = await get('history', { minutes: MINUTES }).catch(() => null);
    if (!history) return;
    this.#times.unshift(...history.at_ms.slice(-POINTS));
    this.#rates.unshift(...history.events_per_second.slice(-POINTS));
  }

  #remember(rate) {
    const now = Date.now();
    if (now - (this.#times.at(-1) ?? 0) < EVERY_MS) return;
    this.#times.push(now);
    this.#rates.push(rate);
    const old = Math.max(this.#times.length - POINTS, this.#times.findIndex((at) => at > now - MINUTES * 60_000));
    this.#times.splice(0, old);
    this.#rates.splice(0, old);
    this.#sparkline.draw(this.#rates, this.#times);
  }

  #set(key, value, note, of) {
    setText(this.#figures[key].value, value);
    setText(this.#figures[key].of, of === undefined ? '' : ` of ${format.number(of)}`);
    setText(this.#figures[key].note, note);
  }

  #budget() {
    const budget = this.#state?.budget;
    this.#meter.hidden = !budget;
    if (!budget) return this.#set('budget', format.NOTHING, 'not known yet');
    const { total, remaining } = budget;
    Object.assign(this.#meter, { max: total, low: total * 0.1, high: total * 0.3, optimum: total, value: remaining });
    const reset = budget.reset_at_ms > Date.now()
      ? `reset at ${format.hour(budget.reset_at_ms)}` : 'reset is due';
    this.#set('budget', format.number(budget.remaining), reset, budget.total);
    this.#meter.ariaLabel = `Identifies left: ${format.number(budget.remaining)} of ${format.number(budget.total)}`;
    this.#meter.title = `Reset ${format.ago(budget.reset_at_ms)}, ${format.when(budget.reset_at_ms)}. `
      + `${format.plural(budget.max_concurrency, 'shard')} may identify at once, every 5 s.`;
  }
}
