//! How a client is doing: for people, for probes, and for `metrics`.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::config::QueueConfig;
use crate::error::{Error, ErrorKind};
use crate::histogram::Distribution;
use crate::identify::SessionStartLimit;
use crate::rest::Rest;
use crate::shard::status::Snapshot;
use crate::shard::{Cause, ShardState};
use crate::usage::{Traffic, Used};

/// A client as it was at one moment.
#[derive(Debug)]
pub(crate) struct Overview {
    /// The moment.
    pub(crate) now: Instant,
    /// `new`, `starting`, `running` or `stopped`.
    pub(crate) stage: &'static str,
    /// Since the client was made.
    pub(crate) uptime: Duration,
    /// Where the endpoint for metrics and probes listens.
    pub(crate) metrics_address: Option<SocketAddr>,
    /// The number of shards of the bot, once known.
    pub(crate) shard_total: Option<u32>,
    /// The shards run here, by id.
    pub(crate) shards: Vec<(u32, Snapshot)>,
    /// Why the client or a shard was refused for good.
    pub(crate) fatal: Option<String>,
    /// Whether that is the client, and so all of it.
    pub(crate) is_refused: bool,
    /// Why sessions cannot be kept at the moment.
    pub(crate) sessions_error: Option<String>,
    /// What it is called among the workers of the backplane.
    pub(crate) worker: Option<String>,
    /// Why the backplane cannot be used at the moment.
    pub(crate) backplane_error: Option<String>,
    /// Why the store cannot be used at the moment.
    pub(crate) store_error: Option<String>,
    /// Its leases, if it shares all shards with other processes.
    pub(crate) leases: Option<LeaseOverview>,
    /// The backplane in numbers, if there is one.
    pub(crate) backplane: Option<BackplaneOverview>,
    /// The store in numbers, if there is one.
    pub(crate) store: Option<StoreOverview>,
    /// The session start limit as the gate counts it.
    pub(crate) limit: Option<SessionStartLimit>,
    /// Session starts of it that are never used.
    pub(crate) budget_reserve: u32,
    /// The event queue.
    pub(crate) queue: QueueOverview,
    /// From heartbeats to their ACKs, all shards together.
    pub(crate) heartbeat_latency: Distribution,
    /// In line at the identify gate.
    pub(crate) identify_wait: Distribution,
    /// From a command's arrival at its shard to the moment it left.
    pub(crate) outbound_wait: Distribution,
    /// The REST client, for what it counts.
    pub(crate) rest: Rest,
}

/// An event queue as it was at one moment.
#[derive(Debug)]
pub(crate) struct QueueOverview {
    /// Its bounds.
    pub(crate) config: QueueConfig,
    /// Events in it.
    pub(crate) events: usize,
    /// Events in it, by shard.
    pub(crate) events_of_shard: HashMap<u32, usize>,
    /// Bytes in it and with the host.
    pub(crate) bytes: usize,
    /// Events dropped since the start.
    pub(crate) dropped: u64,
    /// Messages and calls of other processes among them.
    pub(crate) mail_dropped: u64,
    /// Commands whose reply the host has not taken.
    pub(crate) commands_in_flight: usize,
}

/// A backplane as it was at one moment.
#[derive(Debug)]
pub(crate) struct BackplaneOverview {
    /// Whether it could be used.
    pub(crate) is_up: bool,
    /// The host's commands for it.
    pub(crate) used: Used,
    /// Messages and jobs.
    pub(crate) traffic: Traffic,
}

/// Leases as they were at one moment.
#[derive(Debug)]
pub(crate) struct LeaseOverview {
    /// Shards that run here and stay.
    pub(crate) held: usize,
    /// How many should, once that is known.
    pub(crate) share: Option<u32>,
    /// Processes among which all shards are shared out.
    pub(crate) workers: u32,
    /// Leases that ended before they were given up.
    pub(crate) lost: u64,
    /// Events that the host did not get, for their shards may have been another process's.
    pub(crate) refused: u64,
}

/// A store as it was at one moment.
#[derive(Debug)]
pub(crate) struct StoreOverview {
    /// Whether it could be used.
    pub(crate) is_up: bool,
    /// The host's commands for it.
    pub(crate) used: Used,
}

