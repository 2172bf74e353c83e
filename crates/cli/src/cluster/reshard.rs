//! Another number of shards: a whole set of new workers comes up beside the running one and takes over.
//!
//! The new ones hold what their shards bring. When all of them are ready, those that run note what they deliver for
//! a while, and stop; when they have ended, the new ones deliver what is not in the notes. Where there are none, what
//! both may have delivered comes flagged. Until the old ones are told to stop, all of it can be undone.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shardwright::client::StandbyWord;

use super::Goal;
use super::health::{News, Report, Sign};
use super::place::Place;
use super::rollout::{Outcome, Patience, Teller};

/// How much later an event may come to one set than to the other.
const SLACK: Duration = Duration::from_secs(5);

/// Patience with guilds that READY listed and that are not sent.
const GUILDS: Duration = Duration::from_secs(15);

/// Patience with notes, and with shards that are to show that they are alive. Without them more is flagged.
const PROOF: Duration = Duration::from_secs(60);

/// What each identify window may take.
const WINDOW: Duration = Duration::from_secs(15);

/// A change of the number of shards under way.
#[derive(Debug)]
pub(crate) struct Reshard {
    /// What is to run.
    pub(crate) goal: Goal,
    /// The new workers, until they take over.
    pub(crate) new: Vec<Place>,
    /// What they know this by.
    standby: String,
    stage: Stage,
    stage_began: Instant,
    began: Instant,
    /// When the old ones were told to stop.
    paused: Option<Instant>,
    /// For a worker that stops, and for all shards to be ready.
    patience: Patience,
    teller: Teller,
}

/// How far it is. Moments are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// The new workers start.
    Starting,
    /// All of their shards are ready; their guilds are coming.
    Filling,
    /// Those that run note what they deliver, and show that they are alive.
    Noting,
    /// They stop.
    Stopping { cut: Cut, was_killed: bool },
    /// The new ones are told to take over.
    TakingOver { cut: Cut, until_ms: i64 },
    /// The new ones stop.
    Undoing { why: String, was_killed: bool },
}

/// Where the new workers take over.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cut {
    /// The old ones have delivered all that came before.
    from_ms: i64,
    /// Those of them that noted what came after; none, unless all did.
    noted_by: Vec<String>,
}

impl Reshard {
    /// One that begins with its next step. `places` makes the new workers of a name that they are told by.
    pub(crate) fn new(
        goal: Goal,
        standby: String,
        new: Vec<Place>,
        max_concurrency: u32,
        patience: Patience,
        teller: Teller,
    ) -> Self {
        let windows = goal.layout.shards.div_ceil(max_concurrency.max(1));
        let now = Instant::now();
        Self {
            goal,
            new,
            standby,
            stage: Stage::Starting,
            stage_began: now,
            began: now,
            paused: None,
            patience: Patience { ready: patience.ready + WINDOW * windows, ..patience },
            teller,
        }
    }

    /// How far it is, for people.
    pub(crate) fn text(&self) -> String {
        let total = self.goal.layout.shards;
        let ready = |place: &Place| match place.sign() {
            Some(Sign::Starting(ready)) => *ready,
            Some(Sign::Ready { .. }) => place.spec.range.count(),
            _ => 0,
        };
        match self.stage {
            Stage::TakingOver { .. } => format!("workers with {total} shards take over"),
            Stage::Stopping { .. } => format!("going to {total} shards: the old workers stop"),
            Stage::Undoing { .. } => "going back: the new workers stop".to_owned(),
            _ => {
                let ready: u32 = self.new.iter().map(ready).sum();
                format!("going to {total} shards: {ready} of them are ready")
            }
        }
    }

    /// Nothing of it will be done any more: the cluster stops. The workers that have not taken over.
    pub(crate) fn give_up(self) -> Vec<Place> {
        self.teller.failed(format_args!("the cluster stops, and its change of shards with it"));
        self.new
    }

