//! Workers that make room for others, a few at a time: a restart of all, another program, another number of
//! workers.
//!
//! Each turn stops some and starts those that take their shards over, which resume where the others were. The
//! next turn begins when all of those are ready. When one does not get there, what was done is undone.

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::health::Sign;
use super::place::{Place, Spec};
use super::say;
use super::status::ClusterStatus;

/// Who goes, and who comes in their place.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Places, by id.
    pub(crate) stop: Vec<u64>,
    pub(crate) start: Vec<Spec>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For a worker that was told to stop.
    pub(crate) stop: Duration,
    /// For the shards of one that has started.
    pub(crate) ready: Duration,
}

/// What is told of a rollout while it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// What happens.
    Line(String),
    /// All is done.
    Done(String),
    /// It was not done.
    Failed(String),
    /// How the workers are.
    Status(ClusterStatus),
}

/// Tells the log and, if somebody asked for it, them.
#[derive(Debug)]
pub(crate) struct Teller(pub(crate) Option<Sender<Told>>);

impl Teller {
    pub(crate) fn line(&self, text: fmt::Arguments<'_>) {
        self.tell(Told::Line(text.to_string()), &text);
    }

    pub(crate) fn done(&self, text: fmt::Arguments<'_>) {
        self.tell(Told::Done(text.to_string()), &text);
    }

    pub(crate) fn failed(&self, text: fmt::Arguments<'_>) {
        self.tell(Told::Failed(text.to_string()), &text);
    }

    fn tell(&self, told: Told, text: &fmt::Arguments<'_>) {
        say(*text);
        if let Some(asker) = &self.0 {
            // Whoever asked may have gone.
            let _ = asker.send(told);
        }
    }
}

/// What became of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    GoesOn,
    /// It is over, and what it was to bring about runs.
    Done,
    /// It is over, and what ran before runs.
    Undone,
}

/// A rollout under way.
#[derive(Debug)]
pub(crate) struct Rollout {
    turns: VecDeque<Turn>,
    /// Turns that undo those that began, newest first. Nothing is gained by that when the same program would be
    /// started with the same shards.
    undo: Option<VecDeque<Turn>>,
    stage: Stage,
    patience: Patience,
    teller: Teller,
    began: Instant,
    /// Sessions begun and gone on with by those that have come.
    identifies: u64,
    resumes: u64,
    /// Why what was done is undone.
    failure: Option<String>,
}

#[derive(Debug)]
enum Stage {
    /// The next turn can begin.
    Idle,
    /// Some are told to stop.
    Stopping { turn: Turn, since: Instant, was_killed: bool },
    /// Others start.
    Starting { ids: Vec<u64>, since: Instant },
}

impl Rollout {
    /// One that begins with its next step. `can_undo` says whether those that come are others than those that go.
    pub(crate) fn new(
        turns: impl IntoIterator<Item = Turn>,
        can_undo: bool,
        patience: Patience,
        teller: Teller,
    ) -> Self {
        Self {
            turns: turns.into_iter().collect(),
            undo: can_undo.then(VecDeque::new),
            stage: Stage::Idle,
            patience,
            teller,
            began: Instant::now(),
            identifies: 0,
            resumes: 0,
            failure: None,
        }
    }

    /// How far it is, for people.
    pub(crate) fn text(&self) -> String {
        let what = if self.failure.is_some() { "going back" } else { "workers are restarted" };
        let left = self.turns.len() + usize::from(!matches!(self.stage, Stage::Idle));
        format!("{what}: {left} to go")
    }

    /// Nothing of it will be done any more: the cluster stops.
    pub(crate) fn give_up(self) {
        self.teller.failed(format_args!("the cluster stops, and its rollout with it"));
    }

