-- A worker is gone. KEYS: records by worker, when each ends. ARGV: the worker.
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
