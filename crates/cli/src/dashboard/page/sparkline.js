// A small line without axes: how a figure went lately.

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 120;
const HEIGHT = 28;

export class Sparkline {
  #line = document.createElementNS(SVG, 'path');
  #area = document.createElementNS(SVG, 'path');

  constructor(label) {
    this.node = document.createElementNS(SVG, 'svg');
    this.node.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.node.setAttribute('preserveAspectRatio', 'none');
    this.node.setAttribute('class', 'sparkline');
    this.node.setAttribute('role', 'img');
    this.node.setAttribute('aria-label', label);
    this.#area.setAttribute('class', 'area');
    this.#line.setAttribute('class', 'line');
    this.node.append(this.#area, this.#line);
  }

  /**
   * Draws numbers, oldest first; null leaves a gap. The lowest line is 0. They are equally far apart, unless `times`
   * says when each was.
   */
  draw(values, times = values.map((_, index) => index)) {
    const most = Math.max(1e-9, ...values.filter((value) => value !== null)) * 1.05;
    const span = Math.max(1, times.at(-1) - times[0]);
    const x = (index) => (((times[index] - times[0]) / span) * WIDTH).toFixed(1);
    const y = (value) => (HEIGHT - 1 - (value / most) * (HEIGHT - 2)).toFixed(1);
    let path = '';
    let pen = 'M';
    values.forEach((value, index) => {
      if (value === null) {
        pen = 'M';
        return;
      }
      path += `${pen}${x(index)},${y(value)}`;
      pen = 'L';
    });
    this.#line.setAttribute('d', path);
    const whole = path && !values.includes(null);
    this.#area.setAttribute('d', whole ? `${path}L${WIDTH},${HEIGHT}L0,${HEIGHT}Z` : '');
  }
}
