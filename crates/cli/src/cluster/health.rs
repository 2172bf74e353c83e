//! How a worker is doing, as it says itself on the backplane.
//!
//! A process may run and do nothing: a host that hangs keeps its pid. The engine says every three seconds
//! which of its shards are ready and how many events the host has taken, and from that it can be told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shardwright::Config;
use shardwright::client::StandbyWord;
use shardwright::process::host_name;
use tokio::time::{sleep, timeout};

use super::layout::Range;
use crate::view::{self, Queue, Shard, View, Worker as Seen};

/// Time between two looks at the backplane.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Patience with a worker that is not to be seen any more. What it said last stays to be seen for ten seconds.
const MISSING: Duration = Duration::from_secs(5);

/// Patience with a backplane that is to say something.
const SAY: Duration = Duration::from_secs(2);

/// What the backplane says of the workers, and what they are told there.
#[derive(Debug, Clone, Default)]
pub(crate) struct News(Arc<Mutex<Newest>>);

#[derive(Debug, Default)]
struct Newest {
    workers: Vec<Seen>,
    /// What they are told again and again.
    word: Option<StandbyWord>,
    /// Since when the backplane has answered every time. Who is not there may have come too late otherwise.
    since: Option<Instant>,
}

impl News {
    /// Looks at the backplane of a config from now on, in the background.
    ///
    /// # Errors
    /// When that cannot be used.
    pub(crate) fn follow(config: &Config) -> Result<Self, shardwright::Error> {
        let observer = view::observe(config)?;
        let news = Self::default();
        let told = news.clone();
        tokio::spawn(async move {
            loop {
                told.note(observer.cluster_stats().await.ok().as_deref());
                if let Some(word) = told.word() {
                    // It is said again.
                    let _ = timeout(SAY, observer.tell_workers(&word)).await;
                }
                sleep(LOOK_EVERY).await;
            }
        });
        Ok(news)
    }

    /// Tells all workers something, again and again, until it is something else.
    pub(crate) fn say(&self, word: Option<StandbyWord>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).word = word;
    }

    fn word(&self) -> Option<StandbyWord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).word.clone()
    }

    fn note(&self, stats: Option<&[u8]>) {
        let stats = stats.and_then(|stats| std::str::from_utf8(stats).ok());
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match stats.and_then(|stats| View::read(stats).ok()) {
            Some(View { workers, .. }) => {
                newest.workers = workers;
                newest.since.get_or_insert_with(Instant::now);
            }
            None => newest.since = None,
        }
    }
}

/// One life of a worker.
#[derive(Debug)]
pub(crate) struct Health {
    name: String,
    host: String,
    range: Range,
    /// Whether it comes up beside others, to take over from them.
    may_stand_by: bool,
    started_at_ms: i64,
    /// When it was to be seen last.
    seen_at: Option<Instant>,
    /// How many events it had taken, and when that was another number.
    taken: (u64, Instant),
    /// What it said last.
    report: Option<Report>,
}

/// What a worker said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// What it is called by programs.
    pub(crate) worker: String,
    /// It waits to take over from others.
    pub(crate) is_standby: bool,
    /// Up to when its host has taken all that Discord had sent, in milliseconds since 1970.
    pub(crate) through_ms: Option<i64>,
    /// Since when it notes what it delivers.
    pub(crate) noted_since_ms: Option<i64>,
    /// Guilds that have not come, or are away.
    pub(crate) unavailable: u64,
    /// Why Discord refuses a shard of it for good.
    pub(crate) fatal: Option<String>,
}

impl Report {
    fn of(seen: &Seen) -> Self {
        let fatal = seen.shards.iter().find(|shard| shard.state == "fatal");
        Self {
            worker: seen.id.clone(),
            is_standby: seen.is_standby(),
            through_ms: seen.through_ms,
            noted_since_ms: seen.noted_since_ms,
            unavailable: seen.unavailable,
            fatal: fatal.map(|shard| shard.last_error.clone().unwrap_or_default()),
        }
    }
}

/// What can be told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It has not said anything, or not lately.
    Silent,
    /// So many of its shards are ready.
    Starting(u32),
    /// All of its shards are ready.
    Ready {
        /// Sessions it began.
        identifies: u64,
        /// Sessions it went on with.
        resumes: u64,
    },
    /// It hangs.
    Hung(String),
}

