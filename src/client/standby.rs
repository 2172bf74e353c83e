//! A client that comes up beside those of other processes and takes over from all of them, when the bot gets another
//! number of shards: `standby` in its configuration.
//!
//! Its shards identify as any others do, and what they bring is held. Who changes the number of shards, a cluster,
//! tells it over the backplane how far the others are, and at last to take over. It says so again and again, for
//! nobody answers: that a client has taken over shows in its record. The others note what they deliver before they
//! stop, and leave that on the backplane.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::fleet::{Fleet, Member};
use super::records::Kind;
use super::shared::{Shared, lock};
use super::stage::Stage;
use super::startup::Plan;
use super::worker::STANDBY;
use crate::config::Config;
use crate::queue::{EventQueue, NO_SHARD};
use crate::sessions::{Owner, wall_ms};
use crate::shard::driver::Mail;
use crate::shard::hold::{Hold, Released};
use crate::shard::notes::{Noted, Notes};
use crate::shard::{ShardState, StopMode};

/// A client that hears nothing for so long has been forgotten: whoever started it is gone.
const PATIENCE: Duration = Duration::from_secs(120);

/// A heartbeat that was answered in this time is not asked for again.
const BEAT_GOOD_FOR: Duration = Duration::from_secs(2);

/// Events on one page of notes: in base64 they fit into a value of the cache.
const PAGE: usize = 20_000;

/// How long notes stay on the backplane.
const NOTES_KEPT: Duration = Duration::from_secs(600);

/// What the workers of a bot are told while it gets another number of shards. Moments are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum StandbyWord {
    /// To all: show with a heartbeat that your shards are alive. To those that run: note what you deliver.
    Note {
        /// What those have as `standby` that it is for.
        standby: String,
    },
    /// To those that wait to take over: go on waiting.
    Wait {
        /// What they have as `standby`.
        standby: String,
        /// The hosts of the others have all that came before this moment.
        known_ms: i64,
    },
    /// To the same: take over.
    TakeOver {
        /// What they have as `standby`.
        standby: String,
        /// The others have delivered all that came before this moment.
        from_ms: i64,
        /// They may have delivered what came until this moment.
        until_ms: i64,
        /// The workers that have left notes of what they delivered; empty if some have not.
        noted_by: Vec<String>,
    },
}

/// What a client notes for those that are to take over from it.
#[derive(Debug)]
pub(super) struct NoteTaking {
    /// What they have as `standby`.
    standby: String,
    notes: Arc<Notes>,
    /// When that was asked for last.
    wanted_at: Instant,
}

/// A part of the notes of one worker, as it leaves them.
#[derive(Debug, Serialize, Deserialize)]
struct Page {
    /// So many parts there are.
    pages: usize,
    /// Says how the same event looks to that worker.
    look: u64,
    /// Eight bytes for each event, in base64.
    noted: String,
}

/// What a standby client waits for.
#[derive(Debug)]
pub(super) struct Standby {
    name: String,
    hold: Arc<Hold>,
    /// What it was told last.
    word: watch::Sender<Option<StandbyWord>>,
}

impl Standby {
    /// Of a client that is one.
    pub(super) fn new(config: &Config, queue: &Arc<EventQueue>) -> Option<Self> {
        let name = config.standby.clone()?;
        let hold = Arc::new(Hold::new(Arc::clone(queue), config.queue.max_bytes));
        Some(Self { name, hold, word: watch::Sender::new(None) })
    }

    /// What its shards share.
    pub(super) fn hold(&self) -> Arc<Hold> {
        Arc::clone(&self.hold)
    }

    /// Whether it still waits for its turn.
    pub(super) fn is_waiting(&self) -> bool {
        self.hold.is_waiting()
    }
}

impl Shared {
    /// Whether the client waits to take over from those of other processes.
    pub(super) fn stands_by(&self) -> bool {
        self.standby.as_ref().is_some_and(Standby::is_waiting)
    }

