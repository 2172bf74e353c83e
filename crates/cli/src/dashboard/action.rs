//! What an operator can have done, and what it will cost.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cluster::ShardCount;
use crate::plan::WINDOW_S;

/// What a new set of shards takes beyond its identifies: until both sets are known to be alive, and the old one is gone.
const RESHARD_S: u64 = 15;

/// What a worker takes to stop and to resume, its program's own start aside.
const RESTART_S: u64 = 3;

/// Something to do. JSON with `do` and what it takes.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Action {
    /// A new connection for one shard; with `resume` it keeps its session.
    RestartShard { shard: u32, resume: bool },
    /// One worker of the cluster stops and starts again.
    RestartWorker { worker: String },
    /// One worker of the cluster stops until it is told to go on.
    PauseWorker { worker: String },
    /// And goes on.
    UnpauseWorker { worker: String },
    /// Another number of shards.
    Reshard { shards: ShardCount },
    /// All workers of the cluster restart, one after the other; or another number of them.
    Deploy { workers: Option<u32> },
    /// Something is said to all processes that are subscribed.
    Publish { topic: String, data: Value },
    /// A dead job waits again.
    RetryJob { queue: String, job_id: i64 },
    /// All dead jobs of a queue do.
    RetryJobs { queue: String },
}

/// What something will cost.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    /// Session starts of the day.
    identifies: u32,
    /// Until it is done, about.
    seconds: u64,
    /// For people.
    text: String,
}

impl Action {
    /// Reads one.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| {
            format!("{error}; an action is an object such as {{\"do\": \"restart_shard\", \"shard\": 0, \"resume\": true}}")
        })
    }

    /// What people call it.
    pub(crate) fn title(&self) -> String {
        match self {
            Self::RestartShard { shard, resume: true } => format!("Restart shard {shard}"),
            Self::RestartShard { shard, .. } => format!("Identify shard {shard} anew"),
            Self::RestartWorker { worker } => format!("Restart {worker}"),
            Self::PauseWorker { worker } => format!("Pause {worker}"),
            Self::UnpauseWorker { worker } => format!("Let {worker} go on"),
            Self::Reshard { shards: ShardCount::Fixed(shards) } => {
                format!("Reshard to {shards} shards")
            }
            Self::Reshard { .. } => "Reshard to what Discord recommends".to_owned(),
            Self::Deploy { workers: None } => "Rolling restart".to_owned(),
            Self::Deploy { workers: Some(workers) } => format!("Go over to {workers} workers"),
            Self::Publish { topic, .. } => format!("Publish to {topic}"),
            Self::RetryJob { queue, job_id } => format!("Retry job {job_id} of {queue}"),
            Self::RetryJobs { queue } => format!("Retry all dead jobs of {queue}"),
        }
    }

    /// What it costs, as far as that is known from the state.
    ///
    /// # Errors
    /// Says why it cannot be done.
    pub(crate) fn cost(&self, state: &Value) -> Result<Cost, String> {
        let cost = |identifies, seconds, text: String| Ok(Cost { identifies, seconds, text });
        match self {
            Self::RestartShard { shard, resume } => {
                let known = &state["shards"][shard.to_string()];
                if known["state"].as_str().is_none_or(|state| state == "nobody") {
                    return Err(format!("no process that is to be seen runs shard {shard}"));
                }
                if *resume {
                    let text = "The connection is replaced and the session goes on; what happens meanwhile is \
                                replayed. Should Discord refuse the session, it takes one identify.";
                    return cost(0, 1, text.to_owned());
                }
                let text = "The session ends and a new one begins: what happens meanwhile is lost, and the guilds \
                            of the shard are sent again.";
                cost(1, windows(1), text.to_owned())
            }
            Self::RestartWorker { worker } => {
                let shards = place_of(state, worker)?;
                let text = format!(
                    "{worker} stops and starts again; its {shards} resume. Their guilds wait for about {RESTART_S} s \
                     and what the program takes to start; nothing is lost."
                );
                cost(0, RESTART_S, text)
            }
            Self::PauseWorker { worker } => {
                let shards = place_of(state, worker)?;
                let text = format!(
                    "{worker} hands its events over to its host and stops; its {shards} wait, and their guilds with \
                     them, until it goes on. Within some minutes they resume and get what they missed; after that \
                     each takes one identify."
                );
                cost(0, RESTART_S, text)
            }
            Self::UnpauseWorker { worker } => {
                let shards = place_of(state, worker)?;
                cost(
                    0,
                    RESTART_S,
                    format!("{worker} starts; its {shards} resume if their sessions still live."),
                )
            }
            Self::Reshard { shards } => reshard_cost(*shards, state),
            Self::Deploy { workers } => {
                let places = state["cluster"]["workers"].as_object().map_or(0, Map::len) as u64;
                if places == 0 {
                    return Err(NO_CLUSTER.to_owned());
                }
                let turns = workers.map_or(places, |workers| places.max(workers.into()));
                let text = "Worker after worker stops and starts again, each when the shards of the one before it \
                            have resumed. Nothing is lost; a worker that does not come back healthy ends it.";
                cost(0, RESTART_S * turns, text.to_owned())
            }
            Self::Publish { topic, .. } => {
                let workers = state["workers"].as_object().into_iter().flatten();
                let is_subscribed = |worker: &Value| {
                    worker["topics"].as_array().is_some_and(|topics| topics.contains(&json!(topic)))
                };
                let hear = workers.filter(|(_, worker)| is_subscribed(worker)).count();
                let text = match hear {
                    0 => format!("No process is subscribed to {topic}: nobody will hear it."),
                    1 => format!("One process is subscribed to {topic}."),
                    hear => format!("{hear} processes are subscribed to {topic}."),
                };
                cost(0, 0, text)
            }
            Self::RetryJob { .. } => {
                cost(0, 0, "The job waits again, with all its attempts before it.".to_owned())
            }
            Self::RetryJobs { queue } => {
                let dead = state["jobs"][queue]["dead"].as_u64().unwrap_or(0);
                cost(0, 0, format!("{dead} jobs wait again, with all their attempts before them."))
            }
        }
    }
}

