//! Every bound: what can grow has one here, with its unit in its name.

use std::time::Duration;

/// The most shards one client runs.
pub const MAX_SHARDS: u32 = 16_384;

/// The largest shard total a bot can have.
pub const MAX_SHARD_TOTAL: u32 = 1_000_000;

/// Commands whose reply the host has not polled; one more is refused with `SHARD_E_QUEUE_FULL`.
pub const MAX_COMMANDS_IN_FLIGHT: usize = 4_096;

/// State changes, GUILDS_COMPLETE and log lines in the queue; one more drops the oldest of them.
pub const MAX_NOTICES: usize = 4_096;

/// The largest payload a gateway may send, inflated. READY of a large bot has 16–17 MB.
pub const MAX_INCOMING_BYTES: usize = 64 << 20;

/// The largest answer of the REST API that is taken.
pub const MAX_REST_RESPONSE_BYTES: usize = 32 << 20;

/// REST requests on the wire at once. More wait their turn.
pub const MAX_REST_REQUESTS: usize = 64;

/// REST requests that wait for their turn; one more is refused. More than there can be commands, so
/// that it is the commands' own bound that hosts meet.
pub const MAX_REST_WAITING: usize = 2 * MAX_COMMANDS_IN_FLIGHT;

/// Rate limits that are remembered. Idle ones are forgotten first.
pub const MAX_REST_BUCKETS: usize = 16_384;

/// The longest path of a REST request, its query included, as it goes out.
pub const MAX_REST_PATH_BYTES: usize = 8 << 10;

/// The largest body of a REST request, its files included: the largest upload that the most boosted
/// guild allows, and some.
pub const MAX_REST_BODY_BYTES: usize = 128 << 20;

/// Files of one REST request. Discord takes ten today.
pub const MAX_REST_FILES: usize = 32;

/// The longest command that is read: room for a REST request with files.
pub const MAX_COMMAND_BYTES: usize = 40 << 20;

/// Connections to the endpoint for metrics and probes that are served at once. More wait.
pub const MAX_METRICS_CONNECTIONS: usize = 16;

/// The longest configuration that is read.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;

/// Guilds of one shard that are kept track of. Discord puts at most 2,500 on a shard.
pub const MAX_GUILDS_PER_SHARD: usize = 100_000;

/// The longest name of a guild that is kept; the rest is cut off. Discord's have at most 100 characters.
pub const MAX_GUILD_NAME_BYTES: usize = 400;

/// Guilds in one reply to `guilds` when the command does not say how many.
pub const DEFAULT_GUILDS_PER_PAGE: usize = 1_000;

/// The most guilds in one reply to `guilds`.
pub const MAX_GUILDS_PER_PAGE: usize = 10_000;

/// How long a shard waits for the next of the guilds that READY listed before it says which are missing.
pub const GUILDS_PATIENCE: Duration = Duration::from_secs(15);

/// Missing guilds that GUILDS_COMPLETE names; the rest is counted.
pub const MAX_MISSING_NAMED: usize = 1_000;

/// How long a request for members that are collected may take when the command does not say.
pub const DEFAULT_MEMBERS_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest that a request for members that are collected may take.
pub const MAX_MEMBERS_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// What a client collects of members, in bytes: chunks that have come, and replies until the host has
/// released them. A request that would need more fails.
pub const MAX_COLLECTED_BYTES: usize = 128 << 20;

/// The longest name of a worker, in characters.
pub(super) const MAX_WORKER_NAME_CHARS: usize = 64;

/// The longest `standby`, in bytes.
pub(super) const MAX_STANDBY_BYTES: usize = 64;

/// The longest name of a collection of the store.
pub const MAX_STORE_COLLECTION_BYTES: usize = 128;

/// The longest key of a document of the store.
pub const MAX_STORE_KEY_BYTES: usize = 512;

/// The largest document of the store, as JSON.
pub const MAX_STORE_VALUE_BYTES: usize = 1 << 20;

/// Documents in one reply to `store_list` when the command does not say how many.
pub const DEFAULT_STORE_DOCUMENTS_PER_PAGE: usize = 100;

/// The most documents in one reply to `store_list`.
pub const MAX_STORE_DOCUMENTS_PER_PAGE: usize = 1_000;

/// A page of `store_list` ends with the document that brings it over so many bytes.
pub const MAX_STORE_PAGE_BYTES: usize = 8 << 20;

/// How long a command for the store may take, with all that is tried again.
pub const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// How long the engine's own records are kept in the store.
pub const RECORDS_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Minutes of history, of all clients of a bot, that are kept in the store.
pub const MAX_HISTORY_KEPT: usize = 1_000_000;

/// Incidents that are kept in the store.
pub const MAX_INCIDENTS_KEPT: usize = 100_000;

/// Starts of clients that are kept in the store.
pub const MAX_DEPLOYS_KEPT: usize = 10_000;

/// The engine's own records that wait for a store that is away. Then the oldest go.
pub const MAX_RECORDS_WAITING: usize = 1_000;

/// How long a client that stops waits for its last records to be stored.
pub const LAST_RECORDS_PATIENCE: Duration = Duration::from_secs(1);

