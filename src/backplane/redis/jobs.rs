//! Jobs in Redis: a hash for each, and sorted sets for where it stands. Not its streams: what is in one comes
//! in the order in which it was added, and a job may be delayed or have priority.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use super::Redis;
use crate::backplane::jobs::{
    DUE_AT_ONCE, Due, End, Job, JobCounts, JobList, Jobs, LOST, Lease, Listed, Push, Pushed,
    RawValueText, Schedule, Scheduled, Taken,
};
use crate::backplane::{Doing, Trouble};
use crate::config::{MAX_DEAD_JOBS, MAX_SCHEDULES};

static JOBS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("jobs.lua")));

impl Redis {
    /// Does something with the jobs of a queue.
    async fn jobs(&self, arguments: &[&str]) -> Result<Vec<String>, Trouble> {
        self.run_script(&JOBS, &["jobs"], arguments).await
    }
}

impl Jobs for Redis {
    fn job_push<'a>(&'a self, push: &'a Push) -> Doing<'a, Pushed> {
        Box::pin(async move {
            let (delay, priority) = (push.delay_ms.to_string(), push.priority.to_string());
            let (most, dedupe) = (push.max_attempts.to_string(), push.dedupe.as_deref());
            let (payload, dedupe) = (push.payload.get(), dedupe.unwrap_or(""));
            let arguments = ["push", &push.queue, payload, &delay, &priority, &most, dedupe];
            Ok(pushed(&self.jobs(&arguments).await?))
        })
    }

