// What an operator does: first what it will cost, then whether, then how far it is. The tray keeps what anybody began.

import { byId, element, own, setChildren, setText } from './dom.js';
import * as format from './format.js';

/** Typing in a field asks for the cost only after a pause. */
const PAUSE_MS = 250;

/** The words on the button that does it. */
function verb(action) {
  switch (action.do) {
    case 'restart_shard':
      return action.resume ? `Restart shard ${action.shard}` : `Identify shard ${action.shard} anew`;
    case 'restart_worker':
      return `Restart ${action.worker}`;
    case 'pause_worker':
      return `Pause ${action.worker}`;
    case 'unpause_worker':
      return `Let ${action.worker} go on`;
    case 'reshard':
      return action.shards === 'auto' ? 'Reshard as Discord recommends' : `Reshard to ${format.plural(action.shards, 'shard')}`;
    case 'deploy':
      return action.workers ? `Deploy ${format.plural(action.workers, 'worker')}` : 'Deploy';
    case 'publish':
      return `Publish to ${action.topic}`;
    case 'retry_job':
      return `Retry job ${action.job_id}`;
    case 'retry_jobs':
      return `Retry the dead jobs of ${action.queue}`;
    default:
      return action.do;
  }
}

export class Actions {
  #app;
  #dialog = byId('confirm');
  #title = element('h2', { id: 'confirm-title' });
  #field = element('div', { className: 'field' });
  #costs = element('dl', { className: 'costs' });
  #text = element('p', { className: 'cost-text' });
  #error = element('p', { className: 'error', role: 'alert' });
  #progress = element('ol', { className: 'progress' });
  #no = element('button', { type: 'button', onclick: () => this.#dialog.close() });
  #yes = element('button', { type: 'button', className: 'primary', onclick: () => this.#act() });
  /** What the dialog is about; null while it is closed. */
  #action = null;
  /** The key of it in the state's actions once it runs. */
  #running = null;
  #asked = 0;
  #resolve = null;
  #rows = new Map();

  constructor(app) {
    this.#app = app;
    this.#dialog.append(this.#title, this.#field, this.#costs, this.#text, this.#error,
      element('div', { role: 'log', ariaLabel: 'Progress' }, this.#progress),
      element('div', { className: 'buttons' }, this.#no, this.#yes));
    this.#dialog.addEventListener('close', () => {
      this.#action = null;
      this.#asked += 1;
      this.#resolve?.(this.#running !== null);
      this.#resolve = null;
    });
  }

  /** Asks whether to do it. Resolves with whether it was done, once the dialog is closed. */
  confirm(action) {
    return this.#open(verb(action), action, null);
  }

