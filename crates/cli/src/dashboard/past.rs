//! What was: minutes, incidents and starts, as the engine keeps them in the store.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::{Dashboard, now_ms};

/// Points of a chart: more cannot be told from each other.
const MAX_POINTS: i64 = 240;

/// The longest time that can be asked for: the engine keeps 30 days.
pub(crate) const MAX_MINUTES: i64 = 30 * 24 * 60;

/// Documents that are asked for at once.
const PER_PAGE: usize = 1_000;

/// Pages of incidents that are read for one answer.
const MAX_PAGES: usize = 10;

/// Minutes that are asked for at the same time.
const AT_ONCE: usize = 16;

const MINUTE_MS: i64 = 60_000;

/// Documents by key, and the key to go on with.
type Page = (BTreeMap<String, Value>, Option<String>);

/// All processes in one minute.
#[derive(Debug, Default, Clone, PartialEq)]
struct Minute {
    at_ms: i64,
    events_per_second: f64,
    guilds: u64,
    latency: Vec<f64>,
    ready: u64,
    shards: u64,
    reconnects: u64,
}

impl Minute {
    fn add(&mut self, record: &Value) {
        self.events_per_second += record["events_per_second"].as_f64().unwrap_or(0.0);
        self.guilds += record["guilds"].as_u64().unwrap_or(0);
        self.latency.extend(record["latency_ms"]["mean"].as_f64());
        let states = record["states"].as_object().into_iter().flatten();
        for (state, count) in states {
            let count = count.as_u64().unwrap_or(0);
            self.shards += count;
            self.ready += if state == "ready" { count } else { 0 };
        }
    }
}

