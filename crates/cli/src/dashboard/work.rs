//! Actions under way, and those that have ended lately: each with what is told of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Dashboard;
use super::action::{Action, NO_CLUSTER};
use super::now_ms;
use crate::cluster::{self, ShardCount, Wish};

/// Ended ones that are kept.
const MAX_ENDED: usize = 30;

/// Those that may be under way.
const MAX_RUNNING: usize = 20;

/// Lines that are kept of one; the oldest go.
const MAX_LINES: usize = 200;

/// Patience with a shard that was restarted. It may stand in line.
const SHARD_PATIENCE: Duration = Duration::from_secs(180);

/// Jobs that are asked for at once.
const JOBS_PER_PAGE: usize = 100;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Work {
    known: Mutex<Known>,
    /// There is something new to tell.
    pub(crate) news: Notify,
}

#[derive(Debug, Default)]
struct Known {
    next: u64,
    all: BTreeMap<u64, Piece>,
}

/// One action.
#[derive(Debug, Clone, Serialize)]
struct Piece {
    title: String,
    state: Stage,
    lines: Vec<String>,
    began_at_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    Running,
    Done,
    Failed,
}

impl Work {
    /// What is known of all, by number.
    pub(crate) fn to_json(&self) -> Value {
        let known = self.lock();
        known.all.iter().map(|(id, piece)| (id.to_string(), json!(piece))).collect()
    }

    fn open(&self, title: String) -> Result<u64, String> {
        let mut known = self.lock();
        let running = known.all.values().filter(|piece| piece.state == Stage::Running).count();
        if running >= MAX_RUNNING {
            return Err(format!("{running} actions are under way; wait until some are done"));
        }
        while known.all.len() - running >= MAX_ENDED {
            let ended = known.all.iter().find(|(_, piece)| piece.state != Stage::Running);
            let Some(oldest) = ended.map(|(id, _)| *id) else { break };
            known.all.remove(&oldest);
        }
        known.next += 1;
        let id = known.next;
        let piece = Piece {
            title,
            state: Stage::Running,
            lines: Vec::new(),
            began_at_ms: now_ms(),
            ended_at_ms: None,
        };
        known.all.insert(id, piece);
        drop(known);
        self.news.notify_one();
        Ok(id)
    }

    fn edit(&self, id: u64, edit: impl FnOnce(&mut Piece)) {
        if let Some(piece) = self.lock().all.get_mut(&id) {
            edit(piece);
            let excess = piece.lines.len().saturating_sub(MAX_LINES);
            piece.lines.drain(..excess);
        }
        self.news.notify_one();
    }

    fn line(&self, id: u64, line: &str) {
        self.edit(id, |piece| piece.lines.push(line.to_owned()));
    }