/// Why actions for workers cannot be done.
pub(crate) const NO_CLUSTER: &str = "no `shardwright cluster` runs these workers, or not in the directory that the \
                                     dashboard was started with (--directory): what started them has to do this";

/// The shards of a worker of the cluster, for people.
fn place_of(state: &Value, worker: &str) -> Result<String, String> {
    let places = state["cluster"]["workers"].as_object().ok_or(NO_CLUSTER)?;
    let place = places.get(worker).ok_or_else(|| format!("the cluster has no {worker:?}"))?;
    Ok(format!("shards {}", place["range"].as_str().unwrap_or_default()))
}

/// A reshard identifies every shard of the new set, window by window.
fn reshard_cost(shards: ShardCount, state: &Value) -> Result<Cost, String> {
    let budget = &state["budget"];
    let number = |key: &str| budget[key].as_u64().and_then(|number| u32::try_from(number).ok());
    let ShardCount::Fixed(shards) = shards else {
        let text = "As many identifies as Discord recommends shards, which is asked first. Both sets run side by \
                    side until the new one is ready; no event is lost.";
        return Ok(Cost { identifies: 0, seconds: RESHARD_S, text: text.to_owned() });
    };
    let shards = shards.get();
    let usable = number("remaining").map(|left| left - left.min(number("reserve").unwrap_or(0)));
    if let Some(usable) = usable.filter(|usable| *usable < shards) {
        return Err(format!(
            "resharding to {shards} takes {shards} identifies, and only {usable} may be used until the limit resets"
        ));
    }
    let windows_before = shards.div_ceil(number("max_concurrency").unwrap_or(1).max(1)) - 1;
    let seconds = windows(windows_before) + RESHARD_S;
    let text = format!(
        "A new set of {shards} shards identifies beside the running one and takes over when all of it is ready. No \
         event is lost; while both run, the memory of both is taken."
    );
    Ok(Cost { identifies: shards, seconds, text })
}

/// Seconds that so many identify windows take.
fn windows(count: u32) -> u64 {
    Duration::from_secs_f64((f64::from(count) * WINDOW_S).ceil()).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> Value {
        json!({
            "budget": {"total": 1000, "remaining": 70, "reserve": 50, "max_concurrency": 2},
            "shards": {"0": {"state": "ready"}, "1": {"state": "nobody"}},
            "workers": {"a": {"topics": ["reload"]}, "b": {"topics": []}},
            "jobs": {"mail": {"dead": 3}},
            "cluster": {"workers": {"worker 0": {"range": "0-0/2"}, "worker 1": {"range": "1-1/2"}}},
        })
    }

    fn cost(action: &Value, state: &Value) -> Result<(u32, u64, String), String> {
        let cost = Action::read(&action.to_string())?.cost(state)?;
        Ok((cost.identifies, cost.seconds, cost.text))
    }

    #[test]
    fn costs_are_told() {
        let state = state();
        let of = |action: Value| cost(&action, &state).expect("it can be done");
        assert_eq!(of(json!({"do": "restart_shard", "shard": 0, "resume": true})).0, 0);
        assert_eq!(of(json!({"do": "restart_shard", "shard": 0, "resume": false})).0, 1);
        let (identifies, seconds, _) = of(json!({"do": "reshard", "shards": 20}));
        assert_eq!((identifies, seconds), (20, 48 + RESHARD_S));
        assert_eq!(of(json!({"do": "deploy"})).1, 2 * RESTART_S);
        assert_eq!(of(json!({"do": "deploy", "workers": 8})).1, 8 * RESTART_S);
        assert!(of(json!({"do": "pause_worker", "worker": "worker 1"})).2.contains("shards 1-1/2"));
        assert!(of(json!({"do": "publish", "topic": "reload", "data": 1})).2.contains("One"));
        assert!(of(json!({"do": "publish", "topic": "x", "data": 1})).2.contains("nobody"));
        assert!(of(json!({"do": "retry_jobs", "queue": "mail"})).2.starts_with("3 jobs"));
    }

    #[test]
    fn what_cannot_be_done_says_why() {
        let mut state = state();
        for (action, told) in [
            (json!({"do": "restart_shard", "shard": 1, "resume": true}), "runs shard 1"),
            (json!({"do": "restart_shard", "shard": 9, "resume": true}), "runs shard 9"),
            (json!({"do": "restart_worker", "worker": "worker 2"}), "no \"worker 2\""),
            (json!({"do": "reshard", "shards": 21}), "only 20 may be used"),
            (json!({"do": "reshard", "shards": 0}), "expected \"auto\" or a number of shards"),
            (json!({"do": "reshard", "shards": "many"}), "`auto` or a number of shards"),
            (json!({"do": "explode"}), "unknown variant `explode`"),
            (json!({"do": "deploy", "worker": 1}), "unknown field `worker`"),
            (json!([]), "an action is an object"),
        ] {
            let error = cost(&action, &state).expect_err("it cannot");
            assert!(error.contains(told), "{action}: {error}");
        }
        state["cluster"] = Value::Null;
        for action in
            [json!({"do": "deploy"}), json!({"do": "restart_worker", "worker": "worker 0"})]
        {
            assert!(cost(&action, &state).expect_err("it cannot").contains("shardwright cluster"));
        }
    }
}
