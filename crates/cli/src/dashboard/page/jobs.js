// The queues of jobs that somebody consumes, and what became of those that failed for good.

import { byId, element, own, setChildren, setText } from './dom.js';
import { get } from './api.js';
import * as format from './format.js';

const COLUMNS = [['waiting', 'Waiting'], ['running', 'Running'], ['dead', 'Dead']];

export class Jobs {
  node = byId('view-jobs');
  title = 'Jobs';
  #app;
  #rows = new Map();
  #table;
  #body = element('tbody', { role: 'rowgroup' });
  #dead;

  constructor(app) {
    this.#app = app;
    this.#dead = new Dead(app, byId('dead'));
    const heads = ['Queue', ...COLUMNS.map(([, label]) => label), 'Actions'];
    this.#table = element('table', { className: 'cards panel', role: 'table', ariaLabel: 'Queues' },
      element('thead', { role: 'rowgroup' }, element('tr', { role: 'row' }, ...heads.map((text, index) => element('th', {
        scope: 'col', role: 'columnheader', textContent: text, className: index > 0 && index < 4 ? 'figure' : '',
      })))), this.#body);
    byId('queues').append(this.#table);
  }

  show() {
    if (this.#app.state.value) this.update(this.#app.state.value, { all: true, has: () => true });
    this.#dead.read();
  }

  hide() {}

  update(state, changes) {
    if (!changes.has('jobs')) return;
    const queues = Object.entries(state.jobs).sort(([left], [right]) => format.inOrder(left, right));
    for (const name of this.#rows.keys()) if (own(state.jobs, name) === undefined) this.#rows.delete(name);
    setChildren(this.#body, queues.map(([name, jobs]) => this.#row(name, jobs)));
    byId('no-jobs').hidden = queues.length > 0;
    this.#table.hidden = queues.length === 0;
    const [withDead] = queues.find(([, { dead }]) => dead > 0) ?? [];
    if (this.#dead.queue === null && withDead !== undefined) this.#dead.open(withDead);
    else this.#dead.update(state);
  }

  #row(name, jobs) {
    if (!this.#rows.has(name)) {
      const cells = COLUMNS.map(([, label]) => element('td', { role: 'cell', className: 'figure', 'data-label': label }));
      const look = element('button', {
        type: 'button', className: 'small', textContent: 'Dead jobs', ariaLabel: `Dead jobs of ${name}`,
        onclick: () => this.#dead.open(name, true),
      });
      const retry = element('button', {
        type: 'button', className: 'small operate', textContent: 'Retry all', ariaLabel: `Retry all dead jobs of ${name}`,
        onclick: async () => await this.#app.actions.confirm({ do: 'retry_jobs', queue: name }) && this.#dead.read(),
      });
      this.#rows.set(name, {
        cells, look, retry,
        node: element('tr', { role: 'row' }, element('th', { scope: 'row', role: 'rowheader', textContent: name }), ...cells,
          element('td', { role: 'cell', className: 'buttons' }, look, retry)),
      });
    }
    const { cells, look, retry, node } = this.#rows.get(name);
    COLUMNS.forEach(([key], index) => {
      setText(cells[index], format.number(jobs[key]));
      cells[index].classList.toggle('bad', key === 'dead' && jobs.dead > 0);
    });
    look.disabled = jobs.dead === 0;
    retry.hidden = jobs.dead === 0 || !this.#app.state.operates;
    return node;
  }
}

/** The dead jobs of one queue. */
class Dead {
  #app;
  #node;
  /** Null until one was chosen. */
  queue = null;
  #count = 0;
  #title = element('h2', { id: 'dead-title', tabIndex: -1 });
  #note = element('p', { className: 'note', role: 'status' });
  #list = element('ol', { className: 'dead' });
  #more;
  #next;

  constructor(app, node) {
    this.#app = app;
    this.#node = node;
    this.#more = element('button', { type: 'button', textContent: 'More', hidden: true, onclick: () => this.read(this.#next) });
    node.append(this.#title, this.#note, this.#list, this.#more);
  }

  open(queue, byHand = false) {
    this.queue = queue;
    this.#list.replaceChildren();
    setText(this.#title, `Dead jobs of ${queue}`);
    this.#node.hidden = false;
    if (byHand) this.#title.focus();
    this.read();
  }

  /** Reads again when their number changed. */
  update(state) {
    const count = own(state.jobs, this.queue)?.dead ?? 0;
    if (this.queue !== null && count !== this.#count && !this.#node.closest('.view').hidden) this.read();
    this.#count = count;
  }

  async read(before) {
    const queue = this.queue;
    if (queue === null) return;
    try {
      const { jobs, next } = await get(`jobs/${encodeURIComponent(queue)}`, { state: 'dead', limit: 100, before });
      if (queue !== this.queue) return;
      const items = jobs.map((job) => this.#item(queue, job));
      if (before === undefined) this.#list.replaceChildren(...items);
      else this.#list.append(...items);
      this.#next = next ?? undefined;
      this.#more.hidden = next === null || next === undefined;
      setText(this.#note, this.#list.children.length
        ? 'They failed as often as they may. A retry puts them back in line with all their attempts.' : 'There are none.');
    } catch (error) {
      setText(this.#note, error.message);
    }
  }

  #item(queue, job) {
    const priority = job.priority ? `, priority ${job.priority}` : '';
    const attempts = `failed ${job.attempt} of ${format.plural(job.max_attempts, 'attempt')}${priority}`;
    const retry = element('button', {
      type: 'button', className: 'small', textContent: 'Retry', ariaLabel: `Retry job ${job.job_id}`, hidden: !this.#app.state.operates,
      onclick: async () => await this.#app.actions.confirm({ do: 'retry_job', queue, job_id: job.job_id }) && this.read(),
    });
    return element('li', {},
      element('div', { className: 'bar' }, element('strong', { textContent: `Job ${job.job_id}` }),
        element('span', { className: 'note', textContent: attempts }), retry),
      element('p', { className: 'error-text', textContent: job.error ?? 'No error was given.' }),
      element('pre', {
        textContent: JSON.stringify(job.payload, null, 1), tabIndex: 0, role: 'region', ariaLabel: `Payload of job ${job.job_id}`,
      }));
  }
}
