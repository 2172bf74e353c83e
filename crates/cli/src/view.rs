//! What is known of a bot, as `cluster_stats` says it.
#![allow(clippy::struct_field_names, reason = "they are those of the JSON")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use shardwright::backplane::Address;
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
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
pub(crate) struct Jobs {
    pub(crate) waiting: u64,
    pub(crate) running: u64,
    pub(crate) dead: u64,
}

/// One of its processes.
#[derive(Debug, Deserialize)]
pub(crate) struct Worker {
    /// Another one at each start.
    #[serde(rename = "worker")]
    pub(crate) id: String,
    #[serde(default)]
    name: Option<String>,
    pub(crate) host: String,
    pub(crate) pid: u32,
    #[serde(default)]
    pub(crate) version: String,
    pub(crate) started_at_ms: i64,
    pub(crate) stage: String,
    /// The number of shards of the bot, as far as it knows.
    #[serde(default)]
    pub(crate) shard_total: Option<u32>,
    pub(crate) shards: Vec<Shard>,
    #[serde(default)]
    pub(crate) topics: Vec<String>,
    #[serde(default)]
    pub(crate) consumes: Vec<String>,
    #[serde(default)]
    pub(crate) queue: Queue,
    #[serde(default)]
    pub(crate) memory_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) cpu_ms: Option<u64>,
    #[serde(default)]
    pub(crate) session_start_limit: Option<Limit>,
    /// Up to when its host has taken all that Discord had sent, in milliseconds since 1970.
    #[serde(default)]
    pub(crate) through_ms: Option<i64>,
    /// Since when it notes what it delivers, for those that are to take over.
    #[serde(default)]
    pub(crate) noted_since_ms: Option<i64>,
    pub(crate) guilds: u64,
    #[serde(default)]
    pub(crate) members: u64,
    #[serde(default)]
    pub(crate) unavailable: u64,
    pub(crate) events_per_second: f64,
}

/// Session starts of the day, as a worker counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Limit {
    pub(crate) total: u32,
    pub(crate) remaining: u32,
    pub(crate) resets_at_ms: i64,
    pub(crate) max_concurrency: u32,
    /// Those of them that are never used.
    pub(crate) reserve: u32,
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
    pub(crate) reconnects_by_cause: BTreeMap<String, u64>,
    #[serde(default)]
    pub(crate) sequence: Option<u64>,
    #[serde(default)]
    pub(crate) last_error: Option<String>,
}

/// Where the workers of a bot say how they are.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The directory of `shardwright cluster`, whose files count where SHARDWRIGHT_BACKPLANE and SHARDWRIGHT_STORE
    /// name none
    #[arg(long, value_name = "DIR", default_value = ".shardwright")]
    pub(crate) directory: PathBuf,
}

impl Place {
    /// A variable as the workers have it. What else they have is none of an observer's business.
    pub(crate) fn env(&self, name: &str) -> Option<String> {
        let own = std::env::var(name).ok().filter(|value| !value.is_empty());
        let file = |file: &str| format!("sqlite:{}", self.directory.join(file).display());
        match name {
            "DISCORD_TOKEN" => own,
            "SHARDWRIGHT_BACKPLANE" => own.or_else(|| Some(file("backplane"))),
            // One that is not there would be made.
            "SHARDWRIGHT_STORE" => {
                own.or_else(|| self.directory.join("store").exists().then(|| file("store")))
            }
            _ => None,
        }
    }

    /// What it takes to look at them.
    ///
    /// # Errors
    /// When the token is missing, or the backplane could never be used.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let config = Config::from_json(r#"{"intents": 0}"#, |name| self.env(name))?;
        // One that is not there would be made.
        if let Some(Address::Sqlite(path)) = &config.backplane {
            ensure!(
                path.exists(),
                "there is no backplane at {}: set SHARDWRIGHT_BACKPLANE to what the workers have, or name the \
                 --directory of their cluster",
                path.display()
            );
        }
        Ok(config)
    }
}

/// What looks at the backplane of a config, and stays connected to it.
///
/// # Errors
/// When that cannot be used.
pub(crate) fn observe(config: &Config) -> Result<Observer, Error> {
    let observer = Observer::new(config)?;
    let connected = observer.clone();
    tokio::spawn(async move { connected.stay_connected(drop).await });
    Ok(observer)
}

impl View {
    /// Of a bot that nobody runs.
    pub(crate) fn nobody() -> Self {
        let total = Total {
            shard_total: None,
            guilds: 0,
            unavailable: 0,
            members: 0,
            events_per_second: 0.0,
        };
        Self { total, jobs: BTreeMap::new(), workers: Vec::new() }
    }

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

    /// Those that run the bot, and do not wait to take over from others.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter().filter(|worker| !worker.is_standby())
    }

    /// Every shard of the bot, with who runs it: nobody, one worker, or more while one takes over.
    pub(crate) fn shards(&self) -> Vec<Vec<(&Worker, &Shard)>> {
        let all =
            self.active().flat_map(|worker| worker.shards.iter().map(move |shard| (worker, shard)));
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
        self.name.as_deref().unwrap_or(&self.id)
    }

    /// Whether it waits to take over from others.
    pub(crate) fn is_standby(&self) -> bool {
        self.stage == "standby"
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
