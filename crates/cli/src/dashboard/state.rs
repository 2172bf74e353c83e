//! What browsers are told: the bot as its workers say it is, and what the dashboard itself knows.
//!
//! What can be many is an object by name and not a list, so that a change of one of them is a small patch. What is
//! not known is left out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::series::Rates;
use crate::cluster::ClusterStatus;
use crate::view::{Jobs, Limit, Shard, View, Worker};

/// All of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct State {
    pub(crate) bot: Bot,
    pub(crate) totals: Totals,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<Budget>,
    pub(crate) workers: BTreeMap<String, WorkerState>,
    pub(crate) shards: BTreeMap<u32, ShardState>,
    pub(crate) jobs: BTreeMap<String, Jobs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<ClusterStatus>,
    pub(crate) sources: Sources,
    pub(crate) playground: bool,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Bot {
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_total: Option<u32>,
    /// Of the engine, those that run.
    versions: Vec<String>,
}

/// What all workers come to together.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Totals {
    workers: usize,
    pub(crate) shards: usize,
    pub(crate) states: BTreeMap<String, u32>,
    pub(crate) guilds: u64,
    unavailable: u64,
    members: u64,
    pub(crate) events_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_max_ms: Option<u64>,
    queue_events: u64,
    pub(crate) reconnects: u64,
    identifies: u64,
    resumes: u64,
    memory_bytes: u64,
}

/// Session starts of the day.
#[derive(Debug, Serialize)]
pub(crate) struct Budget {
    total: u32,
    pub(crate) remaining: u32,
    reset_at_ms: i64,
    pub(crate) max_concurrency: u32,
    pub(crate) reserve: u32,
}

/// One process.
#[derive(Debug, Serialize)]
pub(crate) struct WorkerState {
    name: String,
    host: String,
    pid: u32,
    version: String,
    started_at_ms: i64,
    stage: String,
    /// As ranges: `0-3,7`.
    shards: String,
    ready: usize,
    of: usize,
    guilds: u64,
    members: u64,
    events_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
    /// Events that wait for its host, and those that the host has taken.
    queue_events: u64,
    taken: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_percent: Option<f64>,
    topics: Vec<String>,
    consumes: Vec<String>,
}

/// One shard.
#[derive(Debug, Serialize)]
pub(crate) struct ShardState {
    /// `nobody` where no process runs it, else that of the newest.
    state: String,
    /// Who runs it: more than one while one takes over.
    workers: Vec<String>,
    guilds: u64,
    members: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
    events: u64,
    events_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    identifies: u64,
    resumes: u64,
    /// By cause.
    reconnects: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

/// Where all of this comes from, and what is wrong with it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Sources {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backplane: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
}

impl State {
    /// What the workers say. Rates are of the last seconds.
    pub(crate) fn of(view: &View, rates: &Rates) -> Self {
        let shards: BTreeMap<u32, ShardState> = (0..)
            .zip(view.shards())
            .map(|(shard, here)| (shard, ShardState::of(shard, &here, rates)))
            .collect();
        let mut versions: Vec<String> =
            view.workers.iter().map(|worker| worker.version.clone()).collect();
        versions.sort_unstable();
        versions.dedup();
        let workers = view.workers.iter();
        Self {
            bot: Bot { shard_total: view.total.shard_total, versions },
            totals: Totals::of(view, &shards),
            budget: Budget::of(view),
            workers: workers.map(|it| (it.id.clone(), WorkerState::of(it, rates))).collect(),
            shards,
            jobs: view.jobs.clone(),
            ..Self::default()
        }
    }
}

impl Totals {
    fn of(view: &View, shards: &BTreeMap<u32, ShardState>) -> Self {
        let mut states = BTreeMap::new();
        for shard in shards.values() {
            *states.entry(shard.state.clone()).or_default() += 1;
        }
        let sum = |count: fn(&Shard) -> u64| {
            view.workers.iter().flat_map(|worker| &worker.shards).map(count).sum()
        };
        let latency = view.latency_ms();
        Self {
            workers: view.workers.len(),
            shards: shards.len(),
            states,
            guilds: view.total.guilds,
            unavailable: view.total.unavailable,
            members: view.total.members,
            events_per_second: view.total.events_per_second,
            latency_ms: latency.map(|(mean, _)| mean),
            latency_max_ms: latency.map(|(_, highest)| highest),
            queue_events: view.queue_events(),
            reconnects: sum(|shard| shard.reconnects),
            identifies: sum(|shard| shard.identifies),
            resumes: sum(|shard| shard.resumes),
            memory_bytes: view.workers.iter().filter_map(|worker| worker.memory_bytes).sum(),
        }
    }
}

impl Budget {
    /// What the worker says that knows of the most session starts since the last reset.
    fn of(view: &View) -> Option<Self> {
        let known = view.workers.iter().filter_map(|worker| worker.session_start_limit);
        // Their clocks differ, and so do the moments at which they asked.
        let reset = |limit: &Limit| limit.resets_at_ms / 60_000;
        let newest = known.max_by_key(|limit| (reset(limit), u32::MAX - limit.remaining))?;
        let Limit { total, remaining, resets_at_ms, max_concurrency, reserve } = newest;
        // It is told when it is next asked, and counts down meanwhile.
        let reset_at_ms = resets_at_ms / 1_000 * 1_000;
        Some(Self { total, remaining, reset_at_ms, max_concurrency, reserve })
    }
}

impl WorkerState {
    fn of(worker: &Worker, rates: &Rates) -> Self {
        Self {
            name: worker.name().to_owned(),
            host: worker.host.clone(),
            pid: worker.pid,
            version: worker.version.clone(),
            // Said anew each time, and a clock that is corrected may change it a little.
            started_at_ms: worker.started_at_ms / 1_000 * 1_000,
            stage: worker.stage.clone(),
            shards: worker.ranges(),
            ready: worker.ready(),
            of: worker.shards.len(),
            guilds: worker.guilds,
            members: worker.members,
            events_per_second: worker.events_per_second,
            latency_ms: worker.latency_ms().map(|(mean, _)| mean),
            queue_events: worker.queue.events,
            taken: worker.queue.taken,
            memory_bytes: worker.memory_bytes,
            cpu_percent: rates.cpu_percent(&worker.id),
            topics: worker.topics.clone(),
            consumes: worker.consumes.clone(),
        }
    }
}

impl ShardState {
    fn of(shard: u32, here: &[(&Worker, &Shard)], rates: &Rates) -> Self {
        let newest = here.iter().max_by_key(|(worker, _)| worker.started_at_ms);
        let Some((_, newest)) = newest else {
            return Self {
                state: "nobody".to_owned(),
                workers: Vec::new(),
                guilds: 0,
                members: 0,
                latency_ms: None,
                events: 0,
                events_per_second: 0.0,
                sequence: None,
                identifies: 0,
                resumes: 0,
                reconnects: BTreeMap::new(),
                last_error: None,
            };
        };
        Self {
            state: newest.state.clone(),
            workers: here.iter().map(|(worker, _)| worker.id.clone()).collect(),
            guilds: newest.guilds,
            members: newest.members,
            latency_ms: newest.latency_ms,
            events: newest.events,
            events_per_second: rates.events_per_second(shard),
            sequence: newest.sequence,
            identifies: newest.identifies,
            resumes: newest.resumes,
            reconnects: newest.reconnects_by_cause.clone(),
            last_error: newest.last_error.clone(),
        }
    }
}
