// Tells those who hear the page how the shards are, when that changes; not more than every few seconds.

import { setText } from './dom.js';
import * as format from './format.js';
import { describe } from './shards.js';

const PAUSE_MS = 3000;

export class Announcer {
  #node;
  #said = '';
  #timer = null;
  #state = null;

  constructor(node) {
    this.#node = node;
  }

  say(state) {
    this.#state = state;
    if (this.#timer || summary(state) === this.#said) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#said = summary(this.#state);
      setText(this.#node, this.#said);
    }, PAUSE_MS);
  }
}

function summary({ totals }) {
  const { ready = 0, ...others } = totals.states;
  const rest = Object.entries(others).filter(([, count]) => count > 0)
    .map(([state, count]) => `${format.number(count)} ${describe(state).name}`);
  return `${format.number(ready)} of ${format.plural(totals.shards, 'shard')} ready${rest.length ? `; ${rest.join(', ')}` : ''}`;
}
