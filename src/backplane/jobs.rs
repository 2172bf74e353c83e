//! Jobs: work that is done at least once, by one consumer at a time, whatever becomes of it.
//!
//! A job waits in its queue until it is due and a consumer has room, is leased to that one, and is done when
//! it is acknowledged. A lease that is not extended ends, and the job is the next consumer's. What failed too
//! often is dead: it is kept to be looked at and tried again.

use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::Doing;
use super::repeat::Repeat;
use crate::config::{
    DEFAULT_JOB_ATTEMPTS, DEFAULT_JOB_VISIBILITY, DEFAULT_JOBS_PER_PAGE, MAX_JOB_ATTEMPTS,
    MAX_JOB_DEDUPE_BYTES, MAX_JOB_DELAY, MAX_JOB_ERROR_BYTES, MAX_JOB_PAYLOAD_BYTES,
    MAX_JOB_PRIORITY, MAX_JOB_VISIBILITY, MAX_JOBS_PER_PAGE, MAX_JOBS_RUNNING,
    MAX_QUEUE_NAME_BYTES, MIN_JOB_VISIBILITY,
};
use crate::error::{Error, ErrorKind};
use crate::protocol::json;

/// A command for jobs.
#[derive(Debug)]
pub enum JobRequest {
    /// Adds one.
    Push(Push),
    /// Takes them from a queue from now on.
    Consume(Consume),
    /// One is done.
    Ack(Ack),
    /// One failed.
    Fail(Fail),
    /// Asks for some.
    List(JobList),
    /// Lets a dead one wait again.
    Retry(Retry),
    /// Asks for the schedules of a queue.
    Schedules(Schedules),
    /// Ends one.
    Unschedule(Unschedule),
}

/// `job_push`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(crate) queue: String,
    pub(crate) payload: Box<RawValue>,
    #[serde(default)]
    pub(crate) delay_ms: u64,
    #[serde(default)]
    pub(crate) priority: i64,
    #[serde(default = "attempts")]
    pub(crate) max_attempts: i64,
    pub(crate) dedupe: Option<String>,
    /// There is to be one again and again.
    pub(crate) repeat: Option<Repeat>,
}

/// `job_consume`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consume {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(crate) queue: String,
    pub(crate) concurrency: usize,
    pub(crate) visibility_ms: Option<u64>,
}

/// `job_ack`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(crate) job_id: i64,
}

/// `job_fail`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fail {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(crate) job_id: i64,
    #[serde(default)]
    pub(crate) error: String,
    #[serde(default = "yes")]
    pub(crate) retry: bool,
    pub(crate) delay_ms: Option<u64>,
}

/// `job_list`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobList {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(crate) queue: String,
    pub(crate) state: JobState,
    #[serde(default)]
    pub(crate) after: i64,
    #[serde(default = "per_page")]
    pub(crate) limit: usize,
}

/// `job_retry`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(crate) queue: String,
    pub(crate) job_id: i64,
}

/// `job_schedules`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedules {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(crate) queue: String,
}

/// `job_unschedule`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unschedule {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(crate) queue: String,
    pub(crate) name: String,
}

/// How it stands with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobState {
    /// Nobody has it.
    Waiting,
    /// A consumer has it.
    Running,
    /// It failed too often.
    Dead,
}

impl JobState {
    /// Its name in commands.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Dead => "dead",
        }
    }
}

fn attempts() -> i64 {
    DEFAULT_JOB_ATTEMPTS
}

fn yes() -> bool {
    true
}

fn per_page() -> usize {
    DEFAULT_JOBS_PER_PAGE
}

/// A job that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// Its number.
    pub(crate) id: i64,
    /// Whether it was not there already, by its dedupe key.
    pub(crate) is_new: bool,
    /// Whether consumers may sleep although there is something to do now.
    pub(crate) wakes: bool,
}

/// A job that somebody has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// Its number.
    pub(crate) id: i64,
    /// How often it was taken, this time included.
    pub(crate) attempt: i64,
    /// What is to be done: JSON.
    pub(crate) payload: String,
}

/// What a look into a queue came to.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Jobs that are this worker's now.
    pub(crate) jobs: Vec<Job>,
    /// When there may be more, if that is known.
    pub(crate) wait: Option<Duration>,
    /// What the time is there, in ms since 1970.
    pub(crate) now_ms: i64,
    /// Schedules of the queue that are due, some of them.
    pub(crate) due: Vec<Due>,
    /// When the next schedule is due, if there is one.
    pub(crate) next_due: Option<Duration>,
}

/// A schedule that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) name: String,
    /// As it was stored.
    pub(crate) rhythm: String,
    /// Since when, in ms since 1970.
    pub(crate) at_ms: i64,
}

