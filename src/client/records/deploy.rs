//! One start of a client: when, where, with which shards, how it came up and how it ended.

use serde_json::{Value, json};

use super::moment_key;
use crate::client::fleet::Fleet;
use crate::client::ranges::shard_ranges;
use crate::config::{Config, Shards};
use crate::process::host_name;
use crate::shard::StopMode;

/// One start.
#[derive(Debug)]
pub(super) struct Deploy {
    started_at_ms: i64,
    value: Value,
}

impl Deploy {
    /// A client that is made.
    pub(super) fn new(worker: &str, now_ms: i64) -> Self {
        let value = json!({
            "worker": worker,
            "host": host_name(),
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "started_at_ms": now_ms,
            "shard_total": null,
            "shards": null,
            "ready_at_ms": null,
            "sessions_resumed": null,
            "identifies": null,
            "stopped_at_ms": null,
            "stop": null,
        });
        Self { started_at_ms: now_ms, value }
    }

    /// Its key: it sorts by time.
    pub(super) fn key(&self, worker: &str) -> String {
        format!("{}/{worker}", moment_key(self.started_at_ms))
    }

    /// What is to know of it by now.
    pub(super) fn to_json(&self) -> Value {
        self.value.clone()
    }

    /// It starts.
    pub(super) fn started(&mut self, now_ms: i64, config: &Config) {
        self.started_at_ms = now_ms;
        self.value["started_at_ms"] = json!(now_ms);
        if let Shards::Fixed { total, ids } = &config.shards {
            self.value["shard_total"] = json!(total);
            self.value["shards"] = json!(shard_ranges(ids.iter().copied()).join(","));
        }
    }

    /// All of its shards are ready.
    pub(super) fn ready(&mut self, now_ms: i64, fleet: &Fleet) {
        let ids: Vec<u32> = fleet.members.keys().copied().collect();
        self.value["shard_total"] = json!(fleet.total);
        self.value["shards"] = json!(shard_ranges(ids).join(","));
        self.value["ready_at_ms"] = json!(now_ms);
        let (mut resumed, mut identifies) = (0_u64, 0_u64);
        for member in fleet.members.values() {
            let counters = member.status.get().counters;
            identifies += counters.identifies;
            // What had to identify was not resumed, however often that was tried.
            resumed += u64::from(counters.identifies == 0 && counters.resumes > 0);
        }
        self.value["sessions_resumed"] = json!(resumed);
        self.value["identifies"] = json!(identifies);
    }

    /// It has stopped.
    pub(super) fn stopped(&mut self, now_ms: i64, mode: StopMode) {
        self.value["stopped_at_ms"] = json!(now_ms);
        self.value["stop"] = json!(match mode {
            StopMode::Resumable => "resumable",
            StopMode::Close => "close",
            StopMode::Abort => "abort",
        });
    }
}
