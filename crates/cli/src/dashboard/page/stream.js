// The WebSocket: a snapshot, then patches; commands and their replies. When it is lost it comes back by itself, and
// goes on where it was when the server still can.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
/** After so long without a word the server is asked whether it is there. */
const QUIET_MS = 15_000;
const ANSWER_MS = 10_000;

export class Stream {
  /** `connecting`, `live`, `lost`, or `refused` when the reader has to sign in again. */
  status = 'connecting';
  /** When it was lost; null while it is live. */
  lostAt = null;
  #state;
  #onStatus;
  #socket = null;
  #id = 0;
  #replies = new Map();
  #at = null;
  #attempts = 0;
  #timer = null;
  #heardAt = 0;

  /** `onStatus()` is called when the status changes. */
  constructor(state, onStatus) {
    this.#state = state;
    this.#onStatus = onStatus;
    addEventListener('online', () => this.#hurry());
    document.addEventListener('visibilitychange', () => document.hidden || this.#hurry());
    setInterval(() => this.#listenForLife(), 5000);
  }

  connect() {
    clearTimeout(this.#timer);
    const url = new URL('/api/v1/stream', location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    if (this.#at) {
      url.searchParams.set('stream', this.#at.stream);
      url.searchParams.set('seq', this.#at.seq);
    }
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.onmessage = (event) => this.#socket === socket && this.#receive(JSON.parse(event.data));
    socket.onclose = () => this.#socket === socket && this.#lose();
  }

  /** Sends a command; resolves with the server's reply, rejects with its error. */
  ask(type, action) {
    if (this.status !== 'live') return Promise.reject(new Error('The dashboard is not connected; try again in a moment.'));
    this.#id += 1;
    const id = this.#id;
    this.#socket.send(JSON.stringify({ id, type, action }));
    return new Promise((resolve, reject) => this.#replies.set(id, { resolve, reject }));
  }

  #receive(message) {
    this.#heardAt = Date.now();
    switch (message.type) {
      case 'snapshot':
        this.#at = { stream: message.stream, seq: message.seq };
        this.#state.replace(message.state, message.role);
        this.#live();
        break;
      case 'resumed':
        this.#state.setRole(message.role);
        this.#live();
        break;
      case 'patch':
        if (message.seq !== this.#at.seq + 1) return this.#restart();
        this.#at.seq = message.seq;
        this.#state.patch(message.patch);
        break;
      case 'reply': {
        const reply = this.#replies.get(message.id);
        this.#replies.delete(message.id);
        if (message.error) reply?.reject(new Error(message.error));
        else reply?.resolve(message);
        break;
      }
    }
  }

  #live() {
    this.#attempts = 0;
    this.lostAt = null;
    this.#become('live');
  }

  /** Patches are missing: only a snapshot helps. */
  #restart() {
    this.#at = null;
    this.#socket.close();
  }

  #lose() {
    this.#socket = null;
    this.lostAt ??= Date.now();
    const error = new Error('The connection was lost before the answer came. Look at Actions whether it began.');
    this.#replies.forEach(({ reject }) => reject(error));
    this.#replies.clear();
    this.#attempts += 1;
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (this.#attempts - 1));
    this.#timer = setTimeout(() => this.connect(), longest * (0.5 + Math.random() / 2));
    this.#become('lost');
    if (this.#attempts > 1) this.#askWhy();
  }

  /** A WebSocket does not say why it was refused; a request does. */
  async #askWhy() {
    const response = await fetch('/api/v1/incidents?limit=1').catch(() => null);
    if (response?.status !== 401 || this.status === 'live') return;
    clearTimeout(this.#timer);
    this.#become('refused');
  }

  #hurry() {
    if (this.status === 'lost' && !this.#socket) this.connect();
  }

  #listenForLife() {
    const quiet = Date.now() - this.#heardAt;
    if (this.status !== 'live' || quiet < QUIET_MS) return;
    if (quiet > QUIET_MS + ANSWER_MS) {
      const socket = this.#socket;
      this.#lose();
      socket.close();
    } else {
      // Any answer will do, also that there is no such command.
      this.ask('ping').catch(() => {});
    }
  }

  #become(status) {
    this.status = status;
    this.#onStatus();
  }
}
