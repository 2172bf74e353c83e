// The workers, by machine: what each runs and what it takes. A table that becomes cards on a phone.

import { element, own, setAttribute, setChildren, setText } from './dom.js';
import * as format from './format.js';

const COLUMNS = [
  { key: 'worker', label: 'Worker' },
  { key: 'doing', label: 'Doing' },
  { key: 'shards', label: 'Shards' },
  { key: 'ready', label: 'Ready', figure: true },
  { key: 'guilds', label: 'Guilds', figure: true },
  { key: 'rate', label: 'Events/s', figure: true },
  { key: 'latency', label: 'Latency', figure: true },
  { key: 'queue', label: 'Queue', figure: true },
  { key: 'memory', label: 'Memory', figure: true },
  { key: 'cpu', label: 'CPU', figure: true },
  { key: 'up', label: 'Up', figure: true },
  { key: 'version', label: 'Version' },
  { key: 'buttons', label: 'Actions' },
];

export class Workers {
  #app;
  #table;
  #machines = new Map();
  #rows = new Map();

  constructor(app) {
    this.#app = app;
    const heads = COLUMNS.map(({ key, label, figure }) => element('th', {
      scope: 'col', role: 'columnheader', className: [key, figure && 'figure'].filter(Boolean).join(' '), textContent: label,
    }));
    // The roles are said again, because a table that is drawn as cards loses them.
    this.#table = element('table', { className: 'cards', role: 'table', ariaLabel: 'Workers' },
      element('thead', { role: 'rowgroup' }, element('tr', { role: 'row' }, ...heads)));
    this.node = this.#table;
    setInterval(() => this.#times(), 10_000);
  }

  #state = null;

