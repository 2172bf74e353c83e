-- at_ms is the latest moment at which it may have gone out.
CREATE TABLE identify (
    bot TEXT NOT NULL, at_ms INTEGER NOT NULL, shard_id INTEGER NOT NULL, claim TEXT NOT NULL,
    answered INTEGER NOT NULL
);
CREATE INDEX identify_of_bot ON identify (bot, at_ms);
