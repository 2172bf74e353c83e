//! A client in numbers, as Prometheus takes them.
//!
//! The registry is made for each scrape and filled from an [`Overview`]: nothing global, and nothing
//! on the path of events that is there for metrics alone. Labels have few values that are known
//! beforehand: the shard, the cause of a reconnect, the class of a REST route. Guilds are too many, and
//! histograms are the client's, not each shard's. Every series is there from the start, with zero: what
//! appears with its first event cannot be seen to grow by it.
//!
//! `docs/monitoring.md` has a table of them that `make generate` writes.

use std::fmt::{self, Debug};
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::health::{BackplaneOverview, Overview, StoreOverview};
use crate::shard::status::Snapshot;
use crate::shard::{Cause, ShardState};
use crate::usage::{JOB_STEPS, RESULTS, Traffic, Used};

/// The label of what there is per shard.
#[derive(Debug, EncodeLabelSet)]
struct Shard {
    shard: u32,
}

/// The labels of reconnects.
#[derive(Debug, EncodeLabelSet)]
struct ShardAndCause {
    shard: u32,
    cause: &'static str,
}

/// The labels of REST requests: the class of the route, and that of the status.
#[derive(Debug, EncodeLabelSet)]
struct RouteAndStatus {
    route: &'static str,
    status: &'static str,
}

/// The label of answers with status 429.
#[derive(Debug, EncodeLabelSet)]
struct Scope {
    scope: &'static str,
}

/// The label of commands by what came of them.
#[derive(Debug, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

/// The label of jobs by what became of them.
#[derive(Debug, EncodeLabelSet)]
struct ByStep {
    step: &'static str,
}

/// A gauge that can hold fractions.
type FloatGauge = Gauge<f64, AtomicU64>;

