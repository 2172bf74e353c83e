// A chart over time, drawn by uPlot in the colours of the page.

import { element, setText } from './dom.js';
import * as format from './format.js';

const HEIGHT = 170;
const AXIS_SIZE = 56;
/** 1, 2, 5, 10 and so on: what lines of whole numbers may be apart. */
const STEPS = Array.from({ length: 10 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat();
/** Charts with the same key move their cursors together. */
const SYNC = 'history';

/** The colour that a custom property of the page has now. */
function colour(name) {
  const probe = element('span', { hidden: true });
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

export class Chart {
  #plot = null;
  #data = [[], []];
  #title;
  #series;
  #say;
  #fromZero;
  #whole;
  #canvas = element('div', { className: 'plot', role: 'img' });
  #latest = format.NOTHING;
  #now = element('span', { className: 'now' });

  /**
   * `series` are `{label, colour, fill, stepped, bars}`, `colour` a custom property; `say` writes a value; `fromZero` is
   * false where only changes are of interest; `whole` is true for what comes in ones.
   */
  constructor({ title, series, say, fromZero = true, whole = false }) {
    this.#title = title;
    this.#canvas.ariaLabel = `${title}: nothing known yet`;
    this.#fromZero = fromZero;
    this.#whole = whole;
    this.#series = series;
    this.#say = say;
    this.#data = [[], ...series.map(() => [])];
    const key = series.length < 2 ? null : element('span', { className: 'key' }, ...series.map(({ label, colour: name }) => {
      const swatch = element('i', { ariaHidden: 'true' });
      swatch.style.background = `var(${name})`;
      return element('span', {}, swatch, label);
    }));
    const caption = element('figcaption', {}, element('strong', { textContent: title }), key, this.#now);
    this.node = element('figure', { className: 'panel chart' }, caption, this.#canvas);
    new ResizeObserver(() => this.#resize()).observe(this.#canvas);
    document.addEventListener('themechange', () => this.#rebuild());
  }

  /** Draws `columns` (times in ms, then the values of each series; null is a gap). */
  draw(times, ...columns) {
    this.#data = [times.map((at) => at / 1000), ...columns];
    const known = columns[0].filter((value) => value !== null && value !== undefined);
    const last = known.at(-1);
    const least = known.reduce((one, other) => Math.min(one, other), Infinity);
    const most = known.reduce((one, other) => Math.max(one, other), -Infinity);
    const text = known.length ? `now ${this.#say(last)}, between ${this.#say(least)} and ${this.#say(most)}` : 'nothing known yet';
    this.#canvas.ariaLabel = `${this.#title}: ${text}`;
    this.#latest = known.length ? this.#say(last) : format.NOTHING;
    setText(this.#now, this.#latest);
    if (this.#plot) this.#plot.setData(this.#data);
    else this.#rebuild();
  }

  #resize() {
    const width = this.#canvas.clientWidth;
    if (width === 0) return;
    if (this.#plot) this.#plot.setSize({ width, height: HEIGHT });
    else this.#rebuild();
  }

  #rebuild() {
    const width = this.#canvas.clientWidth;
    if (width === 0) return;
    this.#plot?.destroy();
    const [line, muted] = [colour('--line'), colour('--muted')];
    const axis = {
      stroke: muted, font: `11px ${getComputedStyle(document.body).fontFamily}`,
      grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 },
    };
    const over = (unit) => new Intl.DateTimeFormat(undefined, unit);
    const [seconds, minutes, days] = [
      over({ hour: '2-digit', minute: '2-digit', second: '2-digit' }),
      over({ hour: '2-digit', minute: '2-digit' }),
      over({ month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' }),
    ];
    // No axis says "< 1 ms" where it means nothing at all.
    const mark = (value) => this.#say(value).replace('< 1', '0');
    const times = (plot, splits) => {
      const step = splits.length > 1 ? splits[1] - splits[0] : 60;
      const span = plot.scales.x.max - plot.scales.x.min;
      const style = step < 60 ? seconds : span > 86_400 ? days : minutes;
      return splits.map((at) => style.format(at * 1000));
    };
    const shape = ({ label, colour: name, fill, stepped, bars }) => ({
      label, stroke: colour(name), width: 1.5, fill: fill ? colour(fill) : undefined, points: { show: false },
      paths: stepped ? uPlot.paths.stepped({ align: 1 }) : bars ? uPlot.paths.bars({ size: [0.7, 12, 2] }) : undefined,
    });
    this.#plot = new uPlot({
      width,
      height: HEIGHT,
      legend: { show: false },
      // The last time below the axis would not fit without.
      padding: [8, 28, 0, 0],
      cursor: { sync: { key: SYNC }, drag: { x: true, y: false }, y: false },
      scales: { y: { range: (_plot, least, most) => this.#range(least ?? 0, most ?? 0) } },
      hooks: { setCursor: [(plot) => this.#point(plot.cursor.idx)] },
      axes: [
        { ...axis, values: times, size: 28, space: 90 },
        { ...axis, values: (_plot, splits) => splits.map(mark), size: AXIS_SIZE, incrs: this.#whole ? STEPS : undefined },
      ],
      series: [{}, ...this.#series.map(shape)],
    }, this.#data, this.#canvas);
  }

  #range(least, most) {
    const room = Math.max(1, (this.#fromZero ? most : most - least) * 0.1);
    return [this.#fromZero ? 0 : Math.max(0, least - room), most + room];
  }

  /** Says what was where the cursor is; without one, what is now. */
  #point(index) {
    if (index === null || index === undefined) return setText(this.#now, this.#latest);
    const [at, ...values] = this.#data.map((column) => column[index]);
    const said = values.map((value) => (value === null || value === undefined ? format.NOTHING : this.#say(value)));
    setText(this.#now, `${format.clock(at * 1000)}   ${said.join(' / ')}`);
  }
}
