//! What a client tells the others of itself, and what comes of all of that together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::fleet::Fleet;
use super::shared::{Shared, lock};
use crate::backplane::jobs::JobCounts;
use crate::backplane::{Backplane, Trouble};
use crate::config::MAX_CONSUMED_QUEUES;
use crate::identify::SessionStartLimit;
use crate::process::{self, host_name};
use crate::sessions::wall_ms;
use crate::shard::{Cause, GuildCounts};

/// The stage of a client that waits to take over from others.
pub(super) const STANDBY: &str = "standby";

/// Time that a rate of events is taken over, at least.
const RATE_OVER: Duration = Duration::from_secs(2);

/// A client as the others know it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// What it is called by programs: another one at each start.
    pub(super) worker: String,
    /// What it is called by people, if they gave it a name.
    #[serde(default)]
    name: Option<String>,
    /// The machine it runs on.
    host: String,
    pid: u32,
    /// Of the engine.
    version: String,
    pub(super) started_at_ms: i64,
    /// `starting`, `standby`, `running` or `stopped`.
    stage: String,
    /// The number of shards of the bot, once it is known.
    pub(super) shard_total: Option<u32>,
    /// Those that run there.
    pub(super) shards: Vec<ShardRecord>,
    /// Topics that it is subscribed to.
    pub(super) topics: Vec<String>,
    /// Queues of jobs that it consumes.
    #[serde(default)]
    consumes: Vec<String>,
    #[serde(default)]
    queue: QueueRecord,
    /// Memory that it has in use, where its system says.
    #[serde(default)]
    memory_bytes: Option<u64>,
    /// Processor time since it began.
    #[serde(default)]
    cpu_ms: Option<u64>,
    #[serde(default)]
    session_start_limit: Option<LimitRecord>,
    /// Up to when its host has taken all that Discord had sent; see [`Shared::through_ms`].
    #[serde(default)]
    through_ms: Option<i64>,
    /// Since when it notes what it delivers, for those that are to take over.
    #[serde(default)]
    noted_since_ms: Option<i64>,
    #[serde(flatten)]
    sums: Sums,
}

/// The session start limit, as its gate counts it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct LimitRecord {
    total: u32,
    remaining: u32,
    resets_at_ms: i64,
    max_concurrency: u32,
    /// Those of them that are never used.
    reserve: u32,
}

impl Record {
    /// Whether it waits to take over from others.
    pub(super) fn is_standby(&self) -> bool {
        self.stage == STANDBY
    }
}

/// Its queue: whether the host keeps up, and whether it is alive.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct QueueRecord {
    /// Events in it.
    events: usize,
    /// Events that the host has taken.
    taken: u64,
}

/// One shard of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ShardRecord {
    pub(super) shard: u32,
    pub(super) state: String,
    guilds: usize,
    members: u64,
    /// Between the last heartbeat and its ACK.
    #[serde(default)]
    latency_ms: Option<u64>,
    #[serde(default)]
    events: u64,
    /// Since the worker started.
    #[serde(default)]
    identifies: u64,
    #[serde(default)]
    resumes: u64,
    #[serde(default)]
    reconnects: u64,
    /// The same by cause, those that there were.
    #[serde(default)]
    reconnects_by_cause: BTreeMap<String, u64>,
    /// Of its session, if it has one.
    #[serde(default)]
    sequence: Option<u64>,
    /// Why it last lost or did not get its connection.
    #[serde(default)]
    last_error: Option<String>,
}

/// Numbers that can be added up.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Sums {
    /// Shards by state.
    states: BTreeMap<String, u32>,
    guilds: usize,
    unavailable: usize,
    members: u64,
    events_per_second: f64,
}

impl LimitRecord {
    fn new(limit: SessionStartLimit, reserve: u32) -> Self {
        let left = limit.resets_at.saturating_duration_since(std::time::Instant::now());
        Self {
            total: limit.total,
            remaining: limit.remaining,
            resets_at_ms: wall_ms() + i64::try_from(left.as_millis()).unwrap_or(0),
            max_concurrency: limit.max_concurrency.get(),
            reserve,
        }
    }
}

impl Sums {
    fn add(&mut self, other: &Self) {
        for (state, count) in &other.states {
            *self.states.entry(state.clone()).or_default() += count;
        }
        self.guilds += other.guilds;
        self.unavailable += other.unavailable;
        self.members += other.members;
        self.events_per_second += other.events_per_second;
    }
}

/// The reply to `cluster_stats`.
#[derive(Serialize)]
struct Cluster {
    total: Total,
    /// The queues of jobs that somebody consumes.
    jobs: BTreeMap<String, JobCounts>,
    workers: Vec<Record>,
}

/// All workers together.
#[derive(Serialize)]
#[allow(clippy::struct_field_names, reason = "it is called so everywhere")]
struct Total {
    workers: usize,
    /// Shards that run somewhere.
    shards: usize,
    /// The number of shards of the bot, as the newest worker knows it.
    shard_total: Option<u32>,
    #[serde(flatten)]
    sums: Sums,
}

/// How fast events come: of two moments that are far enough apart.
#[derive(Debug, Default)]
pub(super) struct Rate(Mutex<Option<(Instant, u64, f64)>>);