    /// One step.
    pub(crate) fn step(&mut self, places: &mut Vec<Place>) -> Outcome {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => {
                let Some(turn) = self.turns.pop_front() else { return self.end() };
                for place in places.iter_mut().filter(|place| turn.stop.contains(&place.id)) {
                    place.leave();
                }
                self.stage = Stage::Stopping { turn, since: Instant::now(), was_killed: false };
            }
            Stage::Stopping { turn, since, was_killed } => {
                let is_leaving =
                    |place: &Place| turn.stop.contains(&place.id) && !place.is_stopped();
                if places.iter().any(is_leaving) {
                    let is_late = since.elapsed() >= self.patience.stop;
                    if is_late && !was_killed {
                        for place in places.iter_mut().filter(|place| is_leaving(place)) {
                            place.kill();
                        }
                    }
                    self.stage = Stage::Stopping { turn, since, was_killed: was_killed || is_late };
                } else {
                    self.stage = self.exchange(turn, places);
                }
            }
            Stage::Starting { ids, since } => {
                let started: Vec<_> =
                    places.iter().filter(|place| ids.contains(&place.id)).collect();
                if let Some(why) = self.look_at(&started, since) {
                    return self.fail(&why);
                }
                let is_ready = |place: &&Place| {
                    place.spec.is_paused || matches!(place.sign(), Some(Sign::Ready { .. }))
                };
                if started.iter().all(is_ready) {
                    self.count(&started, since);
                } else {
                    self.stage = Stage::Starting { ids, since };
                }
            }
        }
        Outcome::GoesOn
    }

    /// Those that have stopped go, and others come.
    fn exchange(&mut self, turn: Turn, places: &mut Vec<Place>) -> Stage {
        let new: Vec<_> = turn.start.into_iter().map(Place::new).collect();
        let ids: Vec<_> = new.iter().map(|place| place.id).collect();
        let gone: Vec<_> = places.extract_if(.., |place| turn.stop.contains(&place.id)).collect();
        places.extend(new);
        places.sort_by_key(|place| place.spec.range.from);
        if let Some(undo) = &mut self.undo {
            let start = gone.into_iter().map(|place| place.spec).collect();
            undo.push_front(Turn { stop: ids.clone(), start });
        }
        Stage::Starting { ids, since: Instant::now() }
    }

    /// Why those that have started will not be ready, if so.
    fn look_at(&self, started: &[&Place], since: Instant) -> Option<String> {
        let is_late = since.elapsed() >= self.patience.ready;
        started.iter().find_map(|place| {
            let name = &place.spec.name;
            match place.sign() {
                None if place.is_new() => None,
                None => Some(format!("{name} ended as it started")),
                Some(Sign::Hung(why)) => Some(format!("{name} {why}")),
                Some(Sign::Silent) if is_late => Some(format!(
                    "{name} was not seen on the backplane in {} s: does the program start a client, with no \
                     other `backplane` in its configuration than SHARDWRIGHT_BACKPLANE?",
                    self.patience.ready.as_secs()
                )),
                Some(Sign::Starting(ready)) if is_late => Some(format!(
                    "only {ready} of {} shards of {name} were ready in {} s",
                    place.spec.range.count(),
                    self.patience.ready.as_secs()
                )),
                Some(_) => None,
            }
        })
    }

    /// A turn is done.
    fn count(&mut self, started: &[&Place], since: Instant) {
        for place in started {
            if place.spec.is_paused {
                self.teller.line(format_args!(
                    "{} is paused; shards {} wait",
                    place.spec.name, place.spec.range
                ));
            } else if let Some(Sign::Ready { identifies, resumes }) = place.sign() {
                self.identifies += identifies;
                self.resumes += resumes;
                self.teller.line(format_args!(
                    "{} is ready after {:.1} s: {resumes} shards resumed, {identifies} identified",
                    place.spec.name,
                    since.elapsed().as_secs_f64(),
                ));
            }
        }
    }

    /// It cannot go on: what was done is undone, if that helps.
    fn fail(&mut self, why: &str) -> Outcome {
        if let Some(undo) = self.undo.take() {
            self.teller.line(format_args!("{why}; going back to what ran before"));
            self.turns = undo;
            self.failure = Some(why.to_owned());
            return Outcome::GoesOn;
        }
        let before =
            self.failure.take().map(|before| format!("{before}, and ")).unwrap_or_default();
        let left = self.turns.len();
        self.teller.failed(format_args!("{before}{why}; {left} turns were not begun"));
        Outcome::Undone
    }

    /// All turns are done.
    fn end(&mut self) -> Outcome {
        if let Some(why) = &self.failure {
            self.teller.failed(format_args!("{why}; what ran before runs again"));
            return Outcome::Undone;
        }
        let Self { began, resumes, identifies, .. } = self;
        self.teller.done(format_args!(
            "done in {:.1} s: {resumes} shards resumed, {identifies} identified",
            began.elapsed().as_secs_f64()
        ));
        Outcome::Done
    }
}