impl Health {
    /// Of a worker that starts now.
    pub(crate) fn new(name: &str, range: Range, may_stand_by: bool) -> Self {
        // Its own clock is this machine's, too.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_at_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(0);
        Self {
            name: name.to_owned(),
            host: host_name(),
            range,
            may_stand_by,
            started_at_ms,
            seen_at: None,
            taken: (0, Instant::now()),
            report: None,
        }
    }

    /// What it said last, if it has said anything.
    pub(crate) fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// What can be told now of one that may take nothing for so long.
    pub(crate) fn look(&mut self, news: &News, patience: Duration) -> Sign {
        let newest = news.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut of_this_life = newest.workers.iter().filter(|report| self.is_of(report));
        let report = of_this_life.next();
        if let Some(report) = report.filter(|report| !self.has_its_shards(report)) {
            return Sign::Hung(format!(
                "runs shards {} and not {}: leave `shards` out of its configuration",
                report.ranges(),
                self.range
            ));
        }
        let Some(report) = report else {
            let since = self.seen_at.max(newest.since);
            let is_missing = since.is_some_and(|since| now - since > MISSING);
            return match (self.seen_at, newest.since) {
                (Some(_), Some(_)) if is_missing => {
                    Sign::Hung("has not been heard of on the backplane".to_owned())
                }
                _ => Sign::Silent,
            };
        };
        self.seen_at = Some(now);
        self.report = Some(Report::of(report));
        let Queue { events, taken } = report.queue;
        if events == 0 || taken != self.taken.0 {
            self.taken = (taken, now);
        }
        if now - self.taken.1 > patience {
            let seconds = patience.as_secs();
            return Sign::Hung(format!("has taken no event for {seconds} s, and {events} wait"));
        }
        let ready = u32::try_from(report.ready()).unwrap_or(u32::MAX);
        let all = if self.has_resharded(report) {
            u32::try_from(report.shards.len()).unwrap_or(u32::MAX)
        } else {
            self.range.count()
        };
        if ready < all {
            return Sign::Starting(ready);
        }
        let sum = |count: fn(&Shard) -> u64| report.shards.iter().map(count).sum();
        Sign::Ready { identifies: sum(|it| it.identifies), resumes: sum(|it| it.resumes) }
    }

    /// Whether a report is by this life of this worker: others of that name may be on other machines, or may have
    /// run before.
    fn is_of(&self, report: &Seen) -> bool {
        /// A start is taken down in milliseconds.
        const SLACK_MS: i64 = 2;
        report.name() == self.name
            && report.host == self.host
            && report.started_at_ms + SLACK_MS >= self.started_at_ms
            && if self.may_stand_by {
                report.is_standby() || report.shard_total == Some(self.range.total)
            } else {
                !report.is_standby()
            }
    }

    /// Whether it runs what it was started for.
    fn has_its_shards(&self, report: &Seen) -> bool {
        let is_its = |shard: &Shard| self.range.contains(shard.shard);
        let total = report.shard_total;
        total.is_none_or(|total| total == self.range.total) && report.shards.iter().all(is_its)
            || self.has_resharded(report)
    }

