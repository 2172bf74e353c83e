-- A version is the time in microseconds, or one more than the last of its key.
CREATE TABLE cache (
    bot TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, version INTEGER NOT NULL, until_ms INTEGER,
    PRIMARY KEY (bot, key)
);
CREATE INDEX cache_until ON cache (until_ms) WHERE until_ms IS NOT NULL;