    /// One step; `places` are those that run.
    pub(crate) fn step(&mut self, places: &mut Vec<Place>, news: &News) -> Outcome {
        match self.stage.clone() {
            Stage::Starting => {
                news.say(Some(self.wait(places)));
                if self.is_hopeless(places) {
                    return Outcome::GoesOn;
                }
                if self.new.iter().all(Place::is_ready) {
                    self.enter(Stage::Filling);
                }
            }
            Stage::Filling => {
                news.say(Some(self.wait(places)));
                if self.is_hopeless(places) {
                    return Outcome::GoesOn;
                }
                let missing = self.new.iter().filter_map(Place::report).map(|it| it.unavailable);
                let is_complete = missing.sum::<u64>() == 0 || self.stage_began.elapsed() >= GUILDS;
                if !self.new.iter().all(Place::is_ready) {
                    self.enter(Stage::Starting);
                } else if is_complete && places.iter().all(Place::is_ready) {
                    self.enter(Stage::Noting);
                }
            }
            Stage::Noting => {
                news.say(Some(StandbyWord::Note { standby: self.standby.clone() }));
                if self.is_hopeless(places) {
                    return Outcome::GoesOn;
                }
                if !places.iter().chain(&self.new).all(Place::is_ready) {
                    self.enter(Stage::Filling);
                    return Outcome::GoesOn;
                }
                let is_late = self.stage_began.elapsed() >= PROOF;
                let rough = || Cut { from_ms: known_ms(places), noted_by: Vec::new() };
                if let Some(cut) = clean_cut(places, &self.new).or_else(|| is_late.then(rough)) {
                    self.teller.line(format_args!(
                        "the new workers are ready after {:.1} s; those that run stop",
                        self.began.elapsed().as_secs_f64()
                    ));
                    places.iter_mut().for_each(Place::leave);
                    self.paused = Some(Instant::now());
                    self.enter(Stage::Stopping { cut, was_killed: false });
                }
            }
            Stage::Stopping { cut, was_killed } => {
                let (standby, known_ms) = (self.standby.clone(), cut.from_ms);
                news.say(Some(StandbyWord::Wait { standby, known_ms }));
                if !places.iter().all(Place::is_stopped) {
                    if self.stage_began.elapsed() >= self.patience.stop && !was_killed {
                        kill_all(places);
                        self.stage = Stage::Stopping { cut, was_killed: true };
                    }
                    return Outcome::GoesOn;
                }
                let cut = if places.iter().all(Place::has_ended_well) {
                    cut
                } else {
                    self.teller.line(format_args!(
                        "not all have finished what they had: all that the new workers held is delivered, flagged \
                         as replayed"
                    ));
                    Cut { from_ms: 0, noted_by: Vec::new() }
                };
                // From now on they are as others are: who ends is started again, and resumes.
                *places = std::mem::take(&mut self.new);
                places.iter_mut().for_each(Place::stand_alone);
                self.enter(Stage::TakingOver { cut, until_ms: now_ms() + millis(SLACK) });
            }
            Stage::TakingOver { cut, until_ms } => {
                return self.take_over(places, news, cut, until_ms);
            }
            Stage::Undoing { why, was_killed } => {
                news.say(None);
                if self.new.iter().all(Place::is_stopped) {
                    self.teller.failed(format_args!(
                        "{why}; the new workers have stopped, the others go on"
                    ));
                    return Outcome::Undone;
                }
                if self.stage_began.elapsed() >= self.patience.stop && !was_killed {
                    kill_all(&mut self.new);
                    self.stage = Stage::Undoing { why, was_killed: true };
                }
            }
        }
        Outcome::GoesOn
    }

    /// Has the new workers take over, who are `places` by now.
    fn take_over(&self, places: &[Place], news: &News, cut: Cut, until_ms: i64) -> Outcome {
        let (standby, Cut { from_ms, noted_by }) = (self.standby.clone(), cut);
        let word = StandbyWord::TakeOver { standby, from_ms, until_ms, noted_by };
        news.say(Some(word));
        let has_taken_over = |place: &Place| {
            place.is_ready() && place.report().is_some_and(|report| !report.is_standby)
        };
        if places.iter().all(has_taken_over) {
            news.say(None);
            self.tell_done(places);
            return Outcome::Done;
        }
        if self.stage_began.elapsed() >= self.patience.ready {
            news.say(None);
            let late = places.iter().find(|place| !has_taken_over(place));
            let name = late.map_or("a worker", |place| &place.spec.name);
            self.teller.failed(format_args!(
                "the new workers have taken over, but {name} is not ready; it is started again when it ends"
            ));
            return Outcome::Done;
        }
        Outcome::GoesOn
    }

