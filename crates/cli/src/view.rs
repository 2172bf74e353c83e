//! What is known of a bot, as `cluster_stats` says it.
#![allow(clippy::struct_field_names, reason = "they are those of the JSON")]

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;
use shardwright::client::{Observer, shard_ranges};
use shardwright::{Config, Error};

/// A bot.
#[derive(Debug, Deserialize)]
pub(crate) struct View {
    pub(crate) total: Total,
    /// The queues of jobs that somebody consumes.
    #[serde(default)]
    pub(crate) jobs: BTreeMap<String, Jobs>,
    pub(crate) workers: Vec<Worker>,
}

/// All of it together.
#[derive(Debug, Deserialize)]
pub(crate) struct Total {
    /// The number of shards of the bot, once it is known.
    pub(crate) shard_total: Option<u32>,
    pub(crate) guilds: u64,
    pub(crate) unavailable: u64,
    pub(crate) members: u64,
    pub(crate) events_per_second: f64,
}

/// Jobs of one queue.
#[derive(Debug, Deserialize)]
pub(crate) struct Jobs {
    pub(crate) waiting: u64,
    pub(crate) running: u64,
    pub(crate) dead: u64,
}

/// One of its processes.
#[derive(Debug, Deserialize)]
pub(crate) struct Worker {
    worker: String,
    #[serde(default)]
    name: Option<String>,
    pub(crate) host: String,
    pub(crate) pid: u32,
    pub(crate) started_at_ms: i64,
    pub(crate) stage: String,
    pub(crate) shards: Vec<Shard>,
    #[serde(default)]
    pub(crate) queue: Queue,
    pub(crate) guilds: u64,
    pub(crate) events_per_second: f64,
}

/// Events that wait for its host.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Queue {
    pub(crate) events: u64,
    /// Events that the host has taken since its start.
    #[serde(default)]
    pub(crate) taken: u64,
}

/// One of its shards.
#[derive(Debug, Deserialize)]
pub(crate) struct Shard {
    pub(crate) shard: u32,
    pub(crate) state: String,
    pub(crate) guilds: u64,
    pub(crate) members: u64,
    #[serde(default)]
    pub(crate) latency_ms: Option<u64>,
    #[serde(default)]
    pub(crate) events: u64,
    #[serde(default)]
    pub(crate) identifies: u64,
    #[serde(default)]
    pub(crate) resumes: u64,
    #[serde(default)]
    pub(crate) reconnects: u64,
    #[serde(default)]
    pub(crate) last_error: Option<String>,
}

/// What looks at the backplane of a config, and stays connected to it.
///
/// # Errors
/// When that cannot be used.
pub(crate) fn observe(config: &Config) -> Result<Observer, Error> {
    let observer = Observer::new(config)?;
    let connected = observer.clone();
    tokio::spawn(async move { connected.stay_connected().await });
    Ok(observer)
}

impl View {
    /// Reads it.
    ///
    /// # Errors
    /// When the library says it in another way than this program knows.
    pub(crate) fn read(text: &str) -> anyhow::Result<Self> {
        let mut view: Self =
            serde_json::from_str(text).context("what the workers say cannot be read")?;
        let first = |worker: &Worker| {
            worker.shards.iter().map(|shard| shard.shard).min().unwrap_or(u32::MAX)
        };
        view.workers.sort_by_key(|worker| (first(worker), worker.started_at_ms));
        Ok(view)
    }

    /// Every shard of the bot, with who runs it: nobody, one worker, or more while one takes over.
    pub(crate) fn shards(&self) -> Vec<Vec<(&Worker, &Shard)>> {
        let all = self
            .workers
            .iter()
            .flat_map(|worker| worker.shards.iter().map(move |shard| (worker, shard)));
        let mut found: BTreeMap<u32, Vec<(&Worker, &Shard)>> = BTreeMap::new();
        for (worker, shard) in all {
            found.entry(shard.shard).or_default().push((worker, shard));
        }
        let known = found.last_key_value().map_or(0, |(last, _)| last + 1);
        let total = self.total.shard_total.unwrap_or(0).max(known);
        (0..total).map(|shard| found.remove(&shard).unwrap_or_default()).collect()
    }

    /// The mean and the highest latency of its shards.
    pub(crate) fn latency_ms(&self) -> Option<(u64, u64)> {
        latency_ms(self.workers.iter().flat_map(|worker| &worker.shards))
    }

    /// Events that wait for hosts.
    pub(crate) fn queue_events(&self) -> u64 {
        self.workers.iter().map(|worker| worker.queue.events).sum()
    }
}

impl Worker {
    /// What people call it.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.worker)
    }

    /// The mean and the highest latency of its shards.
    pub(crate) fn latency_ms(&self) -> Option<(u64, u64)> {
        latency_ms(&self.shards)
    }

    /// Its shards that are ready.
    pub(crate) fn ready(&self) -> usize {
        self.shards.iter().filter(|shard| shard.state == "ready").count()
    }

    /// Its shards as ranges: `0-3,7`.
    pub(crate) fn ranges(&self) -> String {
        let ranges = shard_ranges(self.shards.iter().map(|shard| shard.shard));
        if ranges.is_empty() { "-".to_owned() } else { ranges.join(",") }
    }
}

fn latency_ms<'a>(shards: impl IntoIterator<Item = &'a Shard>) -> Option<(u64, u64)> {
    let known: Vec<u64> = shards.into_iter().filter_map(|shard| shard.latency_ms).collect();
    let highest = *known.iter().max()?;
    Some((known.iter().sum::<u64>() / known.len() as u64, highest))
}
