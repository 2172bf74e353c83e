//! A client in numbers, in Prometheus' text format.
//!
//! The registry is made for each scrape and filled from an [`Overview`]: nothing global, and nothing
//! on the path of events that is there for metrics alone. The only label is the shard; guilds are too
//! many.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::health::Overview;
use crate::shard::ShardState;
use crate::shard::status::Snapshot;

/// The label of what is counted per shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Shard {
    shard: u32,
}

/// A gauge that can hold fractions.
type FloatGauge = Gauge<f64, AtomicU64>;

/// The metrics of a client.
pub(crate) fn to_text(overview: &Overview) -> String {
    let mut registry = Registry::with_prefix("shardwright");
    let mut page = Page { registry: &mut registry, overview };

    page.counters("events", "Dispatches received", |s| s.events);
    page.counters_of("received", "Websocket messages as they came", Unit::Bytes, |s| {
        s.bytes_received
    });
    page.counters_of("inflated", "The same, decompressed", Unit::Bytes, |s| s.bytes_inflated);
    page.counters("reconnects", "Connection attempts after the first", |s| s.counters.reconnects);
    page.counters("resumes", "RESUMEs sent", |s| s.counters.resumes);
    page.counters("identifies", "IDENTIFYs sent", |s| s.counters.identifies);
    page.counters("duplicates", "Dispatches dropped because they had come before", |s| {
        s.counters.duplicates
    });
    page.counters("bad_payloads", "Messages that were no payload", |s| s.counters.bad_payloads);
    page.gauges("ready", "Whether the shard is ready", |s| {
        Some(i64::from(s.state == ShardState::Ready))
    });
    page.gauges("guilds", "Guilds on the shard", |s| i64::try_from(s.guilds).ok());
    page.gauges("guilds_unavailable", "Those of them in an outage or not sent yet", |s| {
        i64::try_from(s.guilds_unavailable).ok()
    });
    page.gauges("commands_held", "Commands that wait for a session or the rate limit", |s| {
        i64::try_from(s.commands_held).ok()
    });
    page.gauges("blocked", "Whether the socket is left unread because the queue is full", |s| {
        Some(i64::from(s.blocked))
    });
    page.latency();
    page.client();

    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

/// A registry being filled.
struct Page<'a> {
    registry: &'a mut Registry,
    overview: &'a Overview,
}

impl Page<'_> {
    /// One counter per shard.
    fn counters(&mut self, name: &str, help: &str, of: impl Fn(&Snapshot) -> u64) {
        let family = Family::<Shard, Counter>::default();
        self.registry.register(name, help, family.clone());
        for (shard, snapshot) in &self.overview.shards {
            family.get_or_create(&Shard { shard: *shard }).inc_by(of(snapshot));
        }
    }

    /// One counter per shard, with a unit in its name.
    fn counters_of(&mut self, name: &str, help: &str, unit: Unit, of: impl Fn(&Snapshot) -> u64) {
        let family = Family::<Shard, Counter>::default();
        self.registry.register_with_unit(name, help, unit, family.clone());
        for (shard, snapshot) in &self.overview.shards {
            family.get_or_create(&Shard { shard: *shard }).inc_by(of(snapshot));
        }
    }

    /// One gauge per shard that has a value.
    fn gauges(&mut self, name: &str, help: &str, of: impl Fn(&Snapshot) -> Option<i64>) {
        let family = Family::<Shard, Gauge>::default();
        self.registry.register(name, help, family.clone());
        for (shard, snapshot) in &self.overview.shards {
            if let Some(value) = of(snapshot) {
                family.get_or_create(&Shard { shard: *shard }).set(value);
            }
        }
    }

    /// The latency per shard, in Prometheus' base unit.
    fn latency(&mut self) {
        let family = Family::<Shard, FloatGauge>::default();
        let help = "Time between the last heartbeat and its ACK";
        self.registry.register_with_unit("latency", help, Unit::Seconds, family.clone());
        for (shard, snapshot) in &self.overview.shards {
            if let Some(latency_ms) = snapshot.latency_ms {
                family.get_or_create(&Shard { shard: *shard }).set(latency_ms as f64 / 1_000.0);
            }
        }
    }

    /// What is not about one shard.
    fn client(&mut self) {
        let queue = &self.overview.queue;
        self.gauge("queue_events", "Events in the queue", queue.events);
        self.gauge("queue_bytes", "Bytes in the queue and with the host", queue.bytes);
        self.gauge(
            "commands_in_flight",
            "Commands without a polled reply",
            queue.commands_in_flight,
        );
        let dropped = Counter::<u64>::default();
        dropped.inc_by(queue.dropped);
        self.registry.register(
            "queue_dropped",
            "Events dropped because the queue was full",
            dropped,
        );
        if let Some(limit) = self.overview.limit {
            let (total, left) = (limit.total as usize, limit.remaining as usize);
            self.gauge("session_starts", "Session starts allowed per day", total);
            self.gauge("session_starts_remaining", "Session starts left", left);
        }
    }

    /// One gauge of the client.
    fn gauge(&mut self, name: &str, help: &str, value: usize) {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.registry.register(name, help, gauge);
    }
}
