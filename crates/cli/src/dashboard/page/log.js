// What a worker wrote: its last lines, in a dialog or in the panel of a shard.

import { element, setText } from './dom.js';
import { get } from './api.js';

const REFRESH_MS = 3000;
/** What terminals read as colours. */
const COLOURS = /\u001b\[[\d;]*m/g;

/** The last lines of a worker's log, of one shard or of all; they follow while `running`. */
export class Tail {
  #lines = element('pre', { tabIndex: 0, role: 'region', ariaLabel: 'Log' });
  #note = element('p', { className: 'note' });
  #timer = null;
  #of = null;

  constructor() {
    this.node = element('div', { className: 'tail' }, this.#lines, this.#note);
  }

  follow(worker, shard) {
    const key = `${worker} ${shard}`;
    if (this.#of?.key === key) return;
    this.stop();
    this.#of = { key, worker, shard };
    setText(this.#lines, '');
    setText(this.#note, 'Reading the log …');
    this.#read();
    this.#timer = setInterval(() => document.hidden || this.#read(), REFRESH_MS);
  }

  stop() {
    clearInterval(this.#timer);
    this.#of = null;
  }

  async #read() {
    const of = this.#of;
    try {
      const { lines, complete } = await get('log', { worker: of.worker, lines: 200, shard: of.shard });
      if (this.#of !== of) return;
      const atEnd = this.#lines.scrollTop + this.#lines.clientHeight >= this.#lines.scrollHeight - 4;
      setText(this.#lines, lines.join('\n').replaceAll(COLOURS, ''));
      if (atEnd) this.#lines.scrollTop = this.#lines.scrollHeight;
      const what = of.shard === undefined ? of.worker : `shard ${of.shard} in ${of.worker}`;
      setText(this.#note, lines.length === 0 ? `Nothing is written about ${what}.`
        : complete ? `All that ${of.worker} wrote.` : `The last lines about ${what}.`);
    } catch (error) {
      if (this.#of !== of) return;
      setText(this.#lines, '');
      setText(this.#note, error.message);
    }
    this.#lines.hidden = this.#lines.textContent === '';
  }
}

/** The dialog that shows the log of a whole worker. */
export class Log {
  #dialog;
  #title = element('h2', { id: 'log-title' });
  #tail = new Tail();

  constructor(dialog) {
    this.#dialog = dialog;
    const close = element('button', { type: 'button', textContent: 'Close', onclick: () => dialog.close() });
    dialog.append(this.#title, this.#tail.node, element('div', { className: 'buttons' }, close));
    dialog.addEventListener('close', () => this.#tail.stop());
  }

  open(worker) {
    setText(this.#title, `Log of ${worker}`);
    this.#dialog.showModal();
    this.#tail.follow(worker, undefined);
  }
}
