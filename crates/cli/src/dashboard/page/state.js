// What the server knows of the fleet, kept up to date by its patches. Who listens hears of changes once per frame.

/** RFC 7386: `patch` is merged into `target`, which it changes. */
export function merge(target, patch) {
  for (const [key, value] of Object.entries(patch)) {
    if (key === '__proto__') continue;
    if (value === null) delete target[key];
    else if (isObject(value)) target[key] = merge(isObject(target[key]) ? target[key] : {}, value);
    else target[key] = value;
  }
  return target;
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What changed since the last frame, two levels deep: `shards`, and in it `7`. */
class Changes {
  all = false;
  #sections = new Map();

  add(patch) {
    for (const [section, value] of Object.entries(patch)) {
      if (!this.#sections.has(section)) this.#sections.set(section, new Set());
      const keys = this.#sections.get(section);
      if (isObject(value)) Object.keys(value).forEach((key) => keys.add(key));
    }
  }

  /** Whether one of these sections changed. */
  has(...sections) {
    return this.all || sections.some((section) => this.#sections.has(section));
  }

  /** The keys of a section that changed. Says nothing when `all` did. */
  keys(section) {
    return this.#sections.get(section) ?? new Set();
  }
}

export class State {
  /** What the API calls the state; null until the first snapshot. */
  value = null;
  /** `operate` or `view`. */
  role = 'view';
  #listeners = new Set();
  #changes = null;

  /** Calls `listener(changes)` before the next frame after a change. */
  listen(listener) {
    this.#listeners.add(listener);
  }

  replace(value, role) {
    this.value = value;
    this.setRole(role);
    this.#pending().all = true;
  }

  setRole(role) {
    if (role !== this.role) this.#pending().all = true;
    this.role = role;
  }

  patch(patch) {
    merge(this.value, patch);
    this.#pending().add(patch);
  }

  /** Whether this reader may act. */
  get operates() {
    return this.role === 'operate';
  }

  #pending() {
    if (!this.#changes) {
      this.#changes = new Changes();
      requestAnimationFrame(() => {
        const changes = this.#changes;
        this.#changes = null;
        this.#listeners.forEach((listener) => listener(changes));
      });
    }
    return this.#changes;
  }
}
