//! How fast things go, and how they went in the last minutes.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::state::Totals;
use crate::view::View;

/// Time between two samples: workers say so often how they are.
const SAMPLE_EVERY: Duration = Duration::from_secs(3);

/// Time that a rate is taken over. Twice as long as workers take to say something new, so that it does not swing.
const RATE_OVER: Duration = Duration::from_secs(6);

/// Samples that are kept of each shard: ten minutes.
const MAX_SAMPLES: usize = 200;

/// Samples of all together: an hour and a half.
const MAX_TOTALS: usize = 1_800;

/// What is known of the last minutes.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    sampled_at: Option<Instant>,
    shards: BTreeMap<u32, Shard>,
    /// Processor time of workers, by their id.
    workers: BTreeMap<String, Counter>,
    totals: VecDeque<Total>,
}

#[derive(Debug, Default)]
struct Shard {
    events: Counter,
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ms: i64,
    events_per_second: f64,
    latency_ms: Option<u64>,
}

/// All shards together at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Total {
    pub(crate) at_ms: i64,
    pub(crate) events_per_second: f64,
    pub(crate) guilds: u64,
    pub(crate) latency_ms: Option<u64>,
    pub(crate) ready: u32,
    pub(crate) shards: usize,
    /// Since the workers of that moment started.
    pub(crate) reconnects: u64,
}

/// Something that only grows, at a few moments of the last seconds.
#[derive(Debug, Default)]
struct Counter(VecDeque<(Instant, u64)>);

impl Counter {
    fn note(&mut self, now: Instant, count: u64) {
        // It begins anew with each process.
        if self.0.back().is_some_and(|(_, last)| count < *last) {
            self.0.clear();
        }
        while self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= RATE_OVER) {
            self.0.pop_front();
        }
        self.0.push_back((now, count));
    }

    /// Per second.
    fn rate(&self) -> Option<f64> {
        let ((began, first), (ended, last)) = (self.0.front()?, self.0.back()?);
        let seconds = ended.duration_since(*began).as_secs_f64();
        (seconds > 0.0).then(|| (last - first) as f64 / seconds)
    }
}

impl Rates {
    /// Takes a sample, if it is time for one or there is a shard without any.
    pub(crate) fn note(&mut self, view: &View, totals: &Totals, now: Instant, now_ms: i64) {
        let is_early = self.sampled_at.is_some_and(|at| now.duration_since(at) < SAMPLE_EVERY);
        let running = view.workers.iter().flat_map(|worker| &worker.shards);
        if is_early && running.into_iter().all(|shard| self.shards.contains_key(&shard.shard)) {
            return;
        }
        self.sampled_at = Some(now);
        for worker in &view.workers {
            if let Some(cpu_ms) = worker.cpu_ms {
                self.workers.entry(worker.id.clone()).or_default().note(now, cpu_ms);
            }
        }
        self.workers.retain(|id, _| view.workers.iter().any(|worker| worker.id == *id));
        for (shard, here) in (0..).zip(view.shards()) {
            let Some((_, newest)) = here.iter().max_by_key(|(worker, _)| worker.started_at_ms)
            else {
                continue;
            };
            let known = self.shards.entry(shard).or_default();
            known.events.note(now, newest.events);
            push(
                &mut known.samples,
                MAX_SAMPLES,
                Sample {
                    at_ms: now_ms,
                    events_per_second: one_digit(known.events.rate().unwrap_or(0.0)),
                    latency_ms: newest.latency_ms,
                },
            );
        }
        self.shards.retain(|shard, _| (*shard as usize) < totals.shards);
        let sample = Total {
            at_ms: now_ms,
            events_per_second: totals.events_per_second,
            guilds: totals.guilds,
            latency_ms: totals.latency_ms,
            ready: totals.states.get("ready").copied().unwrap_or(0),
            shards: totals.shards,
            reconnects: totals.reconnects,
        };
        push(&mut self.totals, MAX_TOTALS, sample);
    }

    /// Of one shard, in the last seconds.
    pub(crate) fn events_per_second(&self, shard: u32) -> f64 {
        let known = self.shards.get(&shard).and_then(|shard| shard.samples.back());
        known.map_or(0.0, |sample| sample.events_per_second)
    }

    /// Of one worker: 100 is one core.
    pub(crate) fn cpu_percent(&self, worker: &str) -> Option<f64> {
        let rate = self.workers.get(worker)?.rate()?;
        Some(one_digit(rate / 10.0))
    }

    /// The last minutes of one shard; `None` when it is not known.
    pub(crate) fn of_shard(&self, shard: u32) -> Option<Value> {
        let samples = &self.shards.get(&shard)?.samples;
        let column = |value: fn(&Sample) -> Value| samples.iter().map(value).collect::<Value>();
        Some(json!({
            "shard": shard,
            "at_ms": column(|sample| sample.at_ms.into()),
            "events_per_second": column(|sample| sample.events_per_second.into()),
            "latency_ms": column(|sample| sample.latency_ms.into()),
        }))
    }

    /// All shards together since a moment, oldest first.
    pub(crate) fn totals_since(&self, since_ms: i64) -> Vec<Total> {
        self.totals.iter().filter(|total| total.at_ms >= since_ms).cloned().collect()
    }
}

fn push<T>(samples: &mut VecDeque<T>, most: usize, sample: T) {
    if samples.len() == most {
        samples.pop_front();
    }
    samples.push_back(sample);
}

fn one_digit(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut counter = Counter::default();
        assert_eq!(counter.rate(), None);
        for (seconds, count) in [(0, 100), (3, 130), (6, 190), (9, 190)] {
            counter.note(at(seconds), count);
        }
        // From 3 s to 9 s.
        assert_eq!(counter.rate(), Some(10.0));
        counter.note(at(12), 4);
        assert_eq!(counter.rate(), None, "another process");
        counter.note(at(15), 7);
        assert_eq!(counter.rate(), Some(1.0));
    }
}
