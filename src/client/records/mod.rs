//! What the engine itself keeps in the store: how its shards fared over time, what went wrong, and when
//! clients started and stopped. For people and dashboards; the engine reads none of it.
//!
//! Whoever has something to tell does so without waiting: it is put together in memory, and one task brings
//! it to the store. Another task looks at the shards once a minute.

mod deploy;
mod incidents;
mod waiting;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use self::deploy::Deploy;
use self::incidents::{Incident, Incidents};
pub(super) use self::incidents::{Kind, News};
use self::waiting::{Record, Waiting};
use super::shared::{Shared, lock};
use super::worker::Rate;
use crate::config::{
    LAST_RECORDS_PATIENCE, MAX_DEPLOYS_KEPT, MAX_HISTORY_KEPT, MAX_INCIDENTS_KEPT, RECORDS_KEPT,
};
use crate::error::Error;
use crate::sessions::wall_ms;
use crate::shard::{StateChange, StopMode};
use crate::store::Store;

/// Where each minute's figures are.
const HISTORY: &str = "_history";

/// Where it is what went wrong.
const INCIDENTS: &str = "_incidents";

/// Where starts and stops are.
const DEPLOYS: &str = "_deploys";

/// A minute, the unit of history.
const MINUTE_MS: i64 = 60_000;

/// Time between two looks for what is too old.
const TRIM_EVERY: Duration = Duration::from_secs(60 * 60);

/// Time between two attempts to store something while the store does not take it.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// The records of one client.
#[derive(Debug)]
pub(super) struct Records {
    /// What the client is called in them.
    worker: String,
    found: Mutex<Found>,
    /// Something can be stored.
    stores: Notify,
    /// Something happened.
    looks: Notify,
}

/// What is known and not stored yet.
#[derive(Debug)]
struct Found {
    incidents: Incidents,
    deploy: Deploy,
    waiting: Waiting,
    /// Incidents since the start: what happens in the same millisecond has keys of its own.
    number: u64,
    /// Whether all shards have been ready.
    was_ready: bool,
    /// They were so just now, for the first time.
    is_ready_now: bool,
}

impl Records {
    /// Nothing yet. The worker is what the client is called on the backplane, if it has one.
    pub(super) fn new(worker: Option<&str>) -> Self {
        let now_ms = wall_ms();
        let worker = worker.map_or_else(|| format!("{:016x}", fastrand::u64(..)), str::to_owned);
        let found = Found {
            incidents: Incidents::new(now_ms),
            deploy: Deploy::new(&worker, now_ms),
            waiting: Waiting::default(),
            number: 0,
            was_ready: false,
            is_ready_now: false,
        };
        Self { worker, found: Mutex::new(found), stores: Notify::new(), looks: Notify::new() }
    }

    /// A shard changed its state.
    pub(super) fn changed(&self, shard_id: u32, change: &StateChange) {
        let is_sooner = lock(&self.found).incidents.changed(wall_ms(), shard_id, change);
        if is_sooner {
            self.looks.notify_one();
        }
    }

    /// Something happened.
    pub(super) fn add(&self, news: News) {
        lock(&self.found).incidents.add(wall_ms(), news);
        self.looks.notify_one();
    }

    /// Other shards took over.
    pub(super) fn switched(&self) {
        lock(&self.found).incidents.forget_outages();
    }

    /// All shards are ready, or are so again.
    pub(super) fn ready(&self) {
        let mut found = lock(&self.found);
        if !std::mem::replace(&mut found.was_ready, true) {
            found.is_ready_now = true;
            drop(found);
            self.looks.notify_one();
        }
    }

    /// Stores what there is to store, for ever.
    async fn store(&self, store: &Store) {
        let mut trimmed_at: Option<Instant> = None;
        let mut is_failing = false;
        loop {
            let next = lock(&self.found).waiting.next();
            let Some(record) = next else {
                if trimmed_at.is_none_or(|at| at.elapsed() >= TRIM_EVERY) {
                    trimmed_at = Some(Instant::now());
                    self.trim(store).await;
                    continue;
                }
                self.stores.notified().await;
                continue;
            };
            match store.note(record.collection, &record.key, &record.value).await {
                Ok(()) => {
                    if std::mem::take(&mut is_failing) {
                        info!("the engine's own records are stored again");
                    }
                    let lost = lock(&self.found).waiting.stored(&record);
                    if lost > 0 {
                        warn!(
                            "{lost} of the engine's own records were lost while the store was away"
                        );
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        warn!("the engine's own records wait: {error}");
                    }
                    sleep(RETRY_EVERY).await;
                }
            }
        }
    }

    /// Deletes what is too old, or too much.
    async fn trim(&self, store: &Store) {
        let oldest_ms = wall_ms() - i64::try_from(RECORDS_KEPT.as_millis()).unwrap_or(i64::MAX);
        for (collection, before, most) in [
            (HISTORY, minute_key(oldest_ms), MAX_HISTORY_KEPT),
            (INCIDENTS, moment_key(oldest_ms), MAX_INCIDENTS_KEPT),
            (DEPLOYS, moment_key(oldest_ms), MAX_DEPLOYS_KEPT),
        ] {
            // The next time will do as well.
            let _ = store.trim(collection, &before, most).await;
        }
    }
}

impl Found {
    fn push(&mut self, collection: &'static str, key: String, value: &Value) {
        self.waiting.push(Record { collection, key, value: value.to_string() });
    }