/// What happens to shards in the same way within this time is one incident.
pub const INCIDENT_WINDOW: Duration = Duration::from_secs(5);

/// A shard that is away for this long is an incident before it is back.
pub const LONG_OUTAGE: Duration = Duration::from_secs(60);

/// Incidents that a client records in quick succession.
pub const INCIDENTS_AT_ONCE: u32 = 100;

/// Incidents that a client may record in the long run.
pub const INCIDENTS_PER_HOUR: u32 = 60;

/// Shards that one incident names.
pub const MAX_INCIDENT_SHARDS: usize = 100;

/// The longest topic, in bytes.
pub const MAX_TOPIC_BYTES: usize = 128;

/// Topics that one client is subscribed to at once.
pub const MAX_TOPICS: usize = 1_024;

/// The longest `data` of a message, a call or an answer.
pub const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// MESSAGE and CALL events that wait for the host; one more drops the oldest of them.
pub const MAX_MAIL: usize = 4_096;

/// The bytes of those.
pub const MAX_MAIL_BYTES: usize = 32 << 20;

/// How long a call waits for answers when the command does not say.
pub const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that a call waits for answers.
pub const MAX_CALL_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Calls of one client that wait for answers; one more is refused.
pub const MAX_CALLS_IN_FLIGHT: usize = 256;

/// The bytes of all answers to one call; it fails when they are more.
pub const MAX_ANSWERS_BYTES: usize = 16 << 20;

/// The longest key of a value of the cache.
pub const MAX_CACHE_KEY_BYTES: usize = 512;

/// The largest value of the cache, as JSON.
pub const MAX_CACHE_VALUE_BYTES: usize = 256 << 10;

/// The longest that a value of the cache stays when it does not stay for ever.
pub const MAX_CACHE_TTL: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The longest name of a queue of jobs.
pub const MAX_QUEUE_NAME_BYTES: usize = 128;

/// The largest payload of a job, as JSON.
pub const MAX_JOB_PAYLOAD_BYTES: usize = 256 << 10;

/// The longest dedupe key of a job.
pub const MAX_JOB_DEDUPE_BYTES: usize = 256;

/// The longest text that a job fails with.
pub const MAX_JOB_ERROR_BYTES: usize = 4 << 10;

/// The longest that a job can be put off.
pub const MAX_JOB_DELAY: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The shortest time between two jobs of a schedule.
pub const MIN_JOB_REPEAT: Duration = Duration::from_secs(1);

/// The longest cron expression, in bytes.
pub const MAX_CRON_BYTES: usize = 256;

/// Schedules of one queue.
pub const MAX_SCHEDULES: usize = 256;

/// Priorities of jobs go from minus this to this.
pub const MAX_JOB_PRIORITY: i64 = 100;

/// How often a job is tried when the command does not say.
pub const DEFAULT_JOB_ATTEMPTS: i64 = 5;

/// How often a job can be tried.
pub const MAX_JOB_ATTEMPTS: i64 = 1_000;

/// How long a job is leased when the command does not say. Leases of a live consumer are extended.
pub const DEFAULT_JOB_VISIBILITY: Duration = Duration::from_secs(30);

/// The shortest lease.
pub const MIN_JOB_VISIBILITY: Duration = Duration::from_secs(1);

/// The longest lease.
pub const MAX_JOB_VISIBILITY: Duration = Duration::from_secs(60 * 60);

/// The wait after a job failed for the first time; it doubles each time.
pub const JOB_BACKOFF: Duration = Duration::from_secs(1);

/// The longest of those waits.
pub const MAX_JOB_BACKOFF: Duration = Duration::from_secs(60 * 60);

/// Jobs that one client works on at once.
pub const MAX_JOBS_RUNNING: usize = 1_000;

/// Queues that one client consumes at once.
pub const MAX_CONSUMED_QUEUES: usize = 100;

/// Dead jobs that are kept of one queue; one more, and the oldest goes.
pub const MAX_DEAD_JOBS: u32 = 10_000;

/// Jobs in one reply to `job_list` when the command does not say how many.
pub const DEFAULT_JOBS_PER_PAGE: usize = 100;

/// The most jobs in one reply to `job_list`.
pub const MAX_JOBS_PER_PAGE: usize = 1_000;

/// How long a gateway command for a shard of another process may take there. One that collects members has
/// its own `timeout_ms`.
pub const FORWARD_TIMEOUT: Duration = Duration::from_secs(60);

/// Commands of other processes that one client works on at once; one more is refused.
pub const MAX_FORWARDED: usize = 1_024;

/// How long a shard is leased when the config does not say.
pub const DEFAULT_LEASE_TTL_S: u64 = 15;

/// The shortest lease, in seconds: one call to the backplane may take two.
pub const MIN_LEASE_TTL_S: u64 = 3;

/// The longest, in seconds.
pub const MAX_LEASE_TTL_S: u64 = 300;

/// The longest reply to a command of another process.
pub const MAX_FORWARDED_REPLY_BYTES: usize = 8 << 20;