impl Rate {
    /// Events per second, when so many have come by now.
    fn at(&self, events: u64) -> f64 {
        let now = Instant::now();
        let mut last = lock(&self.0);
        let (at, before, rate) = last.unwrap_or((now, events, 0.0));
        let passed = now - at;
        if last.is_some() && passed < RATE_OVER {
            return rate;
        }
        let rate = if passed.is_zero() {
            0.0
        } else {
            events.saturating_sub(before) as f64 / passed.as_secs_f64()
        };
        let rate = two_digits(rate);
        *last = Some((now, events, rate));
        rate
    }
}

impl Shared {
    /// What the others may know of this client.
    pub(super) fn record(
        &self,
        worker: &str,
        topics: Vec<String>,
        consumes: Vec<String>,
        rate: &Rate,
    ) -> Record {
        let (sums, shards) = self.sums(rate);
        let stage = self.stage();
        let age_ms = i64::try_from(self.age().as_millis()).unwrap_or(0);
        let used = process::usage();
        Record {
            worker: worker.to_owned(),
            name: self.config.worker_name.clone(),
            host: host_name(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at_ms: wall_ms() - age_ms,
            stage: self.stage_name(&stage).to_owned(),
            shard_total: stage.fleet().map(|fleet| fleet.total.get()),
            shards,
            topics,
            consumes,
            through_ms: stage.fleet().and_then(|fleet| self.through_ms(fleet)),
            noted_since_ms: self.noted_since_ms(),
            queue: QueueRecord { events: self.queue.len(), taken: self.queue.taken_total() },
            memory_bytes: used.map(|used| used.memory_bytes),
            cpu_ms: used.map(|used| used.cpu_ms),
            session_start_limit: lock(&self.limit)
                .map(|limit| LimitRecord::new(limit, self.config.budget_reserve)),
            sums,
        }
    }

    /// What its shards come to together, and each of them.
    pub(super) fn sums(&self, rate: &Rate) -> (Sums, Vec<ShardRecord>) {
        let stage = self.stage();
        let mut sums = Sums::default();
        let mut shards = Vec::new();
        let mut events = 0;
        for (&shard, member) in stage.fleet().into_iter().flat_map(Fleet::running) {
            let status = member.status.get();
            events += status.events;
            let state = status.state.name().to_owned();
            *sums.states.entry(state.clone()).or_default() += 1;
            let GuildCounts { guilds, unavailable, members, .. } = member.guilds.lock().counts();
            sums.guilds += guilds;
            sums.unavailable += unavailable;
            sums.members += members;
            let counters = status.counters;
            shards.push(ShardRecord {
                shard,
                state,
                guilds,
                members,
                latency_ms: status.latency_ms,
                events: status.events,
                identifies: counters.identifies,
                resumes: counters.resumes,
                reconnects: counters.reconnects.total(),
                reconnects_by_cause: Cause::ALL
                    .into_iter()
                    .map(|cause| (cause.name().to_owned(), counters.reconnects.of(cause)))
                    .filter(|(_, count)| *count > 0)
                    .collect(),
                sequence: status.session.map(|session| session.seq),
                last_error: status.last_error,
            });
        }
        sums.events_per_second = rate.at(events);
        (sums, shards)
    }
}

/// What `cluster_stats` replies: all workers, and the queues of jobs that they consume.
pub(super) async fn cluster_stats(backplane: &dyn Backplane) -> Result<Bytes, Trouble> {
    let workers = read(&backplane.workers().await?);
    let queues: BTreeSet<&String> = workers.iter().flat_map(|worker| &worker.consumes).collect();
    let mut jobs = BTreeMap::new();
    for queue in queues.into_iter().take(MAX_CONSUMED_QUEUES) {
        jobs.insert(queue.clone(), backplane.job_count(queue).await?);
    }
    Ok(cluster(workers, jobs))
}

/// All workers in one reply, in the order in which they started.
fn cluster(mut workers: Vec<Record>, jobs: BTreeMap<String, JobCounts>) -> Bytes {
    workers.sort_by_key(|worker| (worker.started_at_ms, worker.worker.clone()));
    let mut sums = Sums::default();
    // Those of a standby worker will be the bot's.
    let active = || workers.iter().filter(|worker| !worker.is_standby());
    for worker in active() {
        sums.add(&worker.sums);
    }
    sums.events_per_second = two_digits(sums.events_per_second);
    let total = Total {
        workers: workers.len(),
        shards: active().map(|worker| worker.shards.len()).sum(),
        shard_total: active().rev().find_map(|worker| worker.shard_total),
        sums,
    };
    // Numbers and text can always be written.
    serde_json::to_vec(&Cluster { total, jobs, workers }).unwrap_or_default().into()
}

/// The records that can be read: another version may write others.
pub(super) fn read(records: &[String]) -> Vec<Record> {
    records.iter().filter_map(|record| serde_json::from_str(record).ok()).collect()
}

/// What a dashboard shows of a rate.
fn two_digits(rate: f64) -> f64 {
    (rate * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn rates_add_up_to_what_can_be_read() {
        let record = |rate: f64| {
            json!({
                "worker": "w", "host": "h", "pid": 1, "version": "0", "started_at_ms": 0,
                "stage": "running", "shard_total": 1, "shards": [], "topics": [], "states": {},
                "guilds": 600, "unavailable": 0, "members": 1, "events_per_second": rate,
            })
            .to_string()
        };
        // Which in binary are 175.57999999999998.
        let reply = cluster(read(&[record(88.3), record(87.28)]), BTreeMap::new());
        let reply: Value = serde_json::from_slice(&reply).expect("JSON");
        assert_eq!(reply["total"]["events_per_second"].to_string(), "175.58");
        assert_eq!(reply["total"]["guilds"], 1200);
    }
}
