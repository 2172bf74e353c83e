-- Jobs that repeat. rhythm: "every MS" or "cron EXPRESSION". at_ms: when the next one is due.
CREATE TABLE schedule (
    bot TEXT NOT NULL, queue TEXT NOT NULL, name TEXT NOT NULL, rhythm TEXT NOT NULL, at_ms INTEGER NOT NULL,
    payload TEXT NOT NULL, priority INTEGER NOT NULL, max_attempts INTEGER NOT NULL, dedupe TEXT,
    PRIMARY KEY (bot, queue, name)
);
CREATE INDEX schedule_at ON schedule (bot, queue, at_ms);
