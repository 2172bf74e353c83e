-- state: 0 waiting, 1 running, 2 dead. at_ms: when a waiting one is due, when the lease of a running one ends.
CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT, bot TEXT NOT NULL, queue TEXT NOT NULL, payload TEXT NOT NULL,
    priority INTEGER NOT NULL, attempt INTEGER NOT NULL, max_attempts INTEGER NOT NULL, dedupe TEXT,
    state INTEGER NOT NULL, at_ms INTEGER NOT NULL, worker TEXT, error TEXT
);
CREATE INDEX job_next ON job (bot, queue, state, priority DESC, id);
CREATE INDEX job_at ON job (bot, queue, state, at_ms);
CREATE UNIQUE INDEX job_dedupe ON job (bot, queue, dedupe) WHERE dedupe IS NOT NULL AND state < 2;
