// How the whole bot went: from the store where there is one, else from what the dashboard remembers.

import { byId, setText } from './dom.js';
import { get } from './api.js';
import { choice } from './choice.js';
import { Chart } from './charts.js';
import * as format from './format.js';

const RANGES = [['30', '30 min'], ['180', '3 h'], ['1440', '24 h'], ['10080', '7 days']];
const REFRESH_MS = 10_000;

export class History {
  node = byId('view-history');
  title = 'History';
  #minutes = '30';
  #timer = null;
  #charts;

  constructor() {
    choice(byId('ranges'), RANGES, this.#minutes, (minutes) => {
      this.#minutes = minutes;
      this.#read();
    });
    const chart = (options) => {
      const made = new Chart(options);
      byId('charts').append(made.node);
      return made;
    };
    this.#charts = {
      rate: chart({
        title: 'Events per second', say: format.rate, series: [{ label: 'events/s', colour: '--accent', fill: '--accent-soft' }],
      }),
      latency: chart({ title: 'Latency', say: format.milliseconds, whole: true, series: [{ label: 'latency', colour: '--accent' }] }),
      ready: chart({
        title: 'Shards', say: format.number, whole: true,
        series: [{ label: 'ready', colour: '--ready-line' }, { label: 'all', colour: '--muted', stepped: true }],
      }),
      guilds: chart({
        title: 'Guilds', say: format.short, whole: true, fromZero: false, series: [{ label: 'guilds', colour: '--accent' }],
      }),
      reconnects: chart({
        title: 'Reconnects', say: format.short, whole: true,
        series: [{ label: 'reconnects', colour: '--trouble', fill: '--trouble', bars: true }],
      }),
    };
  }

  show() {
    this.#read();
    this.#timer = setInterval(() => document.hidden || this.#read(), REFRESH_MS);
  }

  hide() {
    clearInterval(this.#timer);
  }

  update() {}

  async #read() {
    const minutes = this.#minutes;
    try {
      const history = await get('history', { minutes });
      if (minutes !== this.#minutes) return;
      const { rate, latency, ready, guilds, reconnects } = this.#charts;
      rate.draw(history.at_ms, history.events_per_second);
      latency.draw(history.at_ms, history.latency_ms);
      ready.draw(history.at_ms, history.ready, history.shards);
      guilds.draw(history.at_ms, history.guilds);
      reconnects.draw(history.at_ms, history.reconnects);
      const from = history.at_ms.length ? `since ${format.when(history.at_ms[0])}` : 'nothing yet';
      setText(byId('history-note'), history.source === 'store' ? `From the store, ${from}`
        : `From this dashboard's memory, ${from}; with a store it would outlive it`);
    } catch (error) {
      setText(byId('history-note'), error.message);
    }
  }
}