impl Overview {
    /// As the JSON of `shard_client_status_json`.
    pub(crate) fn to_json(&self) -> String {
        let shards: Vec<Value> =
            self.shards.iter().map(|(id, shard)| self.shard(*id, shard)).collect();
        let limit = self.limit.map(|limit| {
            json!({
                "total": limit.total,
                "remaining": limit.remaining,
                "reset_after_ms": millis(limit.resets_at.saturating_duration_since(self.now)),
                "max_concurrency": limit.max_concurrency,
            })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "stage": self.stage,
            "uptime_ms": millis(self.uptime),
            "fatal": self.fatal,
            "metrics_address": self.metrics_address,
            "sessions_error": self.sessions_error,
            "worker": self.worker,
            "backplane_error": self.backplane_error,
            "store_error": self.store_error,
            "shard_total": self.shard_total,
            "leases": self.leases.as_ref().map(|leases| json!({
                "held": leases.held,
                "share": leases.share,
                "workers": leases.workers,
                "lost": leases.lost,
                "events_refused": leases.refused,
            })),
            "guilds": self.shards.iter().map(|(_, shard)| shard.guilds).sum::<usize>(),
            "session_start_limit": limit,
            "queue": {
                "events": self.queue.events,
                "max_events": self.queue.config.max_events,
                "bytes": self.queue.bytes,
                "max_bytes": self.queue.config.max_bytes,
                "dropped": self.queue.dropped,
            },
            "commands_in_flight": self.queue.commands_in_flight,
            "shards": shards,
        })
        .to_string()
    }

    /// One shard of it.
    fn shard(&self, id: u32, shard: &Snapshot) -> Value {
        let age = shard.last_event_at.map(|at| millis(self.now.saturating_duration_since(at)));
        let reconnects = shard.counters.reconnects;
        let by_cause = Cause::ALL.into_iter().map(|cause| (cause.name(), reconnects.of(cause)));
        let by_cause: BTreeMap<_, _> = by_cause.filter(|(_, count)| *count > 0).collect();
        json!({
            "id": id,
            "state": shard.state,
            "session": shard.session.is_some(),
            "sequence": shard.session.as_ref().map(|session| session.seq),
            "latency_ms": shard.latency_ms,
            "guilds": shard.guilds,
            "guilds_unavailable": shard.guilds_unavailable,
            "guilds_complete": shard.guilds_complete,
            "events": shard.events,
            "bytes_received": shard.bytes_received,
            "bytes_inflated": shard.bytes_inflated,
            "reconnects": reconnects.total(),
            "reconnects_by_cause": by_cause,
            "resumes": shard.counters.resumes,
            "identifies": shard.counters.identifies,
            "queue_depth": self.queue.events_of_shard.get(&id).copied().unwrap_or(0),
            "blocked": shard.blocked,
            "silent": shard.silent,
            "last_event_age_ms": age,
            "commands_held": shard.commands_held,
            "outbound_tokens": shard.commands_left,
            "last_error": shard.last_error,
        })
    }

    /// Whether all shards are ready.
    ///
    /// # Errors
    /// The worst reason why not: `Fatal`, `Closed`, or `State`.
    pub(crate) fn verdict(&self) -> Result<(), Error> {
        if let Some(reason) = &self.fatal {
            return Err(Error::new(ErrorKind::Fatal, reason.clone()));
        }
        match self.stage {
            "running" => {}
            "standby" => {
                let text = "the client waits to take over from other processes";
                return Err(Error::new(ErrorKind::State, text));
            }
            "stopped" => return Err(Error::new(ErrorKind::Closed, "the client has stopped")),
            stage => return Err(Error::new(ErrorKind::State, format!("the client is {stage}"))),
        }
        if let Some(LeaseOverview { held, share, .. }) = self.leases {
            let missing = share.map(|share| (share as usize).saturating_sub(held));
            if missing != Some(0) {
                let share = share.map_or("unknown".to_owned(), |share| share.to_string());
                let text = format!("the client has {held} shards, and its share is {share}");
                return Err(Error::new(ErrorKind::State, text));
            }
        }
        let unready = self.shards.iter().filter(|(_, shard)| shard.state != ShardState::Ready);
        let unready: Vec<_> = unready.collect();
        let Some((id, first)) = unready.first() else { return Ok(()) };
        let why = first.last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        let text = format!(
            "{} of {} shards are not ready; shard {id} is {}{why}",
            unready.len(),
            self.shards.len(),
            first.state
        );
        Err(Error::new(ErrorKind::State, text))
    }
}

/// A duration as JSON has it.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