  /** Asks for the new number of shards, and whether. */
  reshard() {
    const auto = element('input', { type: 'checkbox', id: 'reshard-auto' });
    const input = element('input', { type: 'number', id: 'reshard-shards', min: 1, max: 65536, required: true, inputMode: 'numeric' });
    input.value = this.#app.state.value.totals.shards || 1;
    this.#field.replaceChildren(
      element('label', { htmlFor: 'reshard-shards', textContent: 'Shards' }), input,
      element('label', { className: 'check' }, auto, 'As many as Discord recommends'),
    );
    const read = () => {
      input.disabled = auto.checked;
      if (auto.checked) return { do: 'reshard', shards: 'auto' };
      return input.validity.valid ? { do: 'reshard', shards: input.valueAsNumber } : null;
    };
    return this.#open('Reshard', read(), read, input);
  }

  /** Asks for the number of workers, and whether. */
  deploy() {
    const input = element('input', {
      type: 'number', id: 'deploy-workers', min: 1, max: 4096, inputMode: 'numeric', placeholder: 'as now',
    });
    this.#field.replaceChildren(element('label', { htmlFor: 'deploy-workers', textContent: 'Workers' }), input,
      element('p', { className: 'note', textContent: 'Starts every worker again with the program as it is now, one after the other.' }));
    const read = () => {
      if (!input.validity.valid) return null;
      return input.value === '' ? { do: 'deploy' } : { do: 'deploy', workers: input.valueAsNumber };
    };
    return this.#open('Deploy', read(), read, input);
  }

  #open(title, action, read, focus) {
    if (this.#dialog.open) this.#dialog.close();
    this.#running = null;
    if (!read) this.#field.replaceChildren();
    setText(this.#title, title);
    setText(this.#no, 'Cancel');
    this.#progress.replaceChildren();
    this.#yes.hidden = false;
    let pause = null;
    this.#field.oninput = () => {
      clearTimeout(pause);
      this.#yes.disabled = true;
      pause = setTimeout(() => this.#ask(read()), PAUSE_MS);
    };
    this.#dialog.showModal();
    // Not on the button that does it: who pressed Enter twice should not have done it.
    (focus ?? this.#no).focus();
    this.#ask(action);
    return new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** Shows what an action costs; null is one that the reader has not said yet. */
  async #ask(action) {
    this.#action = action;
    this.#asked += 1;
    const asked = this.#asked;
    this.#yes.disabled = true;
    setText(this.#yes, action ? verb(action) : 'Go');
    setText(this.#error, '');
    this.#costs.hidden = true;
    setText(this.#text, action ? 'Asking what it costs …' : '');
    if (!action) return;
    try {
      const { cost } = await this.#app.stream.ask('cost', action);
      if (asked !== this.#asked) return;
      this.#showCost(cost);
      this.#yes.disabled = false;
    } catch (error) {
      if (asked !== this.#asked) return;
      setText(this.#text, '');
      setText(this.#error, error.message);
    }
  }

  #showCost({ identifies, seconds, text }) {
    const { budget } = this.#app.state.value;
    const left = budget ? `of ${format.number(budget.remaining)} left` : '';
    const cost = (label, text) => element('div', {}, element('dt', { textContent: label }), element('dd', { textContent: text }));
    this.#costs.replaceChildren(
      cost('Identifies', `${format.number(identifies)} ${left}`),
      cost('Takes about', format.duration(seconds * 1000)),
    );
    this.#costs.hidden = false;
    setText(this.#text, text);
  }

  async #act() {
    const action = this.#action;
    this.#yes.disabled = true;
    setText(this.#error, '');
    try {
      const reply = await this.#app.stream.ask('act', action);
      if (this.#action !== action) return;
      this.#running = reply.action;
      this.#field.replaceChildren();
      this.#yes.hidden = true;
      setText(this.#no, 'Go on in the background');
      this.#no.focus();
      this.#show();
    } catch (error) {
      if (this.#action !== action) return;
      setText(this.#error, error.message);
      this.#yes.disabled = false;
    }
  }

  #show() {
    if (this.#running === null || !this.#dialog.open) return;
    const action = own(this.#app.state.value.actions, this.#running);
    const lines = action ? [...action.lines] : [];
    if (!action || action.state === 'running') lines.push('…');
    else lines.push(`${action.state === 'done' ? 'Done' : 'Failed'} after ${format.duration(action.ended_at_ms - action.began_at_ms)}`);
    this.#progress.dataset.state = action?.state ?? 'running';
    setLines(this.#progress, lines);
    if (action && action.state !== 'running') setText(this.#no, 'Close');
  }

  /** Shows the progress of what runs, in the dialog and in the tray. */
  update(state, changes) {
    if (!changes.has('actions')) return;
    this.#show();
    const entries = Object.entries(state.actions).sort((left, right) => right[1].began_at_ms - left[1].began_at_ms);
    const running = entries.filter(([, action]) => action.state === 'running').length;
    byId('tray-count').hidden = running === 0;
    setText(byId('tray-count'), `${format.number(running)} running`);
    byId('tray-empty').hidden = entries.length > 0;
    const keys = new Set(entries.map(([key]) => key));
    for (const key of this.#rows.keys()) if (!keys.has(key)) this.#rows.delete(key);
    setChildren(byId('tray-list'), entries.map(([key, action]) => this.#row(key, action)));
  }

  #row(key, action) {
    if (!this.#rows.has(key)) {
      const title = element('strong', { textContent: action.title });
      const pill = element('span', { className: 'pill' });
      const began = action.began_at_ms;
      const at = element('time', { className: 'note', textContent: format.clock(began), dateTime: new Date(began).toISOString() });
      const lines = element('ol', { className: 'progress' });
      this.#rows.set(key, { pill, lines, item: element('li', {}, element('div', { className: 'bar' }, title, pill, at), lines) });
    }
    const { pill, lines, item } = this.#rows.get(key);
    pill.dataset.action = action.state;
    setText(pill, action.state);
    setLines(lines, action.lines.slice(-4));
    return item;
  }
}

/** One item for each line, of which those that stand there stay. */
function setLines(list, lines) {
  setChildren(list, lines.map((line, index) => {
    const item = list.children[index] ?? element('li');
    setText(item, line);
    return item;
  }));
}