/// A schedule as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) due: Due,
    pub(crate) payload: RawValueText,
    pub(crate) priority: i64,
    pub(crate) max_attempts: i64,
    pub(crate) dedupe: Option<String>,
}

/// What came of a schedule that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheduled {
    /// It is there, and was not before.
    New,
    /// It took the place of the one with its name. With the same rhythm it goes on in that, and this is when
    /// it is due.
    Replaced(i64),
    /// The queue has too many.
    TooMany,
}

/// Who has a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The queue of the job.
    pub(crate) queue: String,
    /// The worker that has it.
    pub(crate) worker: String,
    /// The job.
    pub(crate) id: i64,
    /// Which time it is.
    pub(crate) attempt: i64,
}

/// How a lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The job is done.
    Done,
    /// It is tried again after this, unless it was tried too often.
    Again(Duration, String),
    /// It is not tried again.
    Dead(String),
}

/// A job as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Listed {
    pub(crate) job_id: i64,
    pub(crate) payload: RawValueText,
    pub(crate) attempt: i64,
    pub(crate) max_attempts: i64,
    pub(crate) priority: i64,
    pub(crate) error: Option<String>,
}

/// The jobs of a queue, by [`JobState`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct JobCounts {
    pub(crate) waiting: u64,
    pub(crate) running: u64,
    pub(crate) dead: u64,
}

/// JSON that is passed on as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawValueText(pub(crate) String);

impl serde::Serialize for RawValueText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Somebody else may have written there, and hosts are promised JSON.
        let raw = RawValue::from_string(self.0.clone()).ok();
        raw.as_deref().unwrap_or(RawValue::NULL).serialize(serializer)
    }
}

/// Queues of jobs, for one bot.
pub(crate) trait Jobs {
    /// Adds a job.
    fn job_push<'a>(&'a self, push: &'a Push) -> Doing<'a, Pushed>;

    /// Gives what is due to this worker, at most so many, and for so long.
    fn job_take<'a>(
        &'a self,
        queue: &'a str,
        worker: &'a str,
        visibility: Duration,
        count: usize,
    ) -> Doing<'a, Taken>;

    /// Has leases last so long from now on. Says which of them still do.
    fn job_extend<'a>(&'a self, visibility: Duration, leases: &'a [Lease]) -> Doing<'a, Vec<i64>>;

    /// Ends a lease. `false` if it has ended before.
    fn job_end<'a>(&'a self, lease: &'a Lease, end: &'a End) -> Doing<'a, bool>;

    /// Some jobs of a queue, by number; one more than the limit if there are more.
    fn job_list<'a>(&'a self, list: &'a JobList) -> Doing<'a, Vec<Listed>>;

    /// How many jobs a queue has.
    fn job_count<'a>(&'a self, queue: &'a str) -> Doing<'a, JobCounts>;

    /// Lets a dead job wait again, as if it were new. `false` if it is not dead.
    fn job_retry<'a>(&'a self, queue: &'a str, id: i64) -> Doing<'a, bool>;

    /// What the time is, in ms since 1970, for schedules.
    fn job_clock(&self) -> Doing<'_, i64>;

    /// Stores a schedule: what is to be pushed, under which name, in which rhythm, and when first.
    fn job_schedule<'a>(&'a self, push: &'a Push, due: &'a Due) -> Doing<'a, Scheduled>;

    /// Pushes the job of a schedule that is due, and has it be due again at `next_ms`; `None` if somebody
    /// else did.
    fn job_fire<'a>(
        &'a self,
        queue: &'a str,
        due: &'a Due,
        next_ms: i64,
    ) -> Doing<'a, Option<Pushed>>;

    /// The schedules of a queue, by name.
    fn job_schedules<'a>(&'a self, queue: &'a str) -> Doing<'a, Vec<Schedule>>;

    /// Ends a schedule. `false` if there is none.
    fn job_unschedule<'a>(&'a self, queue: &'a str, name: &'a str) -> Doing<'a, bool>;
}

