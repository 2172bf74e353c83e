//! One start of a client: when, where, with which shards, how it came up and how it ended.

use serde_json::{Value, json};

use super::moment_key;
use crate::client::fleet::Fleet;
use crate::client::worker::host_name;
use crate::config::{Config, Shards};
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
            self.value["shards"] = json!(ranges(ids));
        }
    }

    /// All of its shards are ready.
    pub(super) fn ready(&mut self, now_ms: i64, fleet: &Fleet) {
        let ids: Vec<u32> = fleet.members.keys().copied().collect();
        self.value["shard_total"] = json!(fleet.total);
        self.value["shards"] = json!(ranges(&ids));
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

/// Shards as people write them: `0-7,9`.
fn ranges(ids: &[u32]) -> String {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    let runs = ids.chunk_by(|id, next| id + 1 == *next).map(|run| match run {
        [one] => one.to_string(),
        _ => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    runs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_written_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 3]), "0-3");
        assert_eq!(ranges(&[9, 0, 1, 5, 7, 8]), "0-1,5,7-9");
        assert_eq!(ranges(&[]), "");
    }
}
