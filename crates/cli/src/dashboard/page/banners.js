// What the reader has to know before believing the page: that it is cut off, or that what it is told is not all.

import { element, setText } from './dom.js';
import * as format from './format.js';

const SAID_MS = 8000;

export class Banners {
  #node;
  #shown = new Map();

  constructor(node) {
    this.#node = node;
  }

  /** How the stream is. Called again every second while it is lost. */
  stream({ status, lostAt }) {
    if (status === 'refused') {
      this.#set('stream', 'This browser is no longer signed in.', element('a', { href: '/', textContent: 'Sign in again' }));
    } else if (status === 'lost') {
      this.#set('stream', 'The connection to the dashboard is lost. What you see is how it was then; it tries again.');
      setText(this.#shown.get('stream').since, ` (${format.duration(Math.floor((Date.now() - lostAt) / 1000) * 1000)})`);
    } else {
      this.#set('stream', null);
    }
  }

  /** What the dashboard itself cannot reach. */
  sources({ backplane, store, cluster }) {
    const trouble = (text) => text && text !== 'missing';
    this.#set('backplane', trouble(backplane) ? `The backplane is away, so nothing new is heard of the workers: ${backplane}` : null);
    this.#set('store', trouble(store) ? `The store is away, so the history has a gap: ${store}` : null);
    this.#set('cluster', trouble(cluster) ? `The cluster does not answer, so its workers cannot be driven: ${cluster}` : null);
  }

  /** Says something for a few seconds. */
  say(text) {
    this.#set('said', text);
    setTimeout(() => this.#set('said', null), SAID_MS);
  }

  #set(key, text, ...more) {
    const shown = this.#shown.get(key);
    if (text === null) {
      shown?.node.remove();
      this.#shown.delete(key);
    } else if (shown) {
      setText(shown.text, text);
    } else {
      // Read out once, not again with every second.
      const said = element('span', { role: 'status' });
      const since = element('span', { ariaHidden: 'true' });
      const node = element('div', { className: 'banner' }, said, since, ...more);
      node.dataset.about = key;
      this.#node.append(node);
      setText(said, text);
      this.#shown.set(key, { node, text: said, since });
    }
  }
}