  update(state, changes) {
    this.#state = state;
    if (!changes.has('workers', 'cluster')) return;
    const rows = workersOf(state);
    const hosts = new Map();
    for (const row of rows) {
      if (!hosts.has(row.host)) hosts.set(row.host, []);
      hosts.get(row.host).push(row);
    }
    const bodies = [...hosts].map(([host, members]) => this.#machine(host, members, hosts.size > 1));
    setChildren(this.#table, [this.#table.tHead, ...bodies]);
    const keys = new Set(rows.map((row) => row.key));
    for (const key of this.#rows.keys()) if (!keys.has(key)) this.#rows.delete(key);
    for (const host of this.#machines.keys()) if (!hosts.has(host)) this.#machines.delete(host);
    this.node.hidden = rows.length === 0;
  }

  /** The rows of one machine, under a line about it when there are several. */
  #machine(host, members, several) {
    if (!this.#machines.has(host)) {
      const text = element('th', { colSpan: COLUMNS.length, scope: 'rowgroup', role: 'rowheader' });
      const row = element('tr', { className: 'machine', role: 'row' }, text);
      this.#machines.set(host, { text, row, body: element('tbody', { role: 'rowgroup' }, row) });
    }
    const { text, row, body } = this.#machines.get(host);
    const sum = (key) => members.reduce((total, { worker }) => total + (worker?.[key] ?? 0), 0);
    const takes = [format.plural(members.length, 'worker'), `${format.rate(sum('events_per_second'))} events/s`];
    if (sum('memory_bytes') > 0) takes.push(format.bytes(sum('memory_bytes')), `${format.percent(sum('cpu_percent'))} CPU`);
    setText(text, `${host || 'Not running'}: ${takes.join(', ')}`);
    row.hidden = !several;
    setChildren(body, [row, ...members.map((member) => this.#row(member))]);
    return body;
  }

  #row({ key, name, worker, member }) {
    if (!this.#rows.has(key)) this.#rows.set(key, this.#newRow(name));
    const row = this.#rows.get(key);
    const set = (column, text) => setText(row.cells[column], text);
    setText(row.name, name);
    setText(row.place, worker ? `process ${worker.pid}` : '');
    row.pill.dataset.doing = member?.what ?? worker?.stage ?? '';
    setText(row.pill, member?.what ?? worker?.stage ?? format.NOTHING);
    // That all is well stands beside it already.
    const well = member?.what === 'running' && worker && worker.ready === worker.of;
    setText(row.text, well ? '' : member?.text ?? '');
    setText(row.restarts, member?.restarts ? format.plural(member.restarts, 'restart') : '');
    set('shards', worker?.shards || member?.range || format.NOTHING);
    setAttribute(row.cells.shards, 'title', worker?.shards || null);
    set('ready', worker ? `${format.number(worker.ready)} of ${format.number(worker.of)}` : format.NOTHING);
    row.cells.ready.classList.toggle('bad', Boolean(worker && worker.ready < worker.of));
    set('guilds', format.short(worker?.guilds));
    set('rate', format.rate(worker?.events_per_second));
    set('latency', format.milliseconds(worker?.latency_ms));
    set('queue', format.short(worker?.queue_events));
    set('memory', format.bytes(worker?.memory_bytes ?? NaN));
    set('cpu', format.percent(worker?.cpu_percent ?? NaN));
    row.startedAt = worker?.started_at_ms ?? null;
    set('up', row.startedAt ? format.duration(Date.now() - row.startedAt) : format.NOTHING);
    set('version', worker?.version ?? format.NOTHING);
    const paused = member?.what === 'paused';
    row.buttons.restart.hidden = row.buttons.pause.hidden = !member || paused || !this.#app.state.operates;
    row.buttons.unpause.hidden = !paused || !this.#app.state.operates;
    row.buttons.log.hidden = !member?.log;
    setAttribute(row.node, 'data-paused', paused ? '' : null);
    return row.node;
  }

  #newRow(name) {
    const button = (label, onclick) => element('button', {
      type: 'button', className: 'small', textContent: label, ariaLabel: `${label} ${name}`, hidden: true, onclick,
    });
    const act = (what) => () => this.#app.actions.confirm({ do: what, worker: name });
    const buttons = {
      restart: button('Restart', act('restart_worker')),
      pause: button('Pause', act('pause_worker')),
      unpause: button('Go on', act('unpause_worker')),
      log: button('Log', () => this.#app.log.open(name)),
    };
    const span = (className) => element('span', { className });
    const parts = { name: element('strong'), place: span('note'), pill: span('pill'), text: span('note'), restarts: span('note') };
    const content = {
      worker: [parts.name, ' ', parts.place],
      doing: [parts.pill, ' ', parts.text, ' ', parts.restarts],
      buttons: Object.values(buttons),
    };
    const cells = {};
    for (const { key, label, figure } of COLUMNS) {
      const properties = { className: [key, figure && 'figure'].filter(Boolean).join(' ') };
      cells[key] = key === 'worker'
        ? element('th', { ...properties, scope: 'row', role: 'rowheader' }, ...content[key])
        : element('td', { ...properties, role: 'cell', 'data-label': label }, ...(content[key] ?? []));
    }
    return { ...parts, buttons, cells, node: element('tr', { role: 'row' }, ...Object.values(cells)) };
  }

  #times() {
    const now = Date.now();
    for (const { startedAt, cells } of this.#rows.values()) {
      if (startedAt) setText(cells.up, format.duration(now - startedAt));
    }
  }
}

/** The name people know a worker by. */
export function workerName(state, id) {
  return own(state.workers, id)?.name ?? id?.slice(0, 8) ?? 'nobody';
}

/** Processes, and those of the cluster that have none right now; in the order of their machines and names. */
function workersOf(state) {
  const members = state.cluster?.workers ?? {};
  const rows = Object.entries(state.workers).map(([id, worker]) => {
    const name = workerName(state, id);
    return { key: id, name, host: worker.host, worker, member: own(members, name) };
  });
  const running = new Set(rows.map((row) => row.name));
  const host = new Set(rows.map((row) => row.host)).size === 1 ? rows[0].host : '';
  for (const [name, member] of Object.entries(members)) {
    if (!running.has(name)) rows.push({ key: `cluster ${name}`, name, host, worker: null, member });
  }
  return rows.sort((left, right) => format.inOrder(left.host, right.host) || format.inOrder(left.name, right.name)
    || format.inOrder(left.key, right.key));
}
