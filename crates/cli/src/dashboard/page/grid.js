// All shards at a glance: one cell each, from one big card to thousands of small squares. A listbox: one stop of the
// tab key, arrows within, Enter opens.

import { element, setAttribute, setChildren, setText } from './dom.js';
import { rate } from './format.js';
import { describe, shardCount, stateOf } from './shards.js';

/**
 * How cells look, by the number of shards. Sizes in pixels, and those where the page is narrow; `group` cells stand
 * together, in rows that begin with their number; `swell` is how far one grows for a moment when its state changes.
 */
const LOOKS = [
  { name: 'card', shards: 48, swell: 1.05, width: 92, gap: 6, group: 0, columns: [16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1] },
  { name: 'tile', shards: 400, swell: 1.2, width: 36, gap: 3, group: 0, columns: [50, 40, 30, 25, 20, 15, 10, 8, 5] },
  {
    name: 'dot', shards: Infinity, swell: 1.7, width: 14, narrow: 11, gap: 2, group: 10,
    columns: [100, 90, 80, 70, 60, 50, 40, 30, 20, 10],
  },
];
const CARDS = LOOKS[0];
const GROUP_GAP = 6;
const FLASH_MS = 450;
/** More at once are no help to the eye, and too much for the browser. */
const MOST_FLASHES = 100;
const stillness = matchMedia('(prefers-reduced-motion: reduce)');
const LABEL_WIDTH = 40;
const NARROW = 420;

