// A channel of the simulated Discord: what was said there, and a line to write as a user.

import { element, setChildren, setText } from './dom.js';
import { get, post } from './api.js';
import * as format from './format.js';

const POLL_MS = 700;
const KEPT = 100;
const HUES = 360;

export class Chat {
  #app;
  #guilds = [];
  #onGuild;
  #channel = null;
  #timer = null;
  #items = new Map();
  #guild = element('select', { id: 'chat-guild' });
  #where = element('select', { id: 'chat-channel' });
  #list = element('ol');
  #log = element('div', { className: 'said', role: 'log', ariaLabel: 'Messages of the channel', tabIndex: 0 }, this.#list);
  #empty = element('p', { className: 'empty', textContent: 'Nothing was said here yet. Say !ping and see whether the bot answers.' });
  #input = element('input', { id: 'chat-input', autocomplete: 'off', required: true, maxLength: 2000 });
  /** What went wrong with what was sent, and with reading. */
  #error = element('p', { className: 'error', role: 'alert' });
  #away = element('p', { className: 'error', role: 'status' });

  /** `onGuild(guild)` is called with the one the reader goes to. */
  constructor(app, onGuild) {
    this.#app = app;
    this.#onGuild = onGuild;
    const suggestion = (text) => element('button', {
      type: 'button', className: 'small', textContent: text, onclick: () => this.#send(text),
    });
    this.node = element('section', { className: 'panel chat', 'aria-labelledby': 'chat-title' },
      element('div', { className: 'bar' }, element('h2', { id: 'chat-title', textContent: 'Talk to the bot' })),
      element('div', { className: 'where' },
        element('label', { htmlFor: 'chat-guild', textContent: 'Guild' }), this.#guild,
        element('label', { htmlFor: 'chat-channel', textContent: 'Channel' }), this.#where),
      this.#log, this.#empty,
      element('form', { className: 'compose operate', onsubmit: (event) => this.#onSubmit(event) },
        element('label', { htmlFor: 'chat-input', className: 'hidden', textContent: 'Message' }), this.#input,
        element('button', { type: 'submit', className: 'primary', textContent: 'Send' })),
      this.#error, this.#away,
      element('div', { className: 'bar operate' }, element('span', { className: 'note', textContent: 'Try' }),
        suggestion('!ping'), suggestion('Hello, bot')));
    this.#guild.addEventListener('change', () => this.#enter(this.#guild.value));
    this.#where.addEventListener('change', () => this.#join(this.#where.value));
  }

  async show() {
    this.hide();
    this.#timer = setInterval(() => document.hidden || this.#read(), POLL_MS);
    if (this.#guilds.length) return;
    try {
      const { guilds } = await get('playground');
      this.#guilds = guilds;
      this.#guild.replaceChildren(...guilds.map(({ id, name, shard }) => option(id, `${name} (shard ${shard})`)));
      if (guilds.length) this.#enter(guilds[0].id);
    } catch (error) {
      setText(this.#error, error.message);
    }
  }

  hide() {
    clearInterval(this.#timer);
  }

  #enter(id) {
    const guild = this.#guilds.find((candidate) => candidate.id === id);
    this.#where.replaceChildren(...guild.channels.map(({ id: channel, name }) => option(channel, `#${name}`)));
    this.#onGuild(guild);
    this.#join(guild.channels[0]?.id ?? null);
  }

  #join(channel) {
    this.#channel = channel;
    this.#items.clear();
    this.#list.replaceChildren();
    this.#input.placeholder = `Message #${this.#where.selectedOptions[0]?.textContent.slice(1) ?? ''}`;
    this.#read();
  }

  async #read() {
    const channel = this.#channel;
    if (channel === null) return;
    try {
      const { messages } = await get('playground/messages', { channel });
      if (channel !== this.#channel) return;
      this.#show(messages.slice(-KEPT));
      setText(this.#away, '');
    } catch (error) {
      setText(this.#away, error.message);
    }
  }

  #show(messages) {
    const atEnd = this.#log.scrollTop + this.#log.clientHeight >= this.#log.scrollHeight - 8;
    const ids = new Set(messages.map(({ id }) => id));
    for (const id of this.#items.keys()) if (!ids.has(id)) this.#items.delete(id);
    setChildren(this.#list, messages.map((message) => {
      if (!this.#items.has(message.id)) this.#items.set(message.id, item(message));
      return this.#items.get(message.id);
    }));
    if (atEnd) this.#log.scrollTop = this.#log.scrollHeight;
    this.#empty.hidden = messages.length > 0;
  }

  #onSubmit(event) {
    event.preventDefault();
    const content = this.#input.value;
    // Not just emptied, which would show it as wrong.
    event.target.reset();
    this.#send(content);
  }

  async #send(content) {
    setText(this.#error, '');
    try {
      await post('playground/message', { channel: this.#channel, content });
      await this.#read();
    } catch (error) {
      this.#input.value ||= content;
      setText(this.#error, error.message);
    }
  }
}

function option(value, textContent) {
  return element('option', { value, textContent });
}

function item({ author, content, timestamp, embeds }) {
  const name = author?.global_name ?? author?.username ?? 'somebody';
  const face = element('span', { className: 'face', ariaHidden: 'true', textContent: name.slice(0, 1).toUpperCase() });
  face.style.setProperty('--hue', hue(name));
  const at = new Date(timestamp);
  return element('li', { className: author?.bot ? 'bot' : '' }, face,
    element('div', { className: 'bar' }, element('strong', { textContent: name }),
      author?.bot ? element('span', { className: 'tag', textContent: 'Bot' }) : null,
      element('time', { className: 'note', dateTime: at.toISOString(), title: format.when(at), textContent: format.clock(at) })),
    element('p', { textContent: content || (embeds?.length ? '(an embed)' : '(nothing to read)') }));
}

/** The same colour for the same name. */
function hue(name) {
  let sum = 7;
  for (const char of name) sum = (sum * 31 + char.codePointAt(0)) % HUES;
  return sum;
}
