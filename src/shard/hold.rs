//! What shards of a standby process bring before they take over from those of other processes.
//!
//! Both sets get the same payloads. Until the takeover the old set's hosts get them, and this one keeps what its
//! sessions begin with and all that follows. At the takeover its host gets that in the order in which it came: the
//! beginnings as they are, and what is new as new. What the old set has delivered, as its notes say, is dropped,
//! unless it changes what GUILD_CREATE said; then it comes flagged as replayed. Without notes all comes flagged that
//! may have reached the old set.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::guilds::ids_of_ready;
use super::notes::Noted;
use super::overlap::{ANSWERS, copy};
use crate::queue::{Event, EventKind, EventQueue, FLAG_REPLAYED};

/// Dispatches that tell of something that happened, and not of how things are now. So do those of messages.
const HAPPENINGS: [&[u8]; 5] = [
    b"AUTO_MODERATION_ACTION_EXECUTION",
    b"GUILD_AUDIT_LOG_ENTRY_CREATE",
    b"INTERACTION_CREATE",
    b"TYPING_START",
    b"VOICE_CHANNEL_EFFECT_SEND",
];

/// What a standby client's shards share.
pub(crate) struct Hold {
    queue: Arc<EventQueue>,
    /// Bytes that are held of what each session begins with, and of what follows of all of them.
    max_bytes: usize,
    state: Mutex<State>,
    /// More is to be held than may be.
    is_over_bound: Notify,
}

#[derive(Default)]
struct State {
    phase: Phase,
    held: VecDeque<Held>,
    /// Of what is not a beginning.
    bytes: usize,
    beginnings: HashMap<u32, Beginning>,
    /// The old set's hosts have all that came before this moment, in nanoseconds since 1970.
    known_ns: i64,
    /// What they have beyond that, as far as they noted it.
    noted: Option<Noted>,
    /// They have nothing that came after this moment.
    until_ns: i64,
}

/// What is known of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The old set has not delivered it.
    New,
    /// It may have.
    Unclear,
    /// It has.
    Known,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// The old set delivers.
    #[default]
    Holding,
    /// This one does. For a while the old one may have had what comes, too.
    Settling,
    /// It will not take over.
    GivenUp,
}

struct Held {
    event: Event,
    /// It is what a session begins with.
    is_beginning: bool,
}

/// What one shard's session begins with.
#[derive(Default)]
struct Beginning {
    /// Guilds that READY listed and GUILD_CREATE has not brought.
    unsent: HashSet<u64>,
    /// What is held of it.
    bytes: usize,
}

/// What became of what was held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Released {
    /// Dispatches that the host gets.
    pub(crate) told: usize,
    /// Those of them that it may get twice.
    pub(crate) flagged: usize,
    /// Dispatches that the old set has delivered.
    pub(crate) dropped: usize,
}

impl Hold {
    /// Holds all, at most so many bytes for what each shard's session begins with, and so many for what follows.
    pub(crate) fn new(queue: Arc<EventQueue>, max_bytes: usize) -> Self {
        Self { queue, max_bytes, state: Mutex::default(), is_over_bound: Notify::new() }
    }

    /// Whether the client still waits for its turn.
    pub(crate) fn is_waiting(&self) -> bool {
        self.lock().phase == Phase::Holding
    }

    /// Whether the host hears of the states of its shards.
    pub(crate) fn speaks(&self) -> bool {
        self.lock().phase == Phase::Settling
    }

    /// Whether events that come at this moment or later, in nanoseconds since 1970, need not pass through here.
    pub(crate) fn is_over(&self, now_ns: i64) -> bool {
        let mut state = self.lock();
        let is_over = state.phase == Phase::Settling && now_ns > state.until_ns;
        if is_over {
            // What another shard still has from before comes flagged.
            state.noted = None;
        }
        is_over
    }

    /// Waits until more is to be held than may be.
    pub(crate) async fn until_over_bound(&self) {
        self.is_over_bound.notified().await;
    }

    /// The old set's hosts have all that came before this moment, in nanoseconds since 1970.
    pub(crate) fn note_known(&self, known_ns: i64) {
        let mut state = self.lock();
        state.known_ns = known_ns.max(state.known_ns);
    }

    /// The host gets what is held, and from now on what comes. The old set has delivered all that came before one
    /// moment, nothing that came after another, and between them what it noted, if it did. Both moments are
    /// nanoseconds since 1970.
    pub(crate) fn release(&self, from_ns: i64, until_ns: i64, noted: Option<Noted>) -> Released {
        let mut state = self.lock();
        let mut released = Released::default();
        if state.phase != Phase::Holding {
            return released;
        }
        let held = std::mem::take(&mut state.held);
        *state = State {
            phase: Phase::Settling,
            known_ns: from_ns,
            noted,
            until_ns,
            ..State::default()
        };
        let mut batch = Vec::with_capacity(held.len());
        for Held { mut event, is_beginning } in held {
            if event.kind != EventKind::Dispatch {
                self.queue.push_anyway(&mut batch);
                self.queue.push_own(event);
            } else if is_beginning || state.admit(&mut event) {
                released.told += 1;
                released.flagged += usize::from(event.flags & FLAG_REPLAYED != 0);
                batch.push(event);
            } else {
                released.dropped += 1;
            }
        }
        // Still locked: nothing that comes now may overtake it.
        self.queue.push_anyway(&mut batch);
        released
    }

