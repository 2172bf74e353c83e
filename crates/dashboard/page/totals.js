// The strip of figures on top: how the whole bot does, and what is left of the identify budget.

import { element, setText } from './dom.js';
import * as format from './format.js';
import { Sparkline } from './sparkline.js';

export class Totals {
  #figures = {};
  #rates = [];
  #sparkline = new Sparkline('Events per second, the last minutes');
  #meter = element('meter', { min: 0, ariaLabel: 'Identifies left' });

  constructor(node) {
    const figure = (key, label, ...more) => {
      const value = element('span', { className: 'value', textContent: format.NOTHING });
      const note = element('span', { className: 'note' });
      this.#figures[key] = { value, note };
      node.append(element('div', { className: key }, element('dt', { textContent: label }), element('dd', {}, value, ...more, note)));
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
  }

  #state = null;

  update(state, changes) {
    this.#state = state;
    if (changes.has('budget')) this.#budget();
    if (!changes.has('totals', 'bot')) return;
    const { totals } = state;
    const ready = totals.states.ready ?? 0;
    this.#set('shards', `${format.number(ready)} of ${format.number(totals.shards)}`, format.plural(totals.workers, 'worker'));
    this.#set('guilds', format.short(totals.guilds), totals.unavailable > 0
      ? `${format.short(totals.unavailable)} unavailable` : `${format.short(totals.members)} members`);
    this.#set('events', format.rate(totals.events_per_second), '');
    this.#set('latency', format.milliseconds(totals.latency_ms), totals.latency_max_ms === null
      ? '' : `at most ${format.milliseconds(totals.latency_max_ms)}`);
    this.#set('queue', format.short(totals.queue_events), 'wait for their host');
    this.#set('memory', totals.memory_bytes ? format.bytes(totals.memory_bytes) : format.NOTHING, 'all workers');
    this.#set('reconnects', format.short(totals.reconnects),
      `${format.short(totals.resumes)} resumed, ${format.short(totals.identifies)} identified`);
    this.#rates.push(totals.events_per_second);
    if (this.#rates.length > 180) this.#rates.shift();
    this.#sparkline.draw(this.#rates);
  }

  #set(key, value, note) {
    setText(this.#figures[key].value, value);
    setText(this.#figures[key].note, note);
  }

  #budget() {
    const budget = this.#state?.budget;
    this.#meter.hidden = !budget;
    if (!budget) return this.#set('budget', format.NOTHING, 'not known yet');
    Object.assign(this.#meter, { max: budget.total, low: budget.total * 0.1, high: budget.total * 0.3, optimum: budget.total, value: budget.remaining });
    const reset = budget.reset_at_ms > Date.now()
      ? `full again ${format.ago(budget.reset_at_ms)}, at ${format.clock(budget.reset_at_ms)}` : 'full again now';
    this.#set('budget', `${format.number(budget.remaining)} of ${format.number(budget.total)}`, reset);
    this.#meter.ariaLabel = `Identifies left: ${format.number(budget.remaining)} of ${format.number(budget.total)}`;
    this.#meter.title = `${format.plural(budget.max_concurrency, 'shard')} may identify at once, every 5 s`;
  }
}
