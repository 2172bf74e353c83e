// The first view: figures, all shards, the workers, and the panel of the shard that is open.

import { byId, element, setText } from './dom.js';
import * as format from './format.js';
import { Grid } from './grid.js';
import { Latest } from './incidents.js';
import { ShardPanel } from './shard.js';
import { STATES, canonical, describe, shardCount } from './shards.js';
import { Totals } from './totals.js';
import { Workers } from './worker.js';

export class Fleet {
  node = byId('view-fleet');
  title = 'Fleet';
  #app;
  #totals = new Totals(byId('totals'));
  #grid;
  #workers;
  #panel;
  #latest;
  #legend = new Map();

  constructor(app) {
    this.#app = app;
    this.#grid = new Grid({ label: 'Shards', onOpen: (shard, byKeyboard) => app.open(shard, byKeyboard) });
    byId('grid').append(this.#grid.node);
    this.#workers = new Workers(app);
    byId('workers').append(this.#workers.node);
    this.#latest = new Latest(app, byId('latest'));
    this.#panel = new ShardPanel(app, byId('shard'), () => this.#close());
    this.node.addEventListener('keydown', (event) => event.key === 'Escape' && this.#panel.shard !== null && this.#close());
    byId('go-to').addEventListener('submit', (event) => {
      event.preventDefault();
      app.open(byId('go-to-shard').valueAsNumber, true);
    });
    byId('reshard').addEventListener('click', () => app.actions.reshard());
    byId('deploy').addEventListener('click', () => app.actions.deploy());
  }

  show(shard, byKeyboard) {
    if (this.#app.state.value) this.update(this.#app.state.value, { all: true, has: () => true });
    this.#grid.select(shard ?? null);
    this.node.classList.toggle('has-shard', shard !== undefined);
    if (shard === undefined) this.#panel.close();
    // On a phone the panel takes the place of the grid, and has to have the focus, too.
    else this.#panel.open(shard, byKeyboard || matchMedia('(max-width: 959px)').matches);
  }

  hide() {
    this.#panel.close();
  }

  update(state, changes) {
    const count = shardCount(state);
    byId('no-shards').hidden = count > 0;
    byId('no-workers').hidden = Object.keys(state.workers).length > 0 || Boolean(state.cluster);
    byId('no-cluster').hidden = Boolean(state.cluster) || Object.keys(state.workers).length === 0;
    byId('cluster-buttons').hidden = !state.cluster || !this.#app.state.operates;
    byId('rollout').hidden = !state.cluster?.rollout;
    setText(byId('rollout'), state.cluster?.rollout ?? '');
    byId('go-to-shard').max = Math.max(0, count - 1);
    this.#totals.update(state, changes);
    if (changes.has('shards', 'bot')) this.#grid.update(state, changes);
    if (changes.has('totals')) this.#states(state.totals.states);
    this.#workers.update(state, changes);
    if (changes.has('incidents')) this.#latest.show();
    this.#panel.update(changes);
  }

  /** Every state that some shard is in: a press on it goes to the next such shard. */
  #states(totals) {
    const counts = {};
    for (const [state, count] of Object.entries(totals)) counts[canonical(state)] = (counts[canonical(state)] ?? 0) + count;
    for (const state of new Set([...STATES.keys(), ...Object.keys(counts)])) {
      const count = counts[state] ?? 0;
      if (!this.#legend.has(state)) {
        if (count === 0) continue;
        const swatch = element('span', { className: 'swatch', ariaHidden: 'true' });
        swatch.dataset.state = state;
        swatch.dataset.letter = describe(state).letter;
        const text = element('span');
        const button = element('button', {
          type: 'button', title: `${describe(state).text}. Press to go to the next one.`, onclick: () => this.#grid.focusNext(state),
        }, swatch, text);
        this.#legend.set(state, { text, item: element('li', {}, button) });
        const items = [...STATES.keys(), ...this.#legend.keys()].map((key) => this.#legend.get(key)?.item).filter(Boolean);
        byId('legend').append(...new Set(items));
      }
      const { text, item } = this.#legend.get(state);
      item.hidden = count === 0;
      setText(text, `${format.number(count)} ${describe(state).name}`);
    }
  }

  #close() {
    const { shard } = this.#panel;
    this.#app.open(null);
    if (shard !== null) this.#grid.focus(shard);
  }
}