    /// What the client is doing, for people and other processes.
    pub(super) fn stage_name(&self, stage: &Stage) -> &'static str {
        match stage {
            Stage::Starting { .. } | Stage::Running { .. } if self.stands_by() => STANDBY,
            stage => stage.name(),
        }
    }

    /// Up to when, in milliseconds since 1970, the host has taken all that Discord had sent. `None` when a shard is
    /// not ready or has not shown yet that it is alive.
    pub(super) fn through_ms(&self, fleet: &Fleet) -> Option<i64> {
        let mut oldest = Instant::now().into_std();
        for (_, member) in fleet.running() {
            let shard = member.status.get();
            match shard.state {
                ShardState::Fatal => {}
                ShardState::Ready => oldest = oldest.min(shard.acked_beat_at?),
                _ => return None,
            }
        }
        let age_ms = i64::try_from(oldest.elapsed().as_millis()).unwrap_or(i64::MAX);
        let alive_ms = wall_ms().saturating_sub(age_ms);
        Some(self.queue.oldest_ns().map_or(alive_ms, |oldest| alive_ms.min(oldest / 1_000_000)))
    }

    /// Somebody changes the number of shards of the bot.
    pub(super) fn hear(&self, word: StandbyWord) {
        match &word {
            StandbyWord::Note { standby } => {
                if !self.stands_by() {
                    self.note_for(standby);
                }
                let is_due = |member: &&Member| {
                    let acked = member.status.get().acked_beat_at;
                    acked.is_none_or(|at| at.elapsed() >= BEAT_GOOD_FOR)
                };
                let stage = self.stage();
                let members = stage.fleet().into_iter().flat_map(|fleet| fleet.members.values());
                for member in members.filter(is_due) {
                    // One that has gone answers nothing.
                    let _ = member.mailbox.send(Mail::Beat);
                }
            }
            StandbyWord::Wait { standby, .. } | StandbyWord::TakeOver { standby, .. } => {
                if let Some(own) = self.standby.as_ref().filter(|own| own.name == *standby) {
                    own.word.send_replace(Some(word));
                }
            }
        }
    }

    /// Waits for the turn of a standby client, and takes over.
    pub(super) async fn stand_by(self: Arc<Self>, plan: Plan) {
        let Some(standby) = &self.standby else { return };
        let mut words = standby.word.subscribe();
        // What was said before counts too.
        words.mark_changed();
        info!(
            "the shards come up as {}; what they bring is held until they take over",
            standby.name
        );
        loop {
            let heard = tokio::select! {
                biased;
                heard = timeout(PATIENCE, words.changed()) => heard,
                () = standby.hold.until_over_bound() => {
                    let text = "the shards bring more than `queue.max_bytes` before they take over; make that \
                                larger, or change the number of shards when there is less going on";
                    return self.give_up_standby(&standby.hold, text);
                }
            };
            if heard.is_err() {
                let text = "nobody has said for two minutes that this client is still to take over: what \
                            started it with `standby` has gone";
                return self.give_up_standby(&standby.hold, text);
            }
            let word = words.borrow_and_update().clone();
            match word {
                Some(StandbyWord::TakeOver { from_ms, until_ms, noted_by, .. }) => {
                    let noted = self.noted(&standby.name, &noted_by).await;
                    return self.take_over(&standby.hold, from_ms, until_ms, noted, &plan).await;
                }
                Some(StandbyWord::Wait { known_ms, .. }) => {
                    standby.hold.note_known(known_ms.saturating_mul(1_000_000));
                }
                Some(StandbyWord::Note { .. }) | None => {}
            }
        }
    }

    /// Its shards are the bot's from now on.
    async fn take_over(
        &self,
        hold: &Hold,
        from_ms: i64,
        until_ms: i64,
        noted: Option<Noted>,
        plan: &Plan,
    ) {
        let ns = |ms: i64| ms.saturating_mul(1_000_000);
        let Released { told, flagged, dropped } = hold.release(ns(from_ms), ns(until_ms), noted);
        info!(
            "takes over with {told} events that were held, of which {flagged} are flagged as replayed; {dropped} \
             more had been delivered"
        );
        self.present_fleet("takes over from other processes");
        self.record_news(Kind::Reshard, None, format!("shards of {} take over", plan.total), None);
        if let Some(keeper) = &self.keeper {
            keeper.reshard(plan).await;
        }
    }

    // -- notes --------------------------------------------------------------------------------

    /// Has the shards note what they deliver.
    fn note_for(&self, standby: &str) {
        let stage = self.stage();
        let Stage::Running { fleet, .. } = &*stage else { return };
        let mut taking = lock(&self.notes);
        match &mut *taking {
            Some(taking) if taking.standby == standby => taking.wanted_at = Instant::now(),
            other => {
                let notes = Arc::new(Notes::new(Arc::clone(&self.queue), fleet.members.len()));
                fleet.tell_all(|| Mail::Note(Arc::clone(&notes)));
                let (standby, wanted_at) = (standby.to_owned(), Instant::now());
                *other = Some(NoteTaking { standby, notes, wanted_at });
            }
        }
    }

    /// Since when all shards note what they deliver, in milliseconds since 1970. They stop when nobody has wanted
    /// it for a while.
    pub(super) fn noted_since_ms(&self) -> Option<i64> {
        let mut taking = lock(&self.notes);
        if let Some(forgotten) = taking.take_if(|it| it.wanted_at.elapsed() >= PATIENCE) {
            forgotten.notes.end();
        }
        taking.as_ref()?.notes.since_ns().map(|since| since / 1_000_000)
    }

    /// A shard delivered something that it did not note.
    pub(super) fn void_notes(&self) {
        if let Some(taking) = &*lock(&self.notes) {
            taking.notes.void();
        }
    }

    /// Leaves the notes on the backplane, when nothing more will be delivered. Should that fail, more is flagged.
    pub(super) async fn leave_notes(&self) {
        let Some(post) = &self.post else { return };
        let Some(NoteTaking { standby, notes, .. }) = lock(&self.notes).take() else { return };
        let Some(noted) = notes.noted() else { return };
        let pages: Vec<&[u64]> =
            if noted.is_empty() { vec![&[]] } else { noted.chunks(PAGE).collect() };
        for (number, page) in pages.iter().enumerate() {
            let bytes: Vec<u8> = page.iter().flat_map(|content| content.to_le_bytes()).collect();
            let noted = STANDARD.encode(bytes);
            let page = Page { pages: pages.len(), look: self.look(), noted };
            let key = key(&standby, post.worker(), number);
            if let Err(trouble) = post.keep(&key, &page, NOTES_KEPT).await {
                warn!("what was delivered last is not known to those that take over: {trouble}");
                return;
            }
        }
    }

    /// What these workers have noted, if all of it can be had.
    async fn noted(&self, standby: &str, workers: &[String]) -> Option<Noted> {
        let post = self.post.as_ref().filter(|_| !workers.is_empty())?;
        let mut all = Noted::default();
        for worker in workers {
            let mut number = 0;
            loop {
                let page: Page = post.kept(&key(standby, worker, number)).await?;
                // Another version, or other intents: the same event would look another way.
                if page.look != self.look() {
                    return None;
                }
                let bytes = STANDARD.decode(page.noted).ok()?;
                let (contents, _) = bytes.as_chunks::<8>();
                all.add(contents.iter().map(|content| u64::from_le_bytes(*content)));
                number += 1;
                if number >= page.pages {
                    break;
                }
            }
        }
        Some(all)
    }

    /// Says how the same event looks to a client: another one that says the same notes it in the same way.
    fn look(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Owner::new(&self.config).identify.hash(&mut hasher);
        hasher.finish()
    }

    /// It will not take over: its sessions end, and the client with them.
    fn give_up_standby(&self, hold: &Hold, reason: &str) {
        hold.give_up();
        self.refuse(NO_SHARD, reason, None);
        if let Some(fleet) = self.stage().fleet() {
            fleet.tell_all(|| Mail::Stop(StopMode::Close));
        }
    }

    /// The host hears of the shards for the first time.
    fn present_fleet(&self, reason: &str) {
        let stage = self.stage();
        let Some(fleet) = stage.fleet() else { return };
        let mut ready = 0;
        for (&shard_id, member) in &fleet.members {
            let shard = member.status.get();
            self.say(shard_id, ShardState::Idle, shard.state, reason.to_owned());
            match shard.state {
                ShardState::Ready => ready = self.note_ready(shard_id),
                ShardState::Fatal => {
                    self.refuse(shard_id, &shard.last_error.unwrap_or_default(), None);
                }
                _ => {}
            }
        }
        if self.is_complete(fleet, ready) {
            self.complete();
        }
    }
}

/// Where a page of one worker's notes is.
fn key(standby: &str, worker: &str, page: usize) -> String {
    format!("_standby:{standby}:{worker}:{page}")
}
