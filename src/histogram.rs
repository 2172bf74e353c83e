//! How long things took, counted by how long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::shard::Measure;

/// Bounds of what takes milliseconds, in seconds: those that Prometheus' own libraries use.
const FAST_S: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Bounds of waits that can be minutes or hours, in seconds.
const SLOW_S: [f64; 11] = [0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0];

/// A histogram that any thread can add to and that takes no lock: the library's own has one of
/// `parking_lot`, whose table of waiting threads does not survive a fork of the host.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// The upper bounds of the buckets, in seconds, ascending.
    bounds_s: &'static [f64; 11],
    /// How many fell into each bucket, the last one being for all that is longer.
    buckets: [AtomicU64; 12],
    /// All times together.
    sum_us: AtomicU64,
}

impl Histogram {
    /// Nothing took any time yet.
    fn new(bounds_s: &'static [f64; 11]) -> Self {
        Self { bounds_s, buckets: Default::default(), sum_us: AtomicU64::new(0) }
    }

    /// The same for what takes milliseconds.
    pub(crate) fn fast() -> Self {
        Self::new(&FAST_S)
    }

    /// Something took so long.
    pub(crate) fn add(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let index = self.bounds_s.partition_point(|bound| *bound < seconds);
        self.buckets[index].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What was added so far.
    pub(crate) fn get(&self) -> Distribution {
        let bounds = self.bounds_s.iter().copied().chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let sum_s = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        Distribution { buckets: bounds.zip(counts).collect(), sum_s }
    }
}

/// What a client takes the time of. For all shards together: a histogram is a dozen series, and a
/// thousand shards of them would be most of what Prometheus stores of a bot. What one shard does is
/// seen in its gauges.
#[derive(Debug)]
pub(crate) struct Timings {
    heartbeat_latency: Histogram,
    identify_wait: Histogram,
    outbound_wait: Histogram,
}

impl Timings {
    /// Nothing was measured yet.
    pub(crate) fn new() -> Self {
        Self {
            heartbeat_latency: Histogram::fast(),
            identify_wait: Histogram::new(&SLOW_S),
            outbound_wait: Histogram::new(&SLOW_S),
        }
    }

    /// One of them.
    pub(crate) fn of(&self, measure: Measure) -> &Histogram {
        match measure {
            Measure::HeartbeatLatency => &self.heartbeat_latency,
            Measure::IdentifyWait => &self.identify_wait,
            Measure::OutboundWait => &self.outbound_wait,
        }
    }
}

/// A histogram as it was at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Distribution {
    /// Upper bounds of the buckets in seconds, and how many fell into each.
    buckets: Vec<(f64, u64)>,
    sum_s: f64,
}

impl EncodeMetric for Distribution {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        let count = self.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum_s, count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_their_buckets() {
        for bounds in [&FAST_S, &SLOW_S] {
            assert!(bounds.is_sorted());
            let histogram = Histogram::new(bounds);
            for bound in bounds {
                histogram.add(Duration::from_secs_f64(*bound));
            }
            histogram.add(Duration::from_secs(1_000_000));
            let Distribution { buckets, sum_s } = histogram.get();
            assert!(buckets.iter().all(|(_, count)| *count == 1), "{buckets:?}");
            assert_eq!(buckets.len(), 12);
            assert!((sum_s - bounds.iter().sum::<f64>() - 1e6).abs() < 0.1, "{sum_s}");
        }
    }
}