    /// Whether a worker that has all shards of the bot has changed their number by itself.
    fn has_resharded(&self, report: &Seen) -> bool {
        let has_all = self.range.count() == self.range.total;
        has_all && report.shard_total.is_some_and(|total| total != self.range.total)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reply(workers: &[Value]) -> String {
        let total = json!({"guilds": 0, "unavailable": 0, "members": 0, "events_per_second": 0.0});
        json!({"total": total, "workers": workers}).to_string()
    }

    fn stats(change: impl Fn(&mut Value)) -> News {
        let shard = |shard: u32| {
            json!({
                "shard": shard, "state": "ready", "guilds": 0, "members": 0, "identifies": 0, "resumes": 1,
            })
        };
        let mut worker = json!({
            "worker": "9f86d081884c7d65", "name": "worker 1", "host": host_name(), "pid": 1,
            "started_at_ms": i64::MAX / 2, "stage": "running", "shards": [shard(2), shard(3)],
            "queue": {"events": 7, "taken": 1}, "guilds": 0, "events_per_second": 0.0,
        });
        change(&mut worker);
        let news = News::default();
        news.note(Some(reply(&[worker]).as_bytes()));
        news
    }

    fn health() -> Health {
        Health::new("worker 1", Range { from: 2, to: 3, total: 4 }, false)
    }

    const PATIENT: Duration = Duration::from_secs(3_600);

    #[test]
    fn shards_become_ready() {
        let mut health = health();
        assert_eq!(health.look(&News::default(), PATIENT), Sign::Silent);
        let starting = stats(|worker| worker["shards"][1]["state"] = json!("identifying"));
        assert_eq!(health.look(&starting, PATIENT), Sign::Starting(1));
        assert_eq!(health.look(&stats(|_| {}), PATIENT), Sign::Ready { identifies: 0, resumes: 2 });
    }

    #[test]
    fn others_are_not_this_one() {
        for change in [
            (|worker| worker["name"] = json!("worker 2")) as fn(&mut Value),
            |worker| worker["name"] = Value::Null,
            |worker| worker["host"] = json!("another"),
            |worker| worker["started_at_ms"] = json!(1),
            |worker| worker["stage"] = json!("standby"),
        ] {
            assert_eq!(health().look(&stats(change), PATIENT), Sign::Silent);
        }
    }

    #[test]
    fn who_runs_other_shards_is_told_so() {
        let told = health().look(&stats(|worker| worker["shards"][0]["shard"] = json!(1)), PATIENT);
        let Sign::Hung(why) = told else { panic!("{told:?}") };
        assert!(why.starts_with("runs shards 1,3 and not 2-3/4: leave `shards` out"), "{why}");
    }

    /// Both sets have a worker of each name, and one of the other may start later.
    #[test]
    fn who_takes_over_is_not_taken_for_who_runs() {
        let mut health = Health::new("worker 1", Range { from: 2, to: 3, total: 8 }, true);
        let of_other_set = stats(|worker| worker["shard_total"] = json!(4));
        for not_known in [stats(|_| {}), of_other_set] {
            assert_eq!(health.look(&not_known, PATIENT), Sign::Silent);
        }
        let waits = stats(|worker| worker["stage"] = json!("standby"));
        assert!(matches!(health.look(&waits, PATIENT), Sign::Ready { .. }));
        assert_eq!(health.report().map(|report| report.is_standby), Some(true));
        let has_taken_over = stats(|worker| worker["shard_total"] = json!(8));
        assert!(matches!(health.look(&has_taken_over, PATIENT), Sign::Ready { .. }));
        assert_eq!(health.report().map(|report| report.is_standby), Some(false));
    }

    #[test]
    fn who_runs_all_shards_may_reshard() {
        let mut health = Health::new("worker 1", Range { from: 0, to: 3, total: 4 }, false);
        let resharded = stats(|worker| worker["shard_total"] = json!(8));
        assert_eq!(health.look(&resharded, PATIENT), Sign::Ready { identifies: 0, resumes: 2 });
        let other = stats(|worker| worker["shards"][0]["shard"] = json!(4));
        assert!(matches!(health.look(&other, PATIENT), Sign::Hung(_)));
    }

    #[test]
    fn who_takes_nothing_hangs() {
        let mut health = health();
        let long_ago =
            Instant::now().checked_sub(Duration::from_secs(60)).expect("a machine that runs");
        health.taken = (1, long_ago);
        let patience = Duration::from_secs(30);
        let idle = stats(|worker| worker["queue"]["events"] = json!(0));
        assert!(matches!(health.look(&idle, patience), Sign::Ready { .. }), "nothing waits");
        health.taken = (1, long_ago);
        let told = health.look(&stats(|_| {}), patience);
        assert_eq!(told, Sign::Hung("has taken no event for 30 s, and 7 wait".to_owned()));
        health.taken = (0, long_ago);
        assert!(matches!(health.look(&stats(|_| {}), patience), Sign::Ready { .. }), "it took one");
    }

    #[test]
    fn who_is_missing_hangs_if_the_backplane_is_there() {
        let mut health = health();
        let long_ago = Instant::now().checked_sub(2 * MISSING).expect("a machine that runs");
        let nobody = News::default();
        nobody.note(Some(reply(&[]).as_bytes()));
        assert_eq!(health.look(&nobody, PATIENT), Sign::Silent, "it was never there");
        health.seen_at = Some(long_ago);
        assert_eq!(health.look(&nobody, PATIENT), Sign::Silent, "the backplane has only come back");
        nobody.0.lock().expect("no panic").since = Some(long_ago);
        assert!(matches!(health.look(&nobody, PATIENT), Sign::Hung(_)));
        nobody.note(None);
        assert_eq!(health.look(&nobody, PATIENT), Sign::Silent, "the backplane is away");
    }
}