    /// Undoes it, if the new workers will not be ready.
    fn is_hopeless(&mut self, places: &[Place]) -> bool {
        let Some(why) = self.trouble(places) else { return false };
        self.teller.line(format_args!("{why}; going back to what ran before"));
        self.new.iter_mut().for_each(Place::leave);
        self.enter(Stage::Undoing { why, was_killed: false });
        true
    }

    /// Why they will not be ready, if so.
    fn trouble(&self, places: &[Place]) -> Option<String> {
        let is_late = self.began.elapsed() >= self.patience.ready;
        let late_s = self.patience.ready.as_secs();
        let of_one = self.new.iter().find_map(|place| {
            let name = format!("the new {}", place.spec.name);
            if let Some(why) = place.report().and_then(|report| report.fatal.as_deref()) {
                return Some(format!("a shard of {name} was refused: {why}"));
            }
            match place.sign() {
                None if place.is_new() => None,
                None => Some(format!("{name} ended")),
                Some(Sign::Hung(why)) => Some(format!("{name} {why}")),
                Some(Sign::Silent) if is_late => Some(format!(
                    "{name} was not seen on the backplane in {late_s} s: does the program start a client, with no \
                     other `backplane` or `shards` in its configuration than SHARDWRIGHT_BACKPLANE and \
                     SHARDWRIGHT_SHARDS?"
                )),
                Some(Sign::Starting(ready)) if is_late => Some(format!(
                    "only {ready} of {} shards of {name} were ready in {late_s} s",
                    place.spec.range.count()
                )),
                Some(_) => None,
            }
        });
        of_one.or_else(|| {
            let unready = places.iter().find(|place| is_late && !place.is_ready())?;
            Some(format!("{}, which runs, was not ready in {late_s} s", unready.spec.name))
        })
    }

    /// What the new ones are told while they wait.
    fn wait(&self, places: &[Place]) -> StandbyWord {
        StandbyWord::Wait { standby: self.standby.clone(), known_ms: known_ms(places) }
    }

    /// All is done.
    fn tell_done(&self, places: &[Place]) {
        let (mut identified, mut resumed) = (0, 0);
        for place in places {
            if let Some(Sign::Ready { identifies, resumes }) = place.sign() {
                identified += identifies;
                resumed += resumes;
            }
        }
        let seconds = |since: Instant| since.elapsed().as_secs_f64();
        self.teller.done(format_args!(
            "done in {:.1} s: {resumed} shards resumed, {identified} identified, events waited for {:.1} s",
            seconds(self.began),
            self.paused.map_or(0.0, seconds),
        ));
    }

    fn enter(&mut self, stage: Stage) {
        (self.stage, self.stage_began) = (stage, Instant::now());
    }
}

/// Kills those that were told to stop and have not.
fn kill_all(places: &mut [Place]) {
    for place in places {
        place.kill();
    }
}

/// Where nothing comes twice: all of those that run note what they deliver for long enough, and have shown since that
/// they are alive.
fn clean_cut(running: &[Place], new: &[Place]) -> Option<Cut> {
    let reports: Option<Vec<&Report>> = running.iter().map(Place::report).collect();
    let reports = reports?;
    let since: Option<Vec<i64>> = reports.iter().map(|report| report.noted_since_ms).collect();
    // What came earlier to the new ones has come to these by one slack later, and before they noted at most.
    let from_ms = since?.into_iter().max()? + millis(SLACK);
    let has_come = |place: &Place| through_ms(place) >= Some(from_ms + millis(SLACK));
    running.iter().chain(new).all(has_come).then(|| Cut {
        from_ms,
        noted_by: reports.into_iter().map(|report| report.worker.clone()).collect(),
    })
}

/// The hosts of all of these have what came before this moment, in milliseconds since 1970.
fn known_ms(places: &[Place]) -> i64 {
    let through = places.iter().map(through_ms).min().flatten();
    through.map_or(0, |through| through - millis(SLACK))
}

fn through_ms(place: &Place) -> Option<i64> {
    place.report().and_then(|Report { through_ms, .. }| *through_ms)
}

/// Now, in milliseconds since 1970, as the workers' clock has it.
fn now_ms() -> i64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