export class Grid {
  /** `onOpen(shard, byKeyboard)` is called when the reader chooses one. */
  constructor({ label, onOpen }) {
    this.node = element('div', { className: 'grid', role: 'listbox', ariaLabel: label, tabIndex: -1 });
    this.node.addEventListener('click', (event) => {
      const cell = event.target.closest('.cell');
      if (!cell) return;
      this.#focusOn(Number(cell.dataset.shard));
      onOpen(Number(cell.dataset.shard), false);
    });
    this.node.addEventListener('keydown', (event) => this.#onKey(event, onOpen));
    new ResizeObserver(() => this.#arrange()).observe(this.node);
  }

  #cells = [];
  #look = CARDS;
  #columns = 0;
  #focused = 0;
  #selected = null;

  /** Shows what changed; `changes` null shows all. */
  update(state, changes) {
    const count = shardCount(state);
    if (count !== this.#cells.length) this.#resize(count);
    const all = !changes || changes.all;
    const keys = all ? this.#cells.keys() : changes.keys('shards');
    const changed = [];
    for (const key of keys) {
      const cell = this.#cells[Number(key)];
      if (cell && this.#show(cell, state.shards[key])) changed.push(cell);
    }
    if (all || stillness.matches || changed.length > MOST_FLASHES) return;
    const swollen = { transform: `scale(${this.#look.swell})`, zIndex: 1 };
    for (const { node } of changed) node.animate([swollen, { transform: 'none' }], { duration: FLASH_MS, easing: 'ease-out' });
  }

  /** Marks the one that is open; null marks none. */
  select(shard) {
    if (this.#selected !== null) setAttribute(this.#cells[this.#selected]?.node ?? this.node, 'aria-selected', null);
    this.#selected = shard;
    if (shard === null || !this.#cells[shard]) return;
    setAttribute(this.#cells[shard].node, 'aria-selected', 'true');
    this.#focusOn(shard);
  }

  /** Moves the keyboard's focus to a shard. */
  focus(shard) {
    this.#focusOn(shard);
    this.#cells[this.#focused]?.node.focus();
  }

  /** Focuses the next shard in this state, after the one that has the focus. */
  focusNext(state) {
    const count = this.#cells.length;
    for (let step = 1; step <= count; step += 1) {
      const shard = (this.#focused + step) % count;
      if (this.#cells[shard].state === state) return this.focus(shard);
    }
  }

  /** Shows a shard in its cell; says whether its state is another than before. */
  #show(cell, shard) {
    const state = stateOf(shard);
    const twice = (shard?.workers?.length ?? 0) > 1;
    const { letter, name } = describe(state);
    const changed = cell.state !== state || cell.twice !== twice;
    if (changed) {
      cell.state = state;
      cell.twice = twice;
      cell.node.dataset.state = state;
      cell.node.dataset.letter = twice ? '2' : letter;
    }
    let label = `Shard ${cell.shard}: ${name}`;
    if (this.#look === CARDS) {
      const busy = state === 'ready' ? `${rate(shard.events_per_second)}/s` : '';
      setText(cell.word, name);
      setText(cell.rate, busy);
      if (busy) label += `, ${busy}`;
    } else if (!changed) {
      return false;
    }
    if (twice) label += `, run by ${shard.workers.length} workers`;
    setAttribute(cell.node, 'aria-label', label);
    return changed;
  }

  #resize(count) {
    while (this.#cells.length > count) this.#cells.pop().node.remove();
    while (this.#cells.length < count) this.#cells.push(this.#cell(this.#cells.length));
    this.#look = LOOKS.find((look) => count <= look.shards);
    this.node.dataset.look = this.#look.name;
    this.#columns = 0;
    this.#focused = Math.min(this.#focused, Math.max(0, count - 1));
    if (this.#cells[this.#focused]) this.#cells[this.#focused].node.tabIndex = 0;
    this.#arrange();
    if (this.#selected !== null) this.select(this.#selected);
  }

  #cell(shard) {
    const part = (className, textContent) => element('span', { className, textContent });
    const [name, word, perSecond] = [part('name', shard), part('word', ''), part('rate', '')];
    const node = element('div', { className: 'cell', role: 'option', tabIndex: -1 }, name, ' ', word, ' ', perSecond);
    node.dataset.shard = shard;
    return { shard, node, word, rate: perSecond, state: undefined, twice: false };
  }

  /** Rows as wide as there is room, of round numbers of columns. */
  #arrange() {
    const { gap, group, columns } = this.#look;
    const room = this.node.clientWidth - (group ? LABEL_WIDTH : 0);
    if (room <= 0) return;
    const width = room < NARROW ? this.#look.narrow ?? this.#look.width : this.#look.width;
    this.node.style.setProperty('--width', `${width}px`);
    const needed = (count) => count * (width + gap) - gap + (group ? Math.ceil(count / group - 1) * GROUP_GAP : 0);
    let fits = columns.find((count) => needed(count) <= room) ?? columns.at(-1);
    // Cards stand in rows of the same length, as far as they can: 16 of them as 8 and 8, not as 12 and 4.
    if (this.#look === CARDS) fits = Math.ceil(this.#cells.length / Math.ceil(this.#cells.length / fits)) || 1;
    if (fits === this.#columns) return;
    this.#columns = fits;
    this.node.style.setProperty('--columns', fits);
    const nodes = this.#cells.map((cell) => cell.node);
    const focus = document.activeElement;
    setChildren(this.node, group ? this.#rows(nodes, fits, group) : nodes);
    if (nodes.includes(focus)) focus.focus();
  }

  #rows(nodes, columns, group) {
    const rows = [];
    for (let first = 0; first < nodes.length; first += columns) {
      const row = element('div', { className: 'row', role: 'none' });
      row.append(element('span', { className: 'mark', textContent: first, ariaHidden: 'true' }));
      const last = Math.min(first + columns, nodes.length);
      for (let at = first; at < last; at += group) {
        const ten = element('div', { className: 'ten', role: 'none' });
        ten.append(...nodes.slice(at, Math.min(at + group, last)));
        row.append(ten);
      }
      rows.push(row);
    }
    return rows;
  }

  #focusOn(shard) {
    const before = this.#cells[this.#focused];
    if (before) before.node.tabIndex = -1;
    this.#focused = Math.max(0, Math.min(shard, this.#cells.length - 1));
    const now = this.#cells[this.#focused];
    if (now) now.node.tabIndex = 0;
  }

  #onKey(event, onOpen) {
    if (event.altKey || event.metaKey) return;
    const [at, columns, last] = [this.#focused, this.#columns || 1, this.#cells.length - 1];
    const row = at - (at % columns);
    const targets = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at - columns < 0 ? at : at - columns,
      ArrowDown: at + columns > last ? at : at + columns,
      PageUp: at - 10 * columns,
      PageDown: at + 10 * columns,
      Home: event.ctrlKey ? 0 : row,
      End: event.ctrlKey ? last : row + columns - 1,
    };
    if (event.key === 'Enter' || event.key === ' ') onOpen(at, true);
    else if (event.key in targets) this.focus(targets[event.key]);
    else return;
    event.preventDefault();
  }
}
