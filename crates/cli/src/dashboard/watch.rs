//! Looks at everything there is to see, a few times a second, and says what has changed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};
use shardwright::client::Heard;
use shardwright::queue::EventKind;
use tokio::task::spawn_blocking;
use tokio::time::{interval, timeout};

use super::state::{Sources, State};
use super::{Dashboard, now_ms};
use crate::cluster::{self, ClusterStatus, Wish};
use crate::view::View;

/// Time between two looks. Workers say at once when a shard changes its state, and every three seconds how they are.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// Time between two looks at what the store has.
const STORE_EVERY: Duration = Duration::from_secs(2);

/// Messages and calls that are shown.
const MAX_MESSAGES: usize = 100;

/// The longest text of one that is shown.
const MAX_MESSAGE_CHARS: usize = 500;

/// Incidents that are shown at once; older ones are asked for.
pub(crate) const MAX_INCIDENTS: usize = 100;

/// How long ago incidents may be that are shown at once.
const INCIDENTS_OF: Duration = Duration::from_secs(24 * 60 * 60);

/// Incidents may change for so long: what befalls other shards in the same way is added to them.
const INCIDENTS_CHANGE_FOR_MS: i64 = 60_000;

/// Messages and calls that were heard.
#[derive(Debug, Default)]
pub(crate) struct Messages(Mutex<(u64, VecDeque<(u64, Said)>)>);

#[derive(Debug, Serialize)]
struct Said {
    at_ms: i64,
    kind: &'static str,
    topic: String,
    from: String,
    text: String,
}

impl Messages {
    /// Something was said.
    pub(crate) fn note(&self, heard: Heard) {
        let Heard { kind, topic, from, data } = heard;
        let kind = match kind {
            EventKind::Call => "call",
            _ if topic == "_cache" => "cache",
            _ => "message",
        };
        let mut text: String = data.get().chars().take(MAX_MESSAGE_CHARS).collect();
        if text.len() < data.get().len() {
            text.push('…');
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.0 += 1;
        let number = known.0;
        if known.1.len() == MAX_MESSAGES {
            known.1.pop_front();
        }
        known.1.push_back((number, Said { at_ms: now_ms(), kind, topic, from, text }));
    }

    /// By number. Who said it is told by name.
    fn to_json(&self, names: &BTreeMap<String, String>) -> Value {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = known.1.iter().map(|(number, said)| {
            let mut value = json!(said);
            if let Some(name) = names.get(&said.from) {
                value["from"] = json!(name);
            }
            (number.to_string(), value)
        });
        said.collect()
    }
}

/// What was seen last.
struct Seen {
    view: View,
    incidents: BTreeMap<String, Value>,
    store_at: Option<Instant>,
    topics: BTreeSet<String>,
}

/// The state before the first look.
pub(crate) fn nothing() -> Value {
    let mut state = json!(State::default());
    for key in ["actions", "messages", "incidents"] {
        state[key] = json!({});
    }
    state
}

/// Looks until the program ends.
pub(crate) async fn watch(dashboard: Arc<Dashboard>) {
    let mut seen = Seen {
        view: View::nobody(),
        incidents: BTreeMap::new(),
        store_at: None,
        topics: BTreeSet::new(),
    };
    let mut clock = interval(LOOK_EVERY);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            () = dashboard.work.news.notified() => {}
        }
        dashboard.look(&mut seen).await;
    }
}

impl Dashboard {
    /// One look.
    async fn look(&self, seen: &mut Seen) {
        let mut sources = Sources::default();
        match self.stats().await {
            Ok(view) => seen.view = view,
            // What was known last stays to be seen.
            Err(error) => sources.backplane = Some(error),
        }
        self.listen(seen).await;
        sources.store = self.look_at_store(seen).await;
        let mut state = self.rated(&seen.view);
        (state.cluster, sources.cluster) = self.cluster_status().await;
        state.sources = sources;
        state.playground =
            self.playground.as_ref().is_some_and(super::playground::Playground::is_there);
        let names = seen.view.workers.iter();
        let names = names.map(|it| (it.id.clone(), it.name().to_owned())).collect();
        let mut state = json!(state);
        state["actions"] = self.work.to_json();
        state["messages"] = self.messages.to_json(&names);
        state["incidents"] = json!(seen.incidents);
        self.hub.set(state);
    }

    /// What the workers say.
    async fn stats(&self) -> Result<View, String> {
        let stats = self.observer.cluster_stats().await.map_err(|error| error.to_string())?;
        View::read(&String::from_utf8_lossy(&stats)).map_err(|error| format!("{error:#}"))
    }

    /// With how fast it goes.
    fn rated(&self, view: &View) -> State {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let state = State::of(view, &rates);
        rates.note(view, &state.totals, Instant::now(), now_ms());
        state
    }

    /// Hears what the workers hear.
    async fn listen(&self, seen: &mut Seen) {
        let topics = seen.view.workers.iter().flat_map(|worker| &worker.topics);
        let new: Vec<String> =
            topics.filter(|topic| !seen.topics.contains(*topic)).cloned().collect();
        // Where it is away, it is listened to from its next connection on.
        if !new.is_empty() && self.observer.listen(&new).await.is_ok() {
            seen.topics.extend(new);
        }
    }

    /// Reads the newest incidents; what is wrong with the store.
    async fn look_at_store(&self, seen: &mut Seen) -> Option<String> {
        if !self.observer.has_store() {
            return Some("missing".to_owned());
        }
        if seen.store_at.is_some_and(|at| at.elapsed() < STORE_EVERY) {
            return self.observer.trouble().1;
        }
        seen.store_at = Some(Instant::now());
        let since_ms = match seen.incidents.values().next_back() {
            Some(newest) => newest["at_ms"].as_i64().unwrap_or(0) - INCIDENTS_CHANGE_FOR_MS,
            None => now_ms() - i64::try_from(INCIDENTS_OF.as_millis()).unwrap_or(0),
        };
        let incidents = self.incidents_between(since_ms, i64::MAX).await;
        match incidents {
            Ok(found) => seen.incidents.extend(found),
            Err(error) => return Some(error),
        }
        while seen.incidents.len() > MAX_INCIDENTS {
            seen.incidents.pop_first();
        }
        None
    }

    /// How the cluster's workers are, and what is wrong with it.
    async fn cluster_status(&self) -> (Option<ClusterStatus>, Option<String>) {
        /// A cluster that is busy answers within this.
        const PATIENCE: Duration = Duration::from_secs(2);
        let Some(directory) = self.directory.clone() else {
            return (None, Some("missing".to_owned()));
        };
        if !directory.join("control").exists() {
            return (None, Some("missing".to_owned()));
        }
        let asked = spawn_blocking(move || cluster::ask(&directory, &Wish::Status, |_| ()));
        match timeout(PATIENCE, asked).await {
            Ok(Ok(Ok(status))) => (status, None),
            Ok(Ok(Err(error))) => (None, Some(format!("{error:#}"))),
            Ok(Err(_)) | Err(_) => (None, Some("the cluster does not answer".to_owned())),
        }
    }
}
