//! Who is there, in Redis: a hash of records, and a sorted set of when each ends.

use std::sync::LazyLock;

use redis::Script;

use super::Redis;
use crate::backplane::{Trouble, WORKER_KEPT};

static REGISTER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("register.lua")));
static UNREGISTER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("unregister.lua")));
static WORKERS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("workers.lua")));

const KEYS: &[&str] = &["workers", "workers:until"];

impl Redis {
    /// Writes that a worker is there.
    pub(super) async fn write_worker(&self, worker: &str, record: &str) -> Result<(), Trouble> {
        let kept_ms = WORKER_KEPT.as_millis().to_string();
        self.run_script(&REGISTER, KEYS, &[worker, record, &kept_ms]).await
    }

    /// A worker is gone.
    pub(super) async fn delete_worker(&self, worker: &str) -> Result<(), Trouble> {
        self.run_script(&UNREGISTER, KEYS, &[worker]).await
    }

    /// The records of those that are there.
    pub(super) async fn read_workers(&self) -> Result<Vec<String>, Trouble> {
        self.run_script(&WORKERS, KEYS, &[]).await
    }
}