    /// It will not take over: nothing of it gets to the host.
    pub(crate) fn give_up(&self) {
        *self.lock() = State { phase: Phase::GivenUp, ..State::default() };
    }

    /// Takes over a batch as [`EventQueue::push`] does, or holds it.
    #[must_use]
    pub(crate) fn push(&self, batch: &mut Vec<Event>) -> bool {
        let mut state = self.lock();
        if state.phase == Phase::Settling && !self.queue.takes_more() {
            return batch.is_empty();
        }
        self.take_in(&mut state, batch);
        self.queue.push_anyway(batch);
        true
    }

    /// The same, whether there is room or not.
    pub(crate) fn push_anyway(&self, batch: &mut Vec<Event>) {
        let mut state = self.lock();
        self.take_in(&mut state, batch);
        self.queue.push_anyway(batch);
    }

    /// Something that the engine says of a session's beginning.
    pub(crate) fn tell(&self, event: Event) {
        let mut state = self.lock();
        match state.phase {
            Phase::Holding => state.held.push_back(Held { event, is_beginning: true }),
            Phase::Settling => self.queue.push_own(event),
            Phase::GivenUp => {}
        }
    }

    /// Leaves in the batch what goes to the host now.
    fn take_in(&self, state: &mut State, batch: &mut Vec<Event>) {
        match state.phase {
            Phase::Holding => {
                batch.retain(|event| !state.hold(event));
                let is_over = |state: &State| {
                    let most = state.beginnings.values().map(|it| it.bytes).max().unwrap_or(0);
                    state.bytes.max(most) > self.max_bytes
                };
                if is_over(state) {
                    state.forget_known();
                    if is_over(state) {
                        self.is_over_bound.notify_one();
                    }
                }
            }
            Phase::Settling => batch.retain_mut(|event| state.admit(event)),
            Phase::GivenUp => batch.clear(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("phase", &self.lock().phase).finish_non_exhaustive()
    }
}

impl State {
    /// Holds an event; `false` when the host gets it at once.
    fn hold(&mut self, event: &Event) -> bool {
        let name = event.name();
        let beginning = self.beginnings.entry(event.shard_id).or_default();
        let is_beginning = match name {
            // Its host has asked for it.
            _ if ANSWERS.contains(&name) => return false,
            // It says nothing of the world.
            b"RESUMED" => return true,
            b"READY" => {
                // What an earlier session began with is void.
                *beginning = Beginning { unsent: ids_of_ready(event.data()).collect(), bytes: 0 };
                let shard_id = event.shard_id;
                self.held.retain(|held| !held.is_beginning || held.event.shard_id != shard_id);
                true
            }
            b"GUILD_CREATE" => beginning.unsent.remove(&event.guild_id),
            _ => false,
        };
        *(if is_beginning { &mut beginning.bytes } else { &mut self.bytes }) += event.data().len();
        self.held.push_back(Held { event: copy(event), is_beginning });
        true
    }

    /// Whether the host gets an event that it may have from the old set already; flags it then.
    fn admit(&mut self, event: &mut Event) -> bool {
        if event.received_ns > self.until_ns {
            return true;
        }
        let is_noted = self.noted.as_mut().is_some_and(|noted| noted.take(event));
        let standing = if event.received_ns < self.known_ns || is_noted {
            Standing::Known
        } else if self.noted.is_none() {
            Standing::Unclear
        } else {
            Standing::New
        };
        if standing != Standing::New {
            event.flags |= FLAG_REPLAYED;
        }
        standing != Standing::Known || !is_happening(event.name())
    }

    /// Makes room: drops what the old set's hosts have, and nobody will need. It is not forgone: what is held from
    /// before it is not done with.
    fn forget_known(&mut self) {
        let Self { held, bytes, known_ns, .. } = self;
        held.retain(|Held { event, is_beginning }| {
            let is_known = event.received_ns < *known_ns && is_happening(event.name());
            if !is_known || *is_beginning {
                return true;
            }
            *bytes -= event.data().len();
            false
        });
    }
}

/// Whether it tells of something that happened, and not of how things are now.
fn is_happening(name: &[u8]) -> bool {
    name.starts_with(b"MESSAGE_") || HAPPENINGS.contains(&name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::overlap::content;
    use super::*;
    use crate::config::QueueConfig;

    fn hold(max_bytes: usize) -> Hold {
        let queue = EventQueue::new(&QueueConfig::default()).expect("a descriptor");
        Hold::new(Arc::new(queue), max_bytes)
    }

    fn event(name: &str, data: &str, received_ns: i64) -> Event {
        let event = Event::new(EventKind::Dispatch, name, data.as_bytes());
        Event { shard_id: 3, guild_id: 7, received_ns, ..event }
    }

    /// Names of what the host got, flagged ones with a star.
    fn told(hold: &Hold) -> Vec<String> {
        let mut told = Vec::new();
        let take = |event: Event| {
            let star = if event.flags & FLAG_REPLAYED == 0 { "" } else { "*" };
            told.push(format!("{}{star}", String::from_utf8_lossy(event.name())));
        };
        hold.queue.poll(100, Some(Duration::ZERO), take).expect("open");
        told
    }

    fn push(hold: &Hold, events: impl IntoIterator<Item = Event>) -> Vec<String> {
        assert!(hold.push(&mut events.into_iter().collect()));
        told(hold)
    }

    #[test]
    fn the_host_gets_what_is_new_and_how_things_are() {
        let hold = hold(1_000);
        let ready = || event("READY", r#"{"guilds":[{"id":"7","unavailable":true}]}"#, 1);
        let guild = |at| event("GUILD_CREATE", "{}", at);
        let held = [
            ready(),
            guild(2),
            // The shard begins anew.
            event("MESSAGE_CREATE", "a", 3),
            ready(),
            guild(5),
            event("CHANNEL_CREATE", "{}", 6),
            event("MESSAGE_CREATE", "b", 7),
            event("RESUMED", "{}", 8),
            event("MESSAGE_CREATE", "c", 10),
            event("GUILD_MEMBER_ADD", "{}", 20),
            event("MESSAGE_CREATE", "d", 21),
        ];
        assert!(push(&hold, held).is_empty());
        hold.tell(Event::new(EventKind::GuildsComplete, "complete", b""));
        assert!(hold.is_waiting() && !hold.speaks());
        let answer = event("GUILD_MEMBERS_CHUNK", "{}", 22);
        assert_eq!(push(&hold, [answer]), ["GUILD_MEMBERS_CHUNK"], "its host asked for it");

        let released = hold.release(10, 20, None);
        assert_eq!(released, Released { told: 6, flagged: 3, dropped: 2 });
        assert!(hold.speaks() && !hold.is_waiting() && !hold.is_over(20));
        let expected = [
            "READY",
            "GUILD_CREATE",
            "CHANNEL_CREATE*",
            "MESSAGE_CREATE*",
            "GUILD_MEMBER_ADD*",
            "MESSAGE_CREATE",
            "complete",
        ];
        assert_eq!(told(&hold), expected);
        assert_eq!(hold.release(0, 0, None), Released::default(), "only once");

        let both = [event("MESSAGE_CREATE", "e", 20), event("MESSAGE_CREATE", "f", 21)];
        assert_eq!(push(&hold, both), ["MESSAGE_CREATE*", "MESSAGE_CREATE"]);
        assert!(hold.is_over(21));
    }

    #[test]
    fn what_the_old_set_noted_is_known() {
        let hold = hold(1_000);
        let message = |text, at| event("MESSAGE_CREATE", text, at);
        let channel = |at| event("CHANNEL_CREATE", "c", at);
        let held = [message("a", 5), channel(11), message("b", 12), message("b", 13)];
        assert!(push(&hold, held).is_empty());
        let mut noted = Noted::default();
        noted.add([channel(0), message("b", 0), message("c", 0)].iter().map(content));
        let released = hold.release(10, 20, Some(noted));
        assert_eq!(released, Released { told: 2, flagged: 1, dropped: 2 });
        assert_eq!(told(&hold), ["CHANNEL_CREATE*", "MESSAGE_CREATE"]);
        // What the old set had first.
        assert_eq!(push(&hold, [message("c", 15), message("d", 16)]), ["MESSAGE_CREATE"]);
        assert!(!hold.is_over(20));
        assert_eq!(push(&hold, [message("c", 21)]), ["MESSAGE_CREATE"], "it says the same again");
    }

    #[tokio::test]
    async fn what_is_held_is_bounded() {
        let hold = hold(2);
        let is_over = async |hold: &Hold| {
            tokio::time::timeout(Duration::ZERO, hold.until_over_bound()).await.is_ok()
        };
        let message = |at| event("MESSAGE_CREATE", "a", at);
        assert!(push(&hold, [event("READY", "{}", 1), message(2), message(3)]).is_empty());
        assert!(!is_over(&hold).await, "a beginning has a bound of its own");
        // What the old set has is forgotten first.
        hold.note_known(3);
        assert!(push(&hold, [message(4)]).is_empty());
        assert!(!is_over(&hold).await);
        assert!(push(&hold, [message(5)]).is_empty());
        assert!(is_over(&hold).await);
        hold.give_up();
        assert!(push(&hold, [message(6)]).is_empty() && !hold.speaks());
        assert_eq!(hold.release(0, 9, None), Released::default());
    }
}
