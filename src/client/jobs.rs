//! What a client consumes of queues: it takes jobs while there is room, keeps their leases alive while the
//! host works, and ends them as the host says.
//!
//! Consumers are woken by a message when a queue gets something to do, and look by themselves when something
//! is due, and every few seconds: a message may be lost.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::shared::{Shared, lock};
use crate::backplane::jobs::{
    Consume, Due, End, Fail, Job, JobList, JobRequest, Lease, Push, Schedule, Scheduled, Schedules,
    Taken, Unschedule,
};
use crate::backplane::repeat::{Repeat, Rhythm};
use crate::backplane::{Backplane, Trouble};
use crate::config::{
    JOB_BACKOFF, MAX_CONSUMED_QUEUES, MAX_JOB_BACKOFF, MAX_JOBS_RUNNING, MAX_SCHEDULES,
    MIN_JOB_VISIBILITY,
};
use crate::error::{Error, ErrorKind};
use crate::queue::{Event, EventKind};
use crate::usage::JOB_STEPS;

/// What the channel begins with on which consumers of a queue are woken.
pub(super) const WAKE: &str = "jobs:";

/// Time between two looks into a queue that nothing is heard of.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Time between two looks while the backplane is away.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Time between two looks at the leases.
const EXTEND_STEP: Duration = Duration::from_millis(MIN_JOB_VISIBILITY.as_millis() as u64 / 4);

/// Jobs that are taken at once.
const BATCH: usize = 64;

/// What a client consumes.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    queues: Mutex<HashMap<String, Consumer>>,
    /// What the host works on, by number.
    leases: Mutex<BTreeMap<i64, Held>>,
    /// Somebody sees to the leases.
    is_extending: AtomicBool,
    /// What became of them here, by [`JOB_STEPS`].
    counts: [AtomicU64; JOB_STEPS.len()],
}

/// Places in [`JOB_STEPS`].
const PUSHED: usize = 0;
const TAKEN: usize = 1;
const DONE: usize = 2;
const FAILED: usize = 3;
const LOST: usize = 4;

/// What is consumed of one queue.
#[derive(Debug)]
struct Consumer {
    concurrency: usize,
    visibility: Duration,
    wake: Arc<Notify>,
}

/// A job that the host works on.
#[derive(Debug, Clone)]
struct Held {
    lease: Lease,
    visibility: Duration,
    extend_at: Instant,
    /// An end of it may have been carried out.
    is_doubtful: bool,
}

impl Jobs {
    /// What became of jobs here, by [`JOB_STEPS`].
    pub(super) fn counted(&self) -> [u64; JOB_STEPS.len()] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Jobs that the host works on.
    pub(super) fn running(&self) -> usize {
        lock(&self.leases).len()
    }

