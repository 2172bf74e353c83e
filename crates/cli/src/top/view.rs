//! What is known of a bot, as `cluster_stats` says it.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;

/// A bot.
#[derive(Debug, Deserialize)]
pub(super) struct View {
    pub(super) total: Total,
    pub(super) workers: Vec<Worker>,
}

/// All of it together.
#[derive(Debug, Deserialize)]
pub(super) struct Total {
    /// The number of shards of the bot, once it is known.
    pub(super) shard_total: Option<u32>,
    pub(super) guilds: u64,
    pub(super) unavailable: u64,
    pub(super) members: u64,
    pub(super) events_per_second: f64,
}

/// One of its processes.
#[derive(Debug, Deserialize)]
pub(super) struct Worker {
    worker: String,
    #[serde(default)]
    name: Option<String>,
    pub(super) host: String,
    pub(super) pid: u32,
    pub(super) started_at_ms: i64,
    pub(super) stage: String,
    pub(super) shards: Vec<Shard>,
    #[serde(default)]
    pub(super) queue: Queue,
    pub(super) guilds: u64,
    pub(super) events_per_second: f64,
}

/// Events that wait for its host.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Queue {
    pub(super) events: u64,
}

/// One of its shards.
#[derive(Debug, Deserialize)]
pub(super) struct Shard {
    pub(super) shard: u32,
    pub(super) state: String,
    pub(super) guilds: u64,
    pub(super) members: u64,
    #[serde(default)]
    pub(super) latency_ms: Option<u64>,
    #[serde(default)]
    pub(super) events: u64,
    #[serde(default)]
    pub(super) identifies: u64,
    #[serde(default)]
    pub(super) resumes: u64,
    #[serde(default)]
    pub(super) reconnects: u64,
    #[serde(default)]
    pub(super) last_error: Option<String>,
}

impl View {
    /// Reads it.
    ///
    /// # Errors
    /// When the library says it in another way than this program knows.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let mut view: Self =
            serde_json::from_str(text).context("what the workers say cannot be read")?;
        let first = |worker: &Worker| {
            worker.shards.iter().map(|shard| shard.shard).min().unwrap_or(u32::MAX)
        };
        view.workers.sort_by_key(|worker| (first(worker), worker.started_at_ms));
        Ok(view)
    }

    /// Every shard of the bot, with who runs it: nobody, one worker, or more while one takes over.
    pub(super) fn shards(&self) -> Vec<Vec<(&Worker, &Shard)>> {
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
    pub(super) fn latency_ms(&self) -> Option<(u64, u64)> {
        latency_ms(self.workers.iter().flat_map(|worker| &worker.shards))
    }

    /// Events that wait for hosts.
    pub(super) fn queue_events(&self) -> u64 {
        self.workers.iter().map(|worker| worker.queue.events).sum()
    }
}

impl Worker {
    /// What people call it.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.worker)
    }

    /// The mean and the highest latency of its shards.
    pub(super) fn latency_ms(&self) -> Option<(u64, u64)> {
        latency_ms(&self.shards)
    }

    /// Its shards that are ready.
    pub(super) fn ready(&self) -> usize {
        self.shards.iter().filter(|shard| shard.state == "ready").count()
    }

    /// Its shards as ranges: `0-3,7`.
    pub(super) fn ranges(&self) -> String {
        let mut ids: Vec<u32> = self.shards.iter().map(|shard| shard.shard).collect();
        ids.sort_unstable();
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for id in ids {
            match ranges.last_mut() {
                Some((_, to)) if *to + 1 == id => *to = id,
                _ => ranges.push((id, id)),
            }
        }
        let told = |&(from, to): &(u32, u32)| {
            if from == to { from.to_string() } else { format!("{from}-{to}") }
        };
        if ranges.is_empty() {
            "-".to_owned()
        } else {
            ranges.iter().map(told).collect::<Vec<_>>().join(",")
        }
    }
}

fn latency_ms<'a>(shards: impl IntoIterator<Item = &'a Shard>) -> Option<(u64, u64)> {
    let known: Vec<u64> = shards.into_iter().filter_map(|shard| shard.latency_ms).collect();
    let highest = *known.iter().max()?;
    Some((known.iter().sum::<u64>() / known.len() as u64, highest))
}
