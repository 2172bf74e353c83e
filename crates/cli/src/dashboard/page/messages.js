// What workers say to each other over the backplane, and a form to say something to them.

import { byId, element, own, setChildren, setText } from './dom.js';
import { choice } from './choice.js';
import * as format from './format.js';
import { workerName } from './worker.js';

const KINDS = [['all', 'All'], ['message', 'Messages'], ['call', 'Calls'], ['cache', 'Cache']];

export class Messages {
  node = byId('view-messages');
  title = 'Messages';
  #app;
  #kind = 'all';
  #items = new Map();

  constructor(app) {
    this.#app = app;
    choice(byId('message-kinds'), KINDS, this.#kind, (kind) => {
      this.#kind = kind;
      this.#show(app.state.value);
    });
    byId('publish').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#publish();
    });
    byId('publish-data').addEventListener('input', () => setText(byId('publish-error'), ''));
  }

  show() {
    if (this.#app.state.value) this.update(this.#app.state.value, { has: () => true });
  }

  hide() {}

  update(state, changes) {
    if (changes.has('messages')) this.#show(state);
    if (changes.has('messages', 'workers')) this.#topics(state);
  }

  #show(state) {
    if (!state) return;
    const shown = Object.entries(state.messages).filter(([, { kind }]) => this.#kind === 'all' || kind === this.#kind);
    shown.sort(([left], [right]) => Number(right) - Number(left));
    for (const key of this.#items.keys()) if (own(state.messages, key) === undefined) this.#items.delete(key);
    setChildren(byId('seen'), shown.map(([key, message]) => {
      if (!this.#items.has(key)) this.#items.set(key, item(message, state));
      return this.#items.get(key);
    }));
    byId('no-messages').hidden = shown.length > 0;
  }

  /** Topics that somebody listens to or that were seen. */
  #topics(state) {
    const topics = new Set(Object.values(state.workers).flatMap(({ topics: listened }) => listened ?? []));
    Object.values(state.messages).forEach(({ kind, topic }) => kind === 'message' && topics.add(topic));
    const text = [...topics].sort(format.inOrder);
    setChildren(byId('topics'), text.map((topic, index) => {
      const option = byId('topics').children[index] ?? element('option');
      if (option.value !== topic) option.value = topic;
      return option;
    }));
  }

  #publish() {
    let data;
    try {
      data = JSON.parse(byId('publish-data').value);
    } catch (error) {
      setText(byId('publish-error'), `The data is not JSON: ${error.message}. A text stands in quotes: "hello".`);
      byId('publish-data').focus();
      return;
    }
    this.#app.actions.confirm({ do: 'publish', topic: byId('publish-topic').value, data });
  }
}

function item({ at_ms: at, kind, topic, from, text }, state) {
  return element('li', {},
    element('time', { dateTime: new Date(at).toISOString(), title: format.when(at), textContent: format.clock(at) }),
    element('span', { className: 'pill', textContent: kind }),
    element('strong', { textContent: topic ?? '' }),
    element('span', { className: 'note', textContent: from ? `from ${own(state.workers, from) ? workerName(state, from) : from}` : '' }),
    element('code', { textContent: text ?? '' }));
}