    fn end(&self, id: u64, result: Result<String, String>) {
        self.edit(id, |piece| {
            piece.state = if result.is_ok() { Stage::Done } else { Stage::Failed };
            piece.ended_at_ms = Some(now_ms());
            let text = result.unwrap_or_else(|error| error);
            // A cluster's last line says it already.
            if !text.is_empty() && piece.lines.last() != Some(&text) {
                piece.lines.push(text);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins an action: its number.
///
/// # Errors
/// Says why it cannot be done.
pub(crate) fn begin(dashboard: &Arc<Dashboard>, action: Action) -> Result<u64, String> {
    dashboard.hub.look(|state| action.cost(state))?;
    let id = dashboard.work.open(action.title())?;
    let dashboard = Arc::clone(dashboard);
    tokio::spawn(async move {
        let result = carry_out(&dashboard, id, action).await;
        dashboard.work.end(id, result);
    });
    Ok(id)
}

/// What comes of it, for people.
async fn carry_out(dashboard: &Arc<Dashboard>, id: u64, action: Action) -> Result<String, String> {
    match action {
        Action::RestartShard { shard, resume } => restart_shard(dashboard, id, shard, resume).await,
        Action::RestartWorker { worker } => {
            ask_cluster(dashboard, id, Wish::Restart { worker }).await
        }
        Action::PauseWorker { worker } => ask_cluster(dashboard, id, Wish::Pause { worker }).await,
        Action::UnpauseWorker { worker } => {
            ask_cluster(dashboard, id, Wish::Unpause { worker }).await
        }
        Action::Deploy { workers } => {
            ask_cluster(dashboard, id, Wish::Deploy { command: None, workers, shards: None }).await
        }
        Action::Reshard { shards } => reshard(dashboard, id, shards).await,
        Action::Publish { topic, data } => {
            let command = json!({"type": "publish", "topic": topic, "data": data});
            dashboard.command(&command).await?;
            Ok("It was said; who is subscribed has heard it.".to_owned())
        }
        Action::RetryJob { queue, job_id } => {
            let command = json!({"type": "job_retry", "queue": queue, "job_id": job_id});
            dashboard.command(&command).await?;
            Ok(format!("Job {job_id} waits again."))
        }
        Action::RetryJobs { queue } => retry_jobs(dashboard, id, &queue).await,
    }
}

/// Restarts a shard and waits until it is ready again.
async fn restart_shard(
    dashboard: &Dashboard,
    id: u64,
    shard: u32,
    resume: bool,
) -> Result<String, String> {
    let key = shard.to_string();
    let look = || {
        dashboard.hub.look(|state| {
            let shard = &state["shards"][&key];
            let count = |what: &str| shard[what].as_u64().unwrap_or(0);
            (count("resumes"), count("identifies"), shard["state"].clone())
        })
    };
    let before = look();
    let began = tokio::time::Instant::now();
    dashboard.command(&json!({"type": "restart_shard", "shard": shard, "resume": resume})).await?;
    dashboard.work.line(id, "its connection is replaced");
    let mut changes = dashboard.hub.changes();
    let ready = async {
        loop {
            let (resumes, identifies, state) = look();
            if state == "ready" && (resumes, identifies) != (before.0, before.1) {
                return if identifies == before.1 { "resumed" } else { "identified" };
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let seconds = SHARD_PATIENCE.as_secs();
    let how = timeout(SHARD_PATIENCE, ready).await.map_err(|_| {
        format!("shard {shard} was not ready after {seconds} s; its state and last error say why")
    })?;
    Ok(format!("shard {shard} {how} in {:.1} s", began.elapsed().as_secs_f64()))
}

/// Reshards: through the cluster, if one runs the workers.
async fn reshard(
    dashboard: &Arc<Dashboard>,
    id: u64,
    shards: ShardCount,
) -> Result<String, String> {
    if dashboard.hub.look(|state| state["cluster"].is_object()) {
        let wish = Wish::Deploy { command: None, workers: None, shards: Some(shards) };
        return ask_cluster(dashboard, id, wish).await;
    }
    dashboard.work.line(id, "a new set of shards comes up beside the running one");
    let reply = dashboard.command(&json!({"type": "reshard", "shards": shards})).await?;
    let seconds = reply["took_ms"].as_f64().unwrap_or(0.0) / 1_000.0;
    Ok(format!("from {} to {} shards in {seconds:.1} s", reply["from"], reply["to"]))
}

/// Has the cluster do something.
async fn ask_cluster(dashboard: &Arc<Dashboard>, id: u64, wish: Wish) -> Result<String, String> {
    let own = Arc::clone(dashboard);
    let done = spawn_blocking(move || {
        let directory: &Path = own.directory.as_deref().ok_or(NO_CLUSTER)?;
        let told = cluster::ask(directory, &wish, |line| own.work.line(id, line));
        told.map(drop).map_err(|error| format!("{error:#}"))
    });
    done.await.map_err(|_| "the dashboard met a bug; see its log".to_owned())??;
    Ok(String::new())
}

/// Lets all dead jobs of a queue wait again.
async fn retry_jobs(dashboard: &Dashboard, id: u64, queue: &str) -> Result<String, String> {
    let mut retried = 0;
    let mut after = Value::from(0);
    loop {
        let page = dashboard
            .command(&json!({
                "type": "job_list", "queue": queue, "state": "dead", "after": after,
                "limit": JOBS_PER_PAGE,
            }))
            .await?;
        for job in page["jobs"].as_array().into_iter().flatten() {
            let command = json!({"type": "job_retry", "queue": queue, "job_id": job["job_id"]});
            // Somebody else may have done it.
            retried += u32::from(dashboard.command(&command).await.is_ok());
        }
        after = page["next"].clone();
        if after.is_null() {
            return Ok(format!("{retried} jobs wait again."));
        }
        dashboard.work.line(id, &format!("{retried} jobs so far"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let work = Work::default();
        let first = work.open("first".to_owned()).expect("room");
        for count in 0..3 * MAX_LINES {
            work.line(first, &count.to_string());
        }
        work.end(first, Ok("599".to_owned()));
        let piece = work.lock().all[&first].clone();
        assert_eq!((piece.lines.len(), piece.lines.last()), (MAX_LINES, Some(&"599".to_owned())));
        assert_eq!(piece.state, Stage::Done);
        for _ in 0..2 * MAX_ENDED {
            let id = work.open("next".to_owned()).expect("room");
            work.end(id, Err("no".to_owned()));
        }
        assert_eq!(work.lock().all.len(), MAX_ENDED);
        for _ in 0..MAX_RUNNING {
            work.open("running".to_owned()).expect("room");
        }
        assert!(work.open("one more".to_owned()).expect_err("too many").contains("20 actions"));
    }
}