impl Dashboard {
    /// Totals of the last minutes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn history(&self, minutes: i64) -> Result<Value, String> {
        let minutes = minutes.clamp(1, MAX_MINUTES);
        let now = now_ms();
        let found = if self.observer.has_store() {
            self.minutes(now / MINUTE_MS - minutes, now / MINUTE_MS).await?
        } else {
            self.remembered(now - minutes * MINUTE_MS)
        };
        let column = |value: fn(&Minute) -> Value| found.iter().map(value).collect::<Value>();
        let mean = |minute: &Minute| {
            let count = minute.latency.len();
            (count > 0).then(|| (minute.latency.iter().sum::<f64>() / count as f64).round()).into()
        };
        Ok(json!({
            "source": if self.observer.has_store() { "store" } else { "memory" },
            "at_ms": column(|minute| minute.at_ms.into()),
            "events_per_second": column(|minute| ((minute.events_per_second * 10.0).round() / 10.0).into()),
            "guilds": column(|minute| minute.guilds.into()),
            "latency_ms": column(mean),
            "reconnects": column(|minute| minute.reconnects.into()),
            "ready": column(|minute| minute.ready.into()),
            "shards": column(|minute| minute.shards.into()),
        }))
    }

    /// Some of these minutes, as the store has them.
    async fn minutes(&self, first: i64, last: i64) -> Result<Vec<Minute>, String> {
        let step = (last - first) / MAX_POINTS + 1;
        // Each chart has the same moments, whenever it is asked for.
        let wanted: Vec<i64> = (first..=last).filter(|minute| minute % step == 0).collect();
        let mut found = Vec::new();
        for some in wanted.chunks(AT_ONCE) {
            let asked = some.iter().map(|minute| async move {
                let prefix = format!("{minute:010}/");
                self.list("_history", &[("prefix", json!(prefix)), ("limit", json!(PER_PAGE))])
                    .await
            });
            for (minute, (page, _)) in some.iter().zip(try_join_all(asked).await?) {
                let mut all = Minute { at_ms: minute * MINUTE_MS, ..Minute::default() };
                for record in page.values() {
                    all.add(record);
                }
                if !page.is_empty() {
                    found.push(all);
                }
            }
        }
        let incidents = self.incidents_between(first * MINUTE_MS, i64::MAX).await?;
        for incident in incidents.values().filter(|it| it["kind"] == "reconnected") {
            let at_ms = incident["at_ms"].as_i64().unwrap_or(0);
            let of = found.iter_mut().rev().find(|minute| minute.at_ms <= at_ms);
            if let Some(minute) = of {
                minute.reconnects += incident["count"].as_u64().unwrap_or(1);
            }
        }
        Ok(found)
    }

    /// The same as far as this process has seen it.
    fn remembered(&self, since_ms: i64) -> Vec<Minute> {
        let rates = self.rates.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let samples = rates.totals_since(since_ms);
        let step = samples.len().div_ceil(usize::try_from(MAX_POINTS).unwrap_or(1)).max(1);
        let mut before = samples.first().map_or(0, |sample| sample.reconnects);
        let minutes = samples.iter().skip(step - 1).step_by(step).map(|sample| {
            let reconnects = sample.reconnects.saturating_sub(before);
            before = sample.reconnects;
            Minute {
                at_ms: sample.at_ms,
                events_per_second: sample.events_per_second,
                guilds: sample.guilds,
                latency: sample.latency_ms.map(|latency| latency as f64).into_iter().collect(),
                ready: sample.ready.into(),
                shards: sample.shards as u64,
                reconnects,
            }
        });
        minutes.collect()
    }

    /// Incidents from one moment to another, by key; the newest of very many.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn incidents_between(
        &self,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<BTreeMap<String, Value>, String> {
        let mut after = json!(moment(from_ms));
        let end = moment(to_ms);
        let mut found = BTreeMap::new();
        for _ in 0..MAX_PAGES {
            let keys = [("after", after), ("limit", json!(PER_PAGE))];
            let (page, next) = self.list("_incidents", &keys).await?;
            found.extend(page.into_iter().filter(|(key, _)| *key < end));
            match next {
                Some(next) if next < end => after = json!(next),
                _ => break,
            }
        }
        Ok(found)
    }

    /// So many incidents before a key, and the key to go on with.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn incidents(
        &self,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Value, String> {
        let end_ms = before.and_then(|key| key.split('/').next()?.parse().ok());
        let end_ms: i64 = end_ms.unwrap_or_else(|| now_ms() + MINUTE_MS);
        // Further and further back, for most days have few.
        for days in [1, 7, 30] {
            let from_ms = end_ms - days * 24 * 60 * MINUTE_MS;
            let mut found = self.incidents_between(from_ms, end_ms.saturating_add(1)).await?;
            found.retain(|key, _| before.is_none_or(|before| key.as_str() < before));
            if found.len() < limit && days < 30 {
                continue;
            }
            let has_more = found.len() > limit;
            let newest = found.into_iter().rev().take(limit).map(|(key, mut incident)| {
                incident["key"] = json!(key);
                incident
            });
            let newest: Vec<Value> = newest.collect();
            let next = newest.last().filter(|_| has_more).map(|last| last["key"].clone());
            return Ok(json!({"incidents": newest, "next": next}));
        }
        Ok(json!({"incidents": [], "next": null}))
    }

    /// The newest starts of processes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn starts(&self, limit: usize) -> Result<Value, String> {
        let since = moment(now_ms() - MAX_MINUTES * MINUTE_MS);
        let mut all = BTreeMap::new();
        let mut after = json!(since);
        for _ in 0..MAX_PAGES {
            let keys = [("after", after), ("limit", json!(PER_PAGE))];
            let (page, next) = self.list("_deploys", &keys).await?;
            all.extend(page);
            let Some(next) = next else { break };
            after = json!(next);
        }
        let newest: Vec<Value> = all.into_values().rev().take(limit).collect();
        Ok(json!({"starts": newest}))
    }

    /// Documents of a collection, by key, and the key to go on with.
    async fn list(&self, collection: &str, keys: &[(&str, Value)]) -> Result<Page, String> {
        let mut command = json!({"type": "store_list", "collection": collection});
        for (key, value) in keys {
            command[*key] = value.clone();
        }
        let mut page = self.command(&command).await?;
        let documents = page["documents"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let read = |mut document: Value| {
            Some((document["key"].as_str()?.to_owned(), document["value"].take()))
        };
        let next = page["next"].as_str().map(str::to_owned);
        Ok((documents.into_iter().filter_map(read).collect(), next))
    }
}

/// What keys of this moment begin with.
fn moment(at_ms: i64) -> String {
    format!("{:015}", at_ms.clamp(0, 999_999_999_999_999))
}