/// The metrics of a client, in the OpenMetrics format.
pub(crate) fn to_openmetrics(overview: &Overview) -> String {
    let mut registry = Registry::with_prefix("shardwright");
    let mut page = Page { registry: &mut registry, overview };
    page.client();
    page.queue();
    page.session_starts();
    page.shards();
    page.timings();
    page.rest();
    page.backplane();
    page.leases();
    page.store();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

/// The same in Prometheus' older text format, 0.0.4, for whoever asks for no other: there a counter's
/// comments name it as its samples do, with `_total`, and units have no line.
pub(crate) fn to_prometheus_text(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    // HELP comes before the TYPE that says whether it is a counter.
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(comment) = line.strip_prefix("# HELP ") {
            help = comment.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|comment| comment.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            if let Some((_, help)) = help.take() {
                text.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with("# ") {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// A registry being filled.
struct Page<'a> {
    registry: &'a mut Registry,
    overview: &'a Overview,
}

impl Page<'_> {
    /// The client as a whole.
    fn client(&mut self) {
        let overview = self.overview;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        self.add("build", "The library", None, version);
        let uptime = overview.uptime.as_secs_f64();
        self.seconds("uptime", "Time since the client was made", uptime);
        self.gauge("shards", "Shards run here", overview.shards.len());
        self.gauge(
            "client_fatal",
            "Whether the client, or a shard, was refused for good",
            usize::from(overview.fatal.is_some()),
        );
    }

    /// The event queue.
    fn queue(&mut self) {
        let queue = &self.overview.queue;
        self.gauge("queue_events", "Events in the queue", queue.events);
        let help = "Bound of the events in the queue";
        self.gauge("queue_events_limit", help, queue.config.max_events);
        self.gauge("queue_bytes", "Bytes in the queue and with the host", queue.bytes);
        let help = "Bound of the bytes in the queue and with the host";
        self.gauge("queue_bytes_limit", help, queue.config.max_bytes);
        let help = "Events dropped because the queue was full";
        self.add("queue_dropped", help, None, counter(queue.dropped));
        let help = "Commands without a polled reply";
        self.gauge("commands_in_flight", help, queue.commands_in_flight);
    }

    /// Leases, if all shards are shared with other processes.
    fn leases(&mut self) {
        let Some(leases) = &self.overview.leases else { return };
        self.gauge("leases_held", "Shards that are leased to this process", leases.held);
        let help = "Shards that this process should have";
        self.gauge("lease_share", help, leases.share.unwrap_or(0) as usize);
        let help = "Processes among which all shards are shared out";
        self.gauge("lease_workers", help, leases.workers as usize);
        let help = "Leases that ended before they were given up";
        self.add("leases_lost", help, None, counter(leases.lost));
        let help =
            "Events that the host did not get because their shard may have been another process's";
        self.add("lease_events_refused", help, None, counter(leases.refused));
    }

    /// The session start limit, once it is known.
    fn session_starts(&mut self) {
        let Some(limit) = self.overview.limit else { return };
        self.gauge("session_starts", "Session starts allowed per day", limit.total as usize);
        let remaining = limit.remaining as usize;
        self.gauge("session_starts_remaining", "Session starts left today", remaining);
        let reserve = self.overview.budget_reserve as usize;
        self.gauge("session_starts_reserve", "Session starts that are never used", reserve);
        let resets_in = limit.resets_at.saturating_duration_since(self.overview.now);
        let help = "Time until all session starts are there again";
        self.seconds("session_starts_reset", help, resets_in.as_secs_f64());
    }

    /// The shards.
    fn shards(&mut self) {
        self.counters("events", "Dispatches received", None, |s| s.events);
        let bytes = || Some(Unit::Bytes);
        self.counters("received", "Websocket messages as they came", bytes(), |s| s.bytes_received);
        let help = "Websocket messages, decompressed";
        self.counters("inflated", help, bytes(), |s| s.bytes_inflated);
        self.reconnects();
        self.counters("resumes", "RESUMEs sent", None, |s| s.counters.resumes);
        self.counters("identifies", "IDENTIFYs sent", None, |s| s.counters.identifies);
        let help = "Dispatches dropped because they had come before";
        self.counters("duplicates", help, None, |s| s.counters.duplicates);
        let help = "Messages that were no payload";
        self.counters("bad_payloads", help, None, |s| s.counters.bad_payloads);

        let help = "Whether the shard is ready";
        self.gauges("ready", help, |s| usize::from(s.state == ShardState::Ready));
        let help = "Whether Discord refused the shard for good";
        self.gauges("fatal", help, |s| usize::from(s.state == ShardState::Fatal));
        let help = "Whether no event has come for longer than is normal for the shard";
        self.gauges("silent", help, |s| usize::from(s.silent));
        self.gauges("guilds", "Guilds on the shard", |s| s.guilds);
        let help = "Guilds in an outage or not sent yet";
        self.gauges("guilds_unavailable", help, |s| s.guilds_unavailable);
        let help = "Commands that wait for a session or the rate limit";
        self.gauges("commands_held", help, |s| s.commands_held);
        let help = "Commands that may be sent at once";
        self.gauges("outbound_tokens", help, |s| s.commands_left);
        let help = "Whether the socket is left unread because the queue is full";
        self.gauges("blocked", help, |s| usize::from(s.blocked));

        let of_shard = &self.overview.queue.events_of_shard;
        let depths = self.overview.shards.iter();
        let depths = depths.map(|(shard, _)| (*shard, of_shard.get(shard).copied().unwrap_or(0)));
        let depths = depths.map(|(shard, depth)| (Shard { shard }, gauge(depth)));
        self.family("shard_queue_events", "Events of the shard in the queue", None, depths);

        let now = self.overview.now;
        self.shard_seconds("last_event_age", "Time since the last dispatch", |s| {
            s.last_event_at.map(|at| now.saturating_duration_since(at).as_secs_f64())
        });
        self.shard_seconds("latency", "Time between the last heartbeat and its ACK", |s| {
            s.latency_ms.map(|latency_ms| latency_ms as f64 / 1_000.0)
        });
    }

    /// Reconnects by cause. There are a dozen causes, and all of them for every shard: which shards
    /// are in trouble, and with what, is what somebody with an outage wants to know.
    fn reconnects(&mut self) {
        let all = self.overview.shards.iter().flat_map(|(shard, snapshot)| {
            Cause::ALL.into_iter().map(|cause| {
                let count = counter(snapshot.counters.reconnects.of(cause));
                (ShardAndCause { shard: *shard, cause: cause.name() }, count)
            })
        });
        let help = "Connection attempts after the first, by what ended the one before";
        self.family("reconnects", help, None, all);
    }

    /// What takes time, all shards together.
    fn timings(&mut self) {
        let overview = self.overview;
        let seconds = || Some(Unit::Seconds);
        let help = "Time from heartbeats to their ACKs";
        self.add("heartbeat_latency", help, seconds(), overview.heartbeat_latency.clone());
        let help = "Time in line at the identify gate";
        self.add("identify_wait", help, seconds(), overview.identify_wait.clone());
        let help = "Time from a command's arrival at its shard to the moment it was sent";
        self.add("outbound_wait", help, seconds(), overview.outbound_wait.clone());
    }

    /// The REST client.
    fn rest(&mut self) {
        let rest = self.overview.rest.metrics();
        let answers = rest.answers_by_route().filter_map(|(route, class, count)| {
            let status = match class {
                2 => "2xx",
                3 => "3xx",
                4 => "4xx",
                5 => "5xx",
                // Only what comes before an answer has this.
                _ => return None,
            };
            Some((RouteAndStatus { route, status }, counter(count)))
        });
        let unanswered = rest.unanswered_by_route();
        let unanswered = unanswered
            .map(|(route, count)| (RouteAndStatus { route, status: "none" }, counter(count)));
        let help = "Attempts of REST requests, by first word of the path and answer";
        self.family("rest_requests", help, None, answers.chain(unanswered));
        let limited = rest
            .rate_limited()
            .map(|(scope, count)| (Scope { scope: scope.as_str() }, counter(count)));
        self.family("rest_rate_limited", "Answers with status 429", None, limited);
        let help = "Answers that Discord counts as invalid requests (401, 403, 429)";
        self.add("rest_invalid_requests", help, None, counter(rest.invalid()));
        let help = "REST requests that had to wait for their turn";
        self.add("rest_waits", help, None, counter(rest.waits()));
        let wait = Counter::<f64, AtomicU64>::default();
        wait.inc_by(rest.wait_ms() as f64 / 1_000.0);
        self.add(
            "rest_wait",
            "Time that REST requests spent waiting for their turn",
            Some(Unit::Seconds),
            wait,
        );
        self.gauge("rest_waiting", "REST requests in line", rest.waiting() as usize);
        self.gauge("rest_in_flight", "REST requests on the wire", rest.in_flight() as usize);
    }

    /// The backplane, if there is one.
    fn backplane(&mut self) {
        let overview = self.overview;
        let Some(BackplaneOverview { is_up, used, traffic }) = &overview.backplane else { return };
        self.gauge("backplane_up", "Whether the backplane can be used", usize::from(*is_up));
        let help = "Commands for the backplane, by what came of them";
        self.family("backplane_commands", help, None, by_result(used));
        let help = "Time that commands for the backplane took, but for calls";
        self.add("backplane_command", help, Some(Unit::Seconds), used.time.clone());
        let Traffic { published, received, jobs, jobs_running } = traffic;
        let help = "Messages and calls sent to the bot's processes";
        self.add("messages_published", help, None, counter(*published));
        let help = "Messages and calls for this process";
        self.add("messages_received", help, None, counter(*received));
        let help = "Messages and calls dropped because the host did not take them";
        self.add("messages_dropped", help, None, counter(overview.queue.mail_dropped));
        let jobs = JOB_STEPS.into_iter().zip(jobs);
        let jobs = jobs.map(|(step, count)| (ByStep { step }, counter(*count)));
        self.family("jobs", "Jobs of this process, by what became of them here", None, jobs);
        self.gauge("jobs_running", "Jobs that the host works on", *jobs_running);
    }

    /// The store, if there is one.
    fn store(&mut self) {
        let Some(StoreOverview { is_up, used }) = &self.overview.store else { return };
        self.gauge("store_up", "Whether the store can be used", usize::from(*is_up));
        let help = "Commands for the store, by what came of them";
        self.family("store_commands", help, None, by_result(used));
        let help = "Time that commands for the store took";
        self.add("store_command", help, Some(Unit::Seconds), used.time.clone());
    }

    // -- one metric ------------------------------------------------------------------------------

    /// One counter per shard.
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        of: impl Fn(&Snapshot) -> u64,
    ) {
        let shards = self.overview.shards.iter();
        let counters = shards.map(|(shard, s)| (Shard { shard: *shard }, counter(of(s))));
        self.family(name, help, unit, counters);
    }

    /// One gauge per shard.
    fn gauges(&mut self, name: &str, help: &str, of: impl Fn(&Snapshot) -> usize) {
        let shards = self.overview.shards.iter();
        let gauges = shards.map(|(shard, s)| (Shard { shard: *shard }, gauge(of(s))));
        self.family(name, help, None, gauges);
    }

    /// A time for each shard that has one.
    fn shard_seconds(&mut self, name: &str, help: &str, of: impl Fn(&Snapshot) -> Option<f64>) {
        let shards = self.overview.shards.iter();
        let gauges = shards.filter_map(|(shard, s)| Some((Shard { shard: *shard }, float(of(s)?))));
        self.family(name, help, Some(Unit::Seconds), gauges);
    }

    /// A time.
    fn seconds(&mut self, name: &str, help: &str, value: f64) {
        self.add(name, help, Some(Unit::Seconds), float(value));
    }

    /// One gauge.
    fn gauge(&mut self, name: &str, help: &str, value: usize) {
        self.add(name, help, None, gauge(value));
    }

    /// Metrics with labels.
    fn family<L, M>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        all: impl Iterator<Item = (L, M)>,
    ) where
        L: EncodeLabelSet + Debug + Send + Sync + 'static,
        M: Metric + TypedMetric,
    {
        self.add(name, help, unit, Series(all.collect()));
    }

    /// One metric.
    fn add(&mut self, name: &str, help: &str, unit: Option<Unit>, metric: impl Metric) {
        match unit {
            Some(unit) => self.registry.register_with_unit(name, help, unit, metric),
            None => self.registry.register(name, help, metric),
        }
    }
}

/// Metrics with labels, in their order. The library's own families are for series that live on, and
/// find them by a hash.
#[derive(Debug)]
struct Series<L, M>(Vec<(L, M)>);

impl<L: EncodeLabelSet, M: EncodeMetric + TypedMetric> EncodeMetric for Series<L, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, metric) in &self.0 {
            metric.encode(encoder.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

/// Commands by what came of them.
fn by_result(used: &Used) -> impl Iterator<Item = (ByResult, Counter)> {
    let results = RESULTS.into_iter().zip(used.results);
    results.map(|(result, count)| (ByResult { result }, counter(count)))
}

/// A counter that stands at this.
fn counter(value: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(value);
    counter
}

/// A gauge that stands at this.
fn gauge(value: usize) -> Gauge {
    let gauge = Gauge::<i64>::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    gauge
}

/// The same with a fraction.
fn float(value: f64) -> FloatGauge {
    let gauge = FloatGauge::default();
    gauge.set(value);
    gauge
}
