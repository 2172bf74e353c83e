CREATE TABLE worker (
    bot TEXT NOT NULL, worker TEXT NOT NULL, alive_at_ms INTEGER NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (bot, worker)
) WITHOUT ROWID;