    fn job_take<'a>(
        &'a self,
        queue: &'a str,
        worker: &'a str,
        visibility: Duration,
        count: usize,
    ) -> Doing<'a, Taken> {
        Box::pin(async move {
            let (visibility, count) = (visibility.as_millis().to_string(), count.to_string());
            let most = MAX_DEAD_JOBS.to_string();
            let due_at_once = DUE_AT_ONCE.to_string();
            let arguments = ["take", queue, worker, &visibility, &count, &most, LOST, &due_at_once];
            let answer = self.jobs(&arguments).await?;
            let wait =
                |index| u64::try_from(number(&answer, index)).ok().map(Duration::from_millis);
            let schedules = usize::try_from(number(&answer, 3)).unwrap_or(0).saturating_mul(3);
            let rest = answer.get(4..).unwrap_or_default();
            let (due, jobs) = rest.split_at(schedules.min(rest.len()));
            let jobs = jobs.chunks_exact(3).map(|job| Job {
                id: number(job, 0),
                attempt: number(job, 1),
                payload: job[2].clone(),
            });
            Ok(Taken {
                jobs: jobs.collect(),
                wait: wait(0),
                now_ms: number(&answer, 1),
                next_due: wait(2),
                due: due.chunks_exact(3).map(due_of).collect(),
            })
        })
    }

    fn job_extend<'a>(&'a self, visibility: Duration, leases: &'a [Lease]) -> Doing<'a, Vec<i64>> {
        Box::pin(async move {
            let Some(Lease { queue, worker, .. }) = leases.first() else { return Ok(Vec::new()) };
            let visibility = visibility.as_millis().to_string();
            let each = leases.iter().flat_map(|it| [it.id.to_string(), it.attempt.to_string()]);
            let each: Vec<String> = each.collect();
            let mut arguments = vec!["extend", queue, worker, &visibility];
            arguments.extend(each.iter().map(String::as_str));
            let extended = self.jobs(&arguments).await?;
            Ok((0..extended.len()).map(|index| number(&extended, index)).collect())
        })
    }

    fn job_end<'a>(&'a self, lease: &'a Lease, end: &'a End) -> Doing<'a, bool> {
        Box::pin(async move {
            let Lease { queue, worker, id, attempt } = lease;
            let (what, delay, error) = match end {
                End::Done => ("done", Duration::ZERO, ""),
                End::Again(delay, error) => ("again", *delay, error.as_str()),
                End::Dead(error) => ("dead", Duration::ZERO, error.as_str()),
            };
            let (id, attempt) = (id.to_string(), attempt.to_string());
            let (delay, most) = (delay.as_millis().to_string(), MAX_DEAD_JOBS.to_string());
            let arguments = ["end", queue, &id, worker, &attempt, what, &delay, error, &most];
            Ok(!self.jobs(&arguments).await?.is_empty())
        })
    }

    fn job_list<'a>(&'a self, list: &'a JobList) -> Doing<'a, Vec<Listed>> {
        Box::pin(async move {
            let (after, count) = (list.after.to_string(), (list.limit + 1).to_string());
            let arguments = ["list", &list.queue, list.state.name(), &after, &count];
            let found = self.jobs(&arguments).await?;
            let listed = found.chunks_exact(6).map(|job| Listed {
                job_id: number(job, 0),
                payload: RawValueText(job[1].clone()),
                attempt: number(job, 2),
                max_attempts: number(job, 3),
                priority: number(job, 4),
                error: Some(job[5].clone()).filter(|error| !error.is_empty()),
            });
            Ok(listed.collect())
        })
    }

    fn job_count<'a>(&'a self, queue: &'a str) -> Doing<'a, JobCounts> {
        Box::pin(async move {
            let counts = self.jobs(&["count", queue]).await?;
            let count = |index| number(&counts, index).unsigned_abs();
            Ok(JobCounts { waiting: count(0), running: count(1), dead: count(2) })
        })
    }

    fn job_retry<'a>(&'a self, queue: &'a str, id: i64) -> Doing<'a, bool> {
        Box::pin(
            async move { Ok(!self.jobs(&["retry", queue, &id.to_string()]).await?.is_empty()) },
        )
    }

    fn job_clock(&self) -> Doing<'_, i64> {
        Box::pin(async move { Ok(number(&self.jobs(&["clock", ""]).await?, 0)) })
    }

    fn job_schedule<'a>(&'a self, push: &'a Push, due: &'a Due) -> Doing<'a, Scheduled> {
        Box::pin(async move {
            let Due { name, rhythm, at_ms } = due;
            let (priority, most) = (push.priority.to_string(), push.max_attempts.to_string());
            let (payload, dedupe) = (push.payload.get(), push.dedupe.as_deref().unwrap_or(""));
            let (at, most_of_all) = (at_ms.to_string(), MAX_SCHEDULES.to_string());
            let arguments = [
                "schedule",
                &push.queue,
                name,
                rhythm,
                &at,
                payload,
                &priority,
                &most,
                dedupe,
                &most_of_all,
            ];
            let answer = self.jobs(&arguments).await?;
            Ok(match answer.first().map(String::as_str) {
                Some("new") => Scheduled::New,
                Some("full") => Scheduled::TooMany,
                _ => Scheduled::Replaced(number(&answer, 0)),
            })
        })
    }

    fn job_fire<'a>(
        &'a self,
        queue: &'a str,
        due: &'a Due,
        next_ms: i64,
    ) -> Doing<'a, Option<Pushed>> {
        Box::pin(async move {
            let Due { name, rhythm, at_ms } = due;
            let (at, next) = (at_ms.to_string(), next_ms.to_string());
            let answer = self.jobs(&["fire", queue, name, rhythm, &at, &next]).await?;
            Ok((!answer.is_empty()).then(|| pushed(&answer)))
        })
    }

    fn job_schedules<'a>(&'a self, queue: &'a str) -> Doing<'a, Vec<Schedule>> {
        Box::pin(async move {
            let found = self.jobs(&["schedules", queue]).await?;
            let mut schedules: Vec<_> = found
                .chunks_exact(7)
                .map(|it| Schedule {
                    due: due_of(&it[..3]),
                    payload: RawValueText(it[3].clone()),
                    priority: number(it, 4),
                    max_attempts: number(it, 5),
                    dedupe: Some(it[6].clone()).filter(|dedupe| !dedupe.is_empty()),
                })
                .collect();
            schedules.sort_by(|one, other| one.due.name.cmp(&other.due.name));
            Ok(schedules)
        })
    }

    fn job_unschedule<'a>(&'a self, queue: &'a str, name: &'a str) -> Doing<'a, bool> {
        Box::pin(async move { Ok(!self.jobs(&["unschedule", queue, name]).await?.is_empty()) })
    }
}

/// What the script says of a job that was pushed.
fn pushed(answer: &[String]) -> Pushed {
    let is = |index: usize| answer.get(index).is_some_and(|text| text == "1");
    Pushed { id: number(answer, 0), is_new: is(1), wakes: is(2) }
}

/// Name, rhythm and time of a schedule.
fn due_of(texts: &[String]) -> Due {
    Due { name: texts[0].clone(), rhythm: texts[1].clone(), at_ms: number(texts, 2) }
}

fn number(texts: &[String], index: usize) -> i64 {
    texts.get(index).and_then(|text| text.parse().ok()).unwrap_or(-1)
}