    /// Takes down incidents that can be stored.
    fn push_incidents(&mut self, worker: &str, incidents: Vec<Incident>) {
        for Incident { at_ms, mut value } in incidents {
            self.number += 1;
            value["worker"] = json!(worker);
            let key = format!("{}/{worker}/{}", moment_key(at_ms), self.number);
            self.push(INCIDENTS, key, &value);
        }
    }

    /// Takes down how it stands with this start.
    fn push_deploy(&mut self, worker: &str) {
        let (key, value) = (self.deploy.key(worker), self.deploy.to_json());
        self.push(DEPLOYS, key, &value);
    }
}

impl Shared {
    /// Keeps the engine's own records, for as long as the client lives.
    pub(super) fn keep_records(self: &Arc<Self>) {
        let mut tasks = lock(&self.tasks);
        let shared = Arc::clone(self);
        tasks.spawn(async move {
            if let (Some(records), Some(store)) = (&shared.records, &shared.store) {
                records.store(store).await;
            }
        });
        tasks.spawn(Arc::clone(self).look_for_records());
    }

    /// Something happened that people may want to know of later.
    pub(super) fn record_news(
        &self,
        kind: Kind,
        shard: Option<u32>,
        text: impl Into<String>,
        close_code: Option<u16>,
    ) {
        if let Some(records) = &self.records {
            records.add(News { kind, shard, text: text.into(), close_code });
        }
    }

    /// Looks at the shards once a minute, and takes down what happened when it is due.
    async fn look_for_records(self: Arc<Self>) {
        let Some(records) = &self.records else { return };
        let rate = Rate::default();
        self.sums(&rate);
        {
            let mut found = lock(&records.found);
            found.deploy.started(wall_ms(), &self.config);
            found.push_deploy(&records.worker);
        }
        records.stores.notify_one();
        let mut minute = wall_ms() / MINUTE_MS;
        loop {
            let now_ms = wall_ms();
            let is_ready_now = std::mem::take(&mut lock(&records.found).is_ready_now);
            if is_ready_now || now_ms / MINUTE_MS != minute {
                minute = now_ms / MINUTE_MS;
                let value = self.figures(&records.worker, now_ms, &rate);
                let key = format!("{}/{}", minute_key(now_ms), records.worker);
                lock(&records.found).push(HISTORY, key, &value);
            }
            if is_ready_now {
                let stage = self.stage();
                let mut found = lock(&records.found);
                if let Some(fleet) = stage.fleet() {
                    found.deploy.ready(now_ms, fleet);
                }
                found.push_deploy(&records.worker);
            }
            let due_at_ms = {
                let mut found = lock(&records.found);
                let due = found.incidents.due(now_ms);
                found.push_incidents(&records.worker, due);
                let next_minute_ms = (minute + 1) * MINUTE_MS;
                found.incidents.due_at_ms().map_or(next_minute_ms, |at| at.min(next_minute_ms))
            };
            records.stores.notify_one();
            // At most a minute, whatever becomes of the clock.
            let wait_ms = (due_at_ms - now_ms).clamp(1, MINUTE_MS);
            let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(1));
            tokio::select! {
                () = sleep(wait) => {}
                () = records.looks.notified() => {}
            }
        }
    }

    /// How its shards fare.
    fn figures(&self, worker: &str, now_ms: i64, rate: &Rate) -> Value {
        let (sums, _) = self.sums(rate);
        let stage = self.stage();
        let members = stage.fleet().into_iter().flat_map(|fleet| fleet.members.values());
        let latencies: Vec<u64> =
            members.filter_map(|member| member.status.get().latency_ms).collect();
        let mean =
            (!latencies.is_empty()).then(|| latencies.iter().sum::<u64>() / latencies.len() as u64);
        let mut value = json!(sums);
        value["at_ms"] = json!(now_ms);
        value["worker"] = json!(worker);
        value["shard_total"] = json!(stage.fleet().map(|fleet| fleet.total.get()));
        value["latency_ms"] = json!({"mean": mean, "highest": latencies.iter().max()});
        value["queue_events"] = json!(self.queue.len());
        value["dropped"] = json!(self.queue.dropped_total());
        value
    }

    /// The client has stopped: its last records are stored, unless the store takes too long.
    pub(super) async fn store_last_records(&self) {
        let (Some(records), Some(store)) = (&self.records, &self.store) else { return };
        let mode = *self.stop.borrow();
        {
            let now_ms = wall_ms();
            let mut found = lock(&records.found);
            let rest = found.incidents.rest();
            found.push_incidents(&records.worker, rest);
            found.deploy.stopped(now_ms, mode.unwrap_or(StopMode::Abort));
            found.push_deploy(&records.worker);
        }
        if store.trouble().is_some() {
            return;
        }
        let work = async {
            loop {
                let next = lock(&records.found).waiting.next();
                let Some(record) = next else { return Ok::<_, Error>(()) };
                store.note(record.collection, &record.key, &record.value).await?;
                lock(&records.found).waiting.stored(&record);
            }
        };
        if !matches!(timeout(LAST_RECORDS_PATIENCE, work).await, Ok(Ok(()))) {
            warn!("the last of the engine's own records were not stored");
        }
    }
}

/// What the keys of a minute begin with.
fn minute_key(at_ms: i64) -> String {
    format!("{:010}", at_ms / MINUTE_MS)
}

/// What the keys of a moment begin with.
fn moment_key(at_ms: i64) -> String {
    format!("{at_ms:015}")
}