    /// The queues that this client consumes, in order.
    pub(super) fn consumed(&self) -> Vec<String> {
        let mut names: Vec<String> = lock(&self.queues).keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// So many more came to this.
    fn count(&self, step: usize, more: usize) {
        self.counts[step].fetch_add(more as u64, Ordering::Relaxed);
    }

    /// There may be something to do.
    pub(super) fn wake(&self, queue: &str) {
        if let Some(consumer) = lock(&self.queues).get(queue) {
            consumer.wake.notify_one();
        }
    }

    /// Does what the host wants; the reply's data.
    pub(super) async fn carry_out(
        request: JobRequest,
        shared: &Arc<Shared>,
        backplane: &Arc<dyn Backplane>,
        worker: &str,
    ) -> Result<Bytes, Error> {
        let jobs = match &shared.post {
            Some(post) => post.jobs(),
            None => return Err(super::post::missing()),
        };
        let data = match request {
            JobRequest::Push(push) => jobs.push(&push, backplane).await?,
            JobRequest::Consume(consume) => jobs.consume(consume, shared, backplane, worker)?,
            JobRequest::Ack(ack) => jobs.end(ack.job_id, |_| End::Done, backplane).await?,
            JobRequest::Fail(Fail { job_id, error, retry, delay_ms, .. }) => {
                let end = |lease: &Lease| match (retry, delay_ms) {
                    (false, _) => End::Dead(error.clone()),
                    (true, Some(delay_ms)) => {
                        End::Again(Duration::from_millis(delay_ms), error.clone())
                    }
                    (true, None) => End::Again(backoff(lease.attempt), error.clone()),
                };
                jobs.end(job_id, end, backplane).await?
            }
            request => Self::administer(request, backplane).await?,
        };
        Ok(data.into())
    }

    /// Does what it does not take a consumer for; the reply's data.
    pub(super) async fn administer(
        request: JobRequest,
        backplane: &Arc<dyn Backplane>,
    ) -> Result<String, Error> {
        match request {
            JobRequest::List(list) => page(&list, backplane).await,
            JobRequest::Retry(retry) => {
                let is_dead = backplane.job_retry(&retry.queue, retry.job_id).await?;
                if !is_dead {
                    let text = format!("no dead job {} is in this queue", retry.job_id);
                    return Err(Error::new(ErrorKind::NotFound, text));
                }
                call(&retry.queue, backplane).await;
                Ok("null".to_owned())
            }
            JobRequest::Schedules(Schedules { queue, .. }) => {
                let schedules = backplane.job_schedules(&queue).await?;
                Ok(json!({"schedules": schedules.iter().map(show).collect::<Vec<_>>()}).to_string())
            }
            JobRequest::Unschedule(Unschedule { queue, name, .. }) => {
                let is_removed = backplane.job_unschedule(&queue, &name).await?;
                Ok(json!({"removed": is_removed}).to_string())
            }
            JobRequest::Push(_)
            | JobRequest::Consume(_)
            | JobRequest::Ack(_)
            | JobRequest::Fail(_) => {
                let text = "jobs are pushed and worked on by the processes of the bot";
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    async fn push(&self, push: &Push, backplane: &Arc<dyn Backplane>) -> Result<String, Error> {
        if let Some(repeat) = &push.repeat {
            return schedule(push, repeat, backplane).await;
        }
        let pushed = backplane.job_push(push).await?;
        self.count(PUSHED, usize::from(pushed.is_new));
        if pushed.wakes {
            call(&push.queue, backplane).await;
        }
        Ok(json!({"job_id": pushed.id, "new": pushed.is_new}).to_string())
    }

    /// Consumes a queue from now on, or no longer.
    fn consume(
        &self,
        consume: Consume,
        shared: &Arc<Shared>,
        backplane: &Arc<dyn Backplane>,
        worker: &str,
    ) -> Result<String, Error> {
        let visibility = consume.visibility();
        let Consume { queue, concurrency, .. } = consume;
        let mut queues = lock(&self.queues);
        let others = queues.iter().filter(|(name, _)| **name != queue);
        let (count, running) = others.fold((0, 0), |(count, running), (_, consumer)| {
            (count + 1, running + consumer.concurrency)
        });
        if running + concurrency > MAX_JOBS_RUNNING || count >= MAX_CONSUMED_QUEUES {
            let text = format!(
                "one client consumes at most {MAX_CONSUMED_QUEUES} queues, and works on at most \
                 {MAX_JOBS_RUNNING} jobs at once"
            );
            return Err(Error::new(ErrorKind::QueueFull, text));
        }
        if concurrency == 0 {
            if let Some(consumer) = queues.remove(&queue) {
                consumer.wake.notify_one();
            }
        } else if let Some(consumer) = queues.get_mut(&queue) {
            (consumer.concurrency, consumer.visibility) = (concurrency, visibility);
            consumer.wake.notify_one();
        } else {
            let wake = Arc::new(Notify::new());
            let consumer = Consumer { concurrency, visibility, wake: Arc::clone(&wake) };
            queues.insert(queue.clone(), consumer);
            let mut tasks = lock(&shared.tasks);
            let (shared, backplane) = (Arc::clone(shared), Arc::clone(backplane));
            if !self.is_extending.swap(true, Ordering::Relaxed) {
                tasks.spawn(extend(Arc::clone(&shared), Arc::clone(&backplane)));
            }
            tasks.spawn(work_off(queue, wake, shared, backplane, worker.to_owned()));
        }
        Ok("null".to_owned())
    }

    /// Ends a lease as the host says.
    async fn end(
        &self,
        id: i64,
        end: impl Fn(&Lease) -> End,
        backplane: &Arc<dyn Backplane>,
    ) -> Result<String, Error> {
        let held = lock(&self.leases).get(&id).cloned();
        let gone = || {
            let text = format!("this client has no job {id}: it was ended, or its lease was lost");
            Error::new(ErrorKind::NotFound, text)
        };
        let held = held.ok_or_else(gone)?;
        let end = end(&held.lease);
        match backplane.job_end(&held.lease, &end).await {
            Ok(is_ended) => {
                lock(&self.leases).remove(&id);
                let step = match end {
                    _ if !is_ended && !held.is_doubtful => LOST,
                    End::Done => DONE,
                    End::Again(..) | End::Dead(_) => FAILED,
                };
                self.count(step, 1);
                self.wake(&held.lease.queue);
                if let End::Again(..) = end {
                    // Others may have room for it before this client has.
                    call(&held.lease.queue, backplane).await;
                }
                if is_ended || held.is_doubtful { Ok("null".to_owned()) } else { Err(gone()) }
            }
            Err(trouble) => {
                if let Some(held) = lock(&self.leases).get_mut(&id) {
                    held.is_doubtful |= matches!(trouble, Trouble::Unclear(_));
                }
                Err(trouble.into())
            }
        }
    }

    /// How many more jobs of a queue the host can have now, and for how long; `None` when it wants none.
    fn room(&self, queue: &str, wake: &Arc<Notify>) -> Option<(usize, Duration)> {
        let (concurrency, visibility) = {
            let queues = lock(&self.queues);
            let consumer = queues.get(queue).filter(|it| Arc::ptr_eq(&it.wake, wake))?;
            (consumer.concurrency, consumer.visibility)
        };
        let leases = lock(&self.leases);
        let running = leases.values().filter(|held| held.lease.queue == queue).count();
        Some((concurrency.saturating_sub(running), visibility))
    }

    /// Notes what was taken.
    fn hold(&self, lease: Lease, visibility: Duration) {
        let extend_at = Instant::now() + visibility / 3;
        let held = Held { visibility, extend_at, is_doubtful: false, lease };
        self.count(TAKEN, 1);
        lock(&self.leases).insert(held.lease.id, held);
    }

    /// Leases that should be extended now, by queue and for how long.
    fn due(&self) -> BTreeMap<(String, Duration), Vec<Lease>> {
        let now = Instant::now();
        let mut due: BTreeMap<_, Vec<Lease>> = BTreeMap::new();
        for held in lock(&self.leases).values().filter(|held| held.extend_at <= now) {
            let group = (held.lease.queue.clone(), held.visibility);
            due.entry(group).or_default().push(held.lease.clone());
        }
        due
    }

    /// Notes which leases were extended; the others are lost.
    fn extended(&self, asked: &[Lease], extended: &[i64]) {
        let mut lost = 0;
        let mut leases = lock(&self.leases);
        for lease in asked {
            if !extended.contains(&lease.id) {
                lost += usize::from(leases.remove(&lease.id).is_some_and(|held| !held.is_doubtful));
            } else if let Some(held) = leases.get_mut(&lease.id) {
                held.extend_at = Instant::now() + held.visibility / 3;
            }
        }
        drop(leases);
        self.count(LOST, lost);
        if lost > 0 {
            warn!("jobs: {lost} leases were lost; others may do these jobs too");
        }
    }
}

/// Takes jobs of one queue for as long as the host wants any.
async fn work_off(
    queue: String,
    wake: Arc<Notify>,
    shared: Arc<Shared>,
    backplane: Arc<dyn Backplane>,
    worker: String,
) {
    let Some(post) = &shared.post else { return };
    // What cannot be heard yet is from the next connection on; until then this looks by itself.
    let _ = backplane.listen(&[format!("{WAKE}{queue}")]).await;
    let mut looked_at: Option<Instant> = None;
    let mut due_at: Option<Instant> = None;
    while let Some((free, visibility)) = post.jobs().room(&queue, &wake) {
        let now = Instant::now();
        // Without room for jobs there may be schedules that are due.
        let is_time =
            due_at.is_some_and(|at| at <= now) || looked_at.is_none_or(|at| now - at >= LOOK_EVERY);
        let mut wait = due_at.map_or(LOOK_EVERY, |at| (at - now).min(LOOK_EVERY));
        if free > 0 || is_time {
            let count = free.min(BATCH);
            match backplane.job_take(&queue, &worker, visibility, count).await {
                Ok(Taken { jobs, wait: next, now_ms, due, next_due }) => {
                    let is_full = count > 0 && jobs.len() == count;
                    looked_at = Some(now);
                    due_at = next_due.map(|wait| Instant::now() + wait);
                    for job in jobs {
                        let lease = Lease {
                            queue: queue.clone(),
                            worker: worker.clone(),
                            id: job.id,
                            attempt: job.attempt,
                        };
                        post.jobs().hold(lease, visibility);
                        shared.queue.push_own(event(&queue, &job));
                    }
                    let could_fire = fire(&queue, &due, now_ms, &backplane).await;
                    if is_full || could_fire && !due.is_empty() {
                        continue;
                    }
                    let next = if free > 0 { next } else { None };
                    wait = next.into_iter().chain(next_due).fold(LOOK_EVERY, Duration::min);
                    let least = if could_fire { Duration::from_millis(1) } else { LOOK_AGAIN };
                    wait = wait.max(least);
                }
                Err(_) => wait = LOOK_AGAIN,
            }
        }
        tokio::select! {
            biased;
            () = wake.notified() => {}
            () = sleep(wait) => {}
        }
    }
    if post.jobs().is_consumed(&queue) {
        return;
    }
    let _ = backplane.ignore(&[format!("{WAKE}{queue}")]).await;
}

impl Jobs {
    /// Whether somebody consumes a queue, perhaps anew.
    fn is_consumed(&self, queue: &str) -> bool {
        lock(&self.queues).contains_key(queue)
    }
}

/// Extends leases for as long as the client lives.
async fn extend(shared: Arc<Shared>, backplane: Arc<dyn Backplane>) {
    let Some(post) = &shared.post else { return };
    loop {
        for ((_, visibility), leases) in post.jobs().due() {
            // Trouble is no end: the lease stands until its time is up.
            if let Ok(extended) = backplane.job_extend(visibility, &leases).await {
                post.jobs().extended(&leases, &extended);
            }
        }
        sleep(EXTEND_STEP).await;
    }
}

/// Stores a schedule; the reply's data.
async fn schedule(
    push: &Push,
    repeat: &Repeat,
    backplane: &Arc<dyn Backplane>,
) -> Result<String, Error> {
    let rhythm = repeat.rhythm()?;
    let now_ms = backplane.job_clock().await?;
    let Some(at_ms) = rhythm.next_ms(now_ms, now_ms) else {
        return Err(Error::new(ErrorKind::InvalidArgument, "`cron` never comes any more"));
    };
    let due = Due { name: repeat.name.clone(), rhythm: rhythm.to_text(), at_ms };
    let (is_new, next_at_ms) = match backplane.job_schedule(push, &due).await? {
        Scheduled::New => (true, at_ms),
        Scheduled::Replaced(at_ms) => (false, at_ms),
        Scheduled::TooMany => {
            let text = format!("a queue has at most {MAX_SCHEDULES} schedules");
            return Err(Error::new(ErrorKind::QueueFull, text));
        }
    };
    // Who sleeps does not know when to wake.
    call(&push.queue, backplane).await;
    Ok(json!({"name": repeat.name, "new": is_new, "next_at_ms": next_at_ms}).to_string())
}

/// Pushes the jobs of schedules that are due. Whether that could be done, by whomever.
async fn fire(queue: &str, due: &[Due], now_ms: i64, backplane: &Arc<dyn Backplane>) -> bool {
    let mut could_all = true;
    for due in due {
        let rhythm = Rhythm::from_text(&due.rhythm);
        let Some(next_ms) = rhythm.and_then(|rhythm| rhythm.next_ms(due.at_ms, now_ms)) else {
            debug!("the schedule {:?} of {queue:?} is one of a later version", due.name);
            could_all = false;
            continue;
        };
        match backplane.job_fire(queue, due, next_ms).await {
            Ok(Some(pushed)) if pushed.wakes => call(queue, backplane).await,
            Ok(_) => {}
            Err(_) => could_all = false,
        }
    }
    could_all
}

/// A schedule as a host sees it.
fn show(schedule: &Schedule) -> Value {
    let Schedule { due, payload, priority, max_attempts, dedupe } = schedule;
    let mut shown = json!({
        "name": due.name,
        "next_at_ms": due.at_ms,
        "payload": payload,
        "priority": priority,
        "max_attempts": max_attempts,
        "dedupe": dedupe,
    });
    if let Some(rhythm) = Rhythm::from_text(&due.rhythm) {
        rhythm.show(&mut shown);
    }
    shown
}

/// Wakes all consumers of a queue. One that does not hear it looks by itself.
async fn call(queue: &str, backplane: &Arc<dyn Backplane>) {
    let _ = backplane.publish(&format!("{WAKE}{queue}"), "").await;
}

/// The event of a job.
fn event(queue: &str, Job { id, attempt, payload }: &Job) -> Event {
    let name = json!(queue);
    let data =
        format!(r#"{{"job_id":{id},"queue":{name},"attempt":{attempt},"payload":{payload}}}"#);
    Event::new(EventKind::Job, queue, data.as_bytes())
}

/// The wait after an attempt that failed: twice as long each time, and not the same for all.
fn backoff(attempt: i64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(20);
    let longest = JOB_BACKOFF.saturating_mul(1 << doublings).min(MAX_JOB_BACKOFF);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// One page of a list.
async fn page(list: &JobList, backplane: &Arc<dyn Backplane>) -> Result<String, Error> {
    let mut jobs = backplane.job_list(list).await?;
    let has_more = jobs.len() > list.limit;
    jobs.truncate(list.limit);
    let next = jobs.last().filter(|_| has_more).map(|job| job.job_id);
    Ok(json!({"jobs": jobs, "next": next}).to_string())
}
