//! How the workers of a cluster are, as it sees them itself: also those that do not run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterStatus {
    /// By name.
    pub(crate) workers: BTreeMap<String, PlaceStatus>,
    /// What is changed at the moment, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rollout: Option<String>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlaceStatus {
    /// Its shards: `0-3/16`.
    pub(crate) range: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u32>,
    pub(crate) what: What,
    /// For people.
    pub(crate) text: String,
    /// How often it was started again.
    pub(crate) restarts: u64,
    /// Whether what it says is kept in a file.
    pub(crate) log: bool,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// All of its shards are ready.
    Running,
    /// They are not yet.
    Starting,
    /// It is to end.
    Stopping,
    /// It is started again soon.
    Waiting,
    /// It is started again seldom, for it is broken.
    Braked,
    /// It is not started until somebody wants it.
    Paused,
}