impl JobRequest {
    /// Reads a command of this type, which is one of ours.
    ///
    /// # Errors
    /// `InvalidArgument`, or `TooLarge` for a payload that is too long.
    pub(super) fn from_json(kind: &str, text: &str) -> Result<Self, Error> {
        Ok(match kind {
            "job_push" => Self::Push(json::parse::<Push>(text).map_err(wrong)?.checked()?),
            "job_consume" => Self::Consume(json::parse::<Consume>(text).map_err(wrong)?.checked()?),
            "job_ack" => Self::Ack(json::parse(text).map_err(wrong)?),
            "job_fail" => Self::Fail(json::parse::<Fail>(text).map_err(wrong)?.checked()?),
            "job_list" => {
                let list: JobList = json::parse(text).map_err(wrong)?;
                check_name("queue", &list.queue, MAX_QUEUE_NAME_BYTES)?;
                if !(1..=MAX_JOBS_PER_PAGE).contains(&list.limit) {
                    return Err(wrong(format!("`limit` is 1 to {MAX_JOBS_PER_PAGE}")));
                }
                Self::List(list)
            }
            "job_retry" => {
                let retry: Retry = json::parse(text).map_err(wrong)?;
                check_name("queue", &retry.queue, MAX_QUEUE_NAME_BYTES)?;
                Self::Retry(retry)
            }
            "job_schedules" => {
                let schedules: Schedules = json::parse(text).map_err(wrong)?;
                check_name("queue", &schedules.queue, MAX_QUEUE_NAME_BYTES)?;
                Self::Schedules(schedules)
            }
            "job_unschedule" => {
                let unschedule: Unschedule = json::parse(text).map_err(wrong)?;
                check_name("queue", &unschedule.queue, MAX_QUEUE_NAME_BYTES)?;
                check_name("name", &unschedule.name, MAX_JOB_DEDUPE_BYTES)?;
                Self::Unschedule(unschedule)
            }
            _ => return Err(wrong(format!("{kind:?} is no command for jobs"))),
        })
    }
}

impl Push {
    fn checked(self) -> Result<Self, Error> {
        check_name("queue", &self.queue, MAX_QUEUE_NAME_BYTES)?;
        if let Some(dedupe) = &self.dedupe {
            check_name("dedupe", dedupe, MAX_JOB_DEDUPE_BYTES)?;
        }
        let bytes = self.payload.get().len();
        if bytes > MAX_JOB_PAYLOAD_BYTES {
            let text =
                format!("`payload` has {bytes} bytes; it has at most {MAX_JOB_PAYLOAD_BYTES}");
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        if !(-MAX_JOB_PRIORITY..=MAX_JOB_PRIORITY).contains(&self.priority) {
            return Err(wrong(format!("`priority` is -{MAX_JOB_PRIORITY} to {MAX_JOB_PRIORITY}")));
        }
        if !(1..=MAX_JOB_ATTEMPTS).contains(&self.max_attempts) {
            return Err(wrong(format!("`max_attempts` is 1 to {MAX_JOB_ATTEMPTS}")));
        }
        check_delay(self.delay_ms)?;
        if let Some(repeat) = &self.repeat {
            check_name("name` of `repeat", &repeat.name, MAX_JOB_DEDUPE_BYTES)?;
            repeat.rhythm()?;
            if self.delay_ms > 0 {
                return Err(wrong("with `repeat` there is no `delay_ms`: `repeat` says when"));
            }
        }
        Ok(self)
    }
}

impl Consume {
    fn checked(self) -> Result<Self, Error> {
        check_name("queue", &self.queue, MAX_QUEUE_NAME_BYTES)?;
        if self.concurrency > MAX_JOBS_RUNNING {
            return Err(wrong(format!("`concurrency` is 0 to {MAX_JOBS_RUNNING}")));
        }
        if !(MIN_JOB_VISIBILITY..=MAX_JOB_VISIBILITY).contains(&self.visibility()) {
            let (least, most) = (MIN_JOB_VISIBILITY.as_millis(), MAX_JOB_VISIBILITY.as_millis());
            return Err(wrong(format!("`visibility_ms` is {least} to {most}")));
        }
        Ok(self)
    }

    /// How long a job is leased.
    pub(crate) fn visibility(&self) -> Duration {
        self.visibility_ms.map_or(DEFAULT_JOB_VISIBILITY, Duration::from_millis)
    }
}

impl Fail {
    fn checked(self) -> Result<Self, Error> {
        if self.error.len() > MAX_JOB_ERROR_BYTES {
            return Err(wrong(format!("`error` has at most {MAX_JOB_ERROR_BYTES} bytes")));
        }
        check_delay(self.delay_ms.unwrap_or(0))?;
        Ok(self)
    }
}

fn check_delay(delay_ms: u64) -> Result<(), Error> {
    if Duration::from_millis(delay_ms) > MAX_JOB_DELAY {
        return Err(wrong(format!("`delay_ms` is at most {}", MAX_JOB_DELAY.as_millis())));
    }
    Ok(())
}

/// A name that every backplane can keep.
fn check_name(name: &str, text: &str, most: usize) -> Result<(), Error> {
    if text.is_empty() || text.len() > most {
        return Err(wrong(format!("`{name}` has {} bytes; it has 1 to {most}", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong(format!("`{name}` has control characters")));
    }
    Ok(())
}

/// `InvalidArgument` with this text.
fn wrong(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

/// Why a job is dead whose worker went away too often.
pub(crate) const LOST: &str = "its worker went away, or took longer than its lease";

/// Schedules that one look brings at most.
pub(crate) const DUE_AT_ONCE: u32 = 16;
