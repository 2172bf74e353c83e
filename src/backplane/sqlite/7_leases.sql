-- Who runs a shard, until when. A token is the time in microseconds, or one more than the last of all. What is
-- nobody's has an empty worker.
CREATE TABLE lease (
    bot TEXT NOT NULL, shard_total INTEGER NOT NULL, shard_id INTEGER NOT NULL,
    worker TEXT NOT NULL, token INTEGER NOT NULL, until_ms INTEGER NOT NULL,
    PRIMARY KEY (bot, shard_total, shard_id)
) WITHOUT ROWID;
-- Who holds leases, and where that is. shares: whether it takes its fair share of all shards.
CREATE TABLE lease_worker (
    bot TEXT NOT NULL, worker TEXT NOT NULL, shard_total INTEGER NOT NULL, shares INTEGER NOT NULL,
    whereabouts TEXT NOT NULL, until_ms INTEGER NOT NULL,
    PRIMARY KEY (bot, worker)
) WITHOUT ROWID;
