//! Two sets of shards side by side, while a bot is resharded: every event reaches the host once.
//!
//! Both sets get the same payloads, each with its own delay. What one has brought and the other not yet
//! is remembered by its content, guild by guild. Until the switch the old set delivers, and what the
//! new one has brought first is held; from then on whoever is first delivers, and the other's twin is
//! dropped. Both get the events of a guild in the same order, so the one that is ahead always brings
//! the next one, and the order is kept across the switch.
//!
//! A shard may lose its session meanwhile, and with it some events. What the new set holds of those that
//! an old shard lost comes before what that brings later; see [`Stream::has_gap`] and [`in_order`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::guilds::ids_of_ready;
use crate::queue::{Event, EventKind, EventQueue, Frame, WeakFrame};

/// Dispatches that answer what one session asked for; nobody else gets them.
pub(super) const ANSWERS: [&[u8]; 3] =
    [b"GUILD_MEMBERS_CHUNK", b"SOUNDBOARD_SOUNDS", b"RATE_LIMITED"];

/// Which set a shard belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Old,
    New,
}

/// How far the reshard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// The old set delivers.
    #[default]
    Before,
    /// Both deliver, whoever is first.
    Switched,
    /// The old set is gone; the new one may still bring what it had delivered.
    Settling,
    /// Only the new set is left.
    Over,
    /// The new set did not come up; only the old one is left.
    Abandoned,
}

impl Phase {
    /// The set whose own affairs the host hears of.
    fn speaker(self) -> Side {
        match self {
            Self::Before | Self::Abandoned => Side::Old,
            Self::Switched | Self::Settling | Self::Over => Side::New,
        }
    }
}

/// What two sets of shards have in common.
pub(crate) struct Overlap {
    queue: Arc<EventQueue>,
    /// Bytes of held events; beyond that the reshard cannot go on.
    max_held_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// By guild; 0 for direct messages.
    streams: HashMap<u64, Stream>,
    /// Guilds that READY listed and GUILD_CREATE has not brought: old set, new set.
    unsent: [HashSet<u64>; 2],
    held_bytes: usize,
    /// Events of the new set that were held so far.
    holds: u64,
    /// Shards of the old set that know of this.
    joined: usize,
    /// Twins that were dropped.
    twins: u64,
}

/// The events of one guild that only one set has brought, oldest first.
#[derive(Default)]
struct Stream {
    old: VecDeque<Ahead>,
    new: VecDeque<Ahead>,
    /// The old set's shard began another session before the switch. If its events are not among those
    /// that the new set holds, they are from before or from after those. Until that is known they are held
    /// too.
    has_gap: bool,
    /// Sessions that the old set's shard began anew before the switch.
    sessions: u32,
}

impl Stream {
    /// A shard of this side begins another session before the switch.
    fn begin_session(&mut self, side: Side) {
        match side {
            Side::Old => {
                self.has_gap = true;
                self.sessions += 1;
            }
            Side::New => self.new.iter_mut().for_each(|ahead| ahead.is_past = true),
        }
    }
}

/// An event that one set has brought and the other not.
struct Ahead {
    content: u64,
    /// [`Stream::sessions`] when it came.
    session: u32,
    /// The new set's shard that brought it has begun another session since.
    is_past: bool,
    /// The event, while it is held, and how many were held before it.
    held: Option<(u64, Event)>,
    /// Where the old set's event went, if it matters when the host is done with it.
    given: Option<WeakFrame>,
}

/// What becomes of an event.
enum Verdict {
    Deliver,
    Drop,
    /// It was kept.
    Held,
}

impl Overlap {
    /// Before the new set starts.
    pub(crate) fn new(queue: Arc<EventQueue>, max_held_bytes: usize) -> Self {
        Self { queue, max_held_bytes, state: Mutex::default() }
    }

    /// A shard of the old set takes part from now on.
    pub(crate) fn join(&self) {
        self.lock().joined += 1;
    }

    /// How many did.
    pub(crate) fn joined(&self) -> usize {
        self.lock().joined
    }

    /// Whether too much is held: the old set does not bring what the new one has.
    pub(crate) fn is_over_bound(&self) -> bool {
        self.lock().held_bytes > self.max_held_bytes
    }

    /// Twins that were dropped so far.
    pub(crate) fn twins(&self) -> u64 {
        self.lock().twins
    }

    /// Whether the host hears of the states of this side's shards.
    pub(crate) fn speaks(&self, side: Side) -> bool {
        self.lock().phase.speaker() == side
    }

    /// Whether only this side is left, and delivers as if there had never been another. The other side still
    /// has to be kept from it, until it has stopped.
    pub(crate) fn is_over(&self, side: Side) -> bool {
        let phase = self.lock().phase;
        matches!(phase, Phase::Over | Phase::Abandoned) && phase.speaker() == side
    }

    /// From now on the new set speaks. What it held goes to the host.
    pub(crate) fn switch(&self) {
        let mut state = self.lock();
        state.phase = Phase::Switched;
        state.held_bytes = 0;
        let mut events = Vec::new();
        for Stream { old, new, sessions, .. } in state.streams.values_mut() {
            let mut newest = 0;
            for (number, event) in in_order(*sessions, old.iter_mut(), new.iter_mut()).0 {
                newest = number.max(newest);
                events.push((newest, event));
            }
        }
        self.tell(events);
    }

    /// Hands on what was held: as it came, for people who look; what belongs to a guild is in its order
    /// already, and stays so.
    fn tell(&self, mut held: Vec<(u64, Event)>) {
        held.sort_by_key(|(number, _)| *number);
        self.queue.push_anyway(&mut held.into_iter().map(|(_, event)| event).collect());
    }

    /// The old set has gone.
    pub(crate) fn settle(&self) {
        let mut state = self.lock();
        state.phase = Phase::Settling;
        state.streams.values_mut().for_each(|stream| stream.new.clear());
    }

    /// One set is left, and nothing more of the other can come.
    pub(crate) fn end(&self) {
        *self.lock() = State { phase: Phase::Over, ..State::default() };
    }

    /// The new set did not come up.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        let streams = std::mem::take(&mut state.streams);
        let held = streams.into_values().flat_map(|stream| stream.old);
        self.tell(held.filter_map(|ahead| ahead.held).collect());
        *state = State { phase: Phase::Abandoned, ..State::default() };
    }

    /// Takes over a batch as [`EventQueue::push`] does, less what the host has or gets otherwise.
    #[must_use]
    pub(crate) fn push(&self, side: Side, batch: &mut Vec<Event>) -> bool {
        // Held until the batch is in the queue, so that no later event of the other set overtakes it.
        let mut state = self.lock();
        if !self.queue.takes_more() {
            return batch.is_empty();
        }
        self.push_all(&mut state, side, batch);
        true
    }

    /// The same, whether there is room or not.
    pub(crate) fn push_anyway(&self, side: Side, batch: &mut Vec<Event>) {
        self.push_all(&mut self.lock(), side, batch);
    }

    fn push_all(&self, state: &mut State, side: Side, batch: &mut Vec<Event>) {
        let mut told = Vec::with_capacity(batch.len());
        for event in batch.drain(..) {
            match state.judge(side, &event, &mut told) {
                Verdict::Deliver => told.push(event),
                Verdict::Held => {}
                Verdict::Drop => event.forgo(),
            }
        }
        self.queue.push_anyway(&mut told);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlap").field("phase", &self.lock().phase).finish_non_exhaustive()
    }
}

impl State {
    /// What becomes of an event. What was held and comes before it is added to `told`.
    fn judge(&mut self, side: Side, event: &Event, told: &mut Vec<Event>) -> Verdict {
        let own = if self.phase.speaker() == side { Verdict::Deliver } else { Verdict::Drop };
        if matches!(self.phase, Phase::Over | Phase::Abandoned) {
            return own;
        }
        let name = event.name();
        if ANSWERS.contains(&name) {
            return Verdict::Deliver;
        }
        let unsent = &mut self.unsent[side as usize];
        match name {
            b"READY" => {
                unsent.extend(ids_of_ready(event.data()));
                if self.phase == Phase::Before {
                    let direct = (event.shard_id == 0).then_some(0);
                    for guild_id in ids_of_ready(event.data()).chain(direct) {
                        self.streams.entry(guild_id).or_default().begin_session(side);
                    }
                }
                return own;
            }
            b"RESUMED" => return own,
            // What a session begins with is its own; a guild that joins is everybody's.
            b"GUILD_CREATE" if unsent.remove(&event.guild_id) => return own,
            // Shards other than the first have nothing without a guild but what all of them get.
            _ if event.guild_id == 0 && event.shard_id != 0 => return own,
            _ => {}
        }
        let stream = self.streams.entry(event.guild_id).or_default();
        let (content, session) = (content(event), stream.sessions);
        let ahead = |held| Ahead { content, session, is_past: false, held, given: None };
        match side {
            // The new set has it, or will.
            Side::Old if self.phase == Phase::Settling => Verdict::Drop,
            Side::Old => {
                if let Some(at) = stream.new.iter().position(|ahead| ahead.content == content) {
                    self.twins += 1;
                    stream.has_gap = false;
                    // The old set will not bring any more what it has passed over.
                    let twin = stream.new.remove(at).and_then(|ahead| ahead.held);
                    let (old, new) = (stream.old.iter_mut(), stream.new.range_mut(..at));
                    let (before, bytes) = in_order(session, old, new);
                    stream.new.drain(..at);
                    told.extend(before.into_iter().map(|(_, event)| event));
                    self.held_bytes -= bytes;
                    let Some((_, twin)) = twin else { return Verdict::Drop };
                    self.held_bytes -= twin.data().len();
                    twin.forgo();
                    if let Some(receipt) = event.frame.receipt() {
                        receipt.also(twin.frame);
                    }
                    return Verdict::Deliver;
                }
                let is_unknown = stream.has_gap && !stream.new.is_empty();
                let waits = stream.old.back().is_some_and(|last| last.held.is_some());
                if self.phase == Phase::Before && (is_unknown || waits) {
                    let held = Some(self.hold(event.clone()));
                    self.stream(event).old.push_back(ahead(held));
                    return Verdict::Held;
                }
                let given = event.frame.receipt().map(|_| event.frame.downgrade());
                stream.old.push_back(Ahead { given, ..ahead(None) });
                Verdict::Deliver
            }
            Side::New => {
                if let Some(at) = stream.old.iter().position(|ahead| ahead.content == content) {
                    self.twins += 1;
                    // What is held of the new set was lost with the old one's session.
                    let (old, new) = (stream.old.range_mut(..at), stream.new.iter_mut());
                    let (before, bytes) = in_order(session, old, new);
                    self.held_bytes -= bytes;
                    stream.new.clear();
                    let Some(Ahead { held, given, .. }) = stream.old.drain(..=at).next_back()
                    else {
                        return Verdict::Drop;
                    };
                    let mut given = given.and_then(|frame| frame.upgrade());
                    if let Some((_, twin)) = held {
                        stream.has_gap = false;
                        self.held_bytes -= twin.data().len();
                        given = Some(twin.frame.clone());
                        told.extend(before.into_iter().map(|(_, event)| event).chain([twin]));
                    }
                    // Otherwise the host has got what follows: it comes too late.
                    let (given, receipt) =
                        (given.as_ref().map(Frame::receipt), event.frame.receipt());
                    if let (Some(Some(given)), Some(receipt)) = (given, receipt) {
                        given.also(
                            Frame::from(Vec::new()).with_receipt(Some(receipt.for_one(event.seq))),
                        );
                    }
                    return Verdict::Drop;
                }
                if self.phase == Phase::Settling {
                    return Verdict::Deliver;
                }
                let is_before = self.phase == Phase::Before;
                let held = is_before.then(|| self.hold(copy(event)));
                let verdict = if is_before { Verdict::Held } else { Verdict::Deliver };
                self.stream(event).new.push_back(ahead(held));
                verdict
            }
        }
    }

    /// The stream that an event belongs to.
    fn stream(&mut self, event: &Event) -> &mut Stream {
        self.streams.entry(event.guild_id).or_default()
    }

    /// Counts an event that is held.
    fn hold(&mut self, event: Event) -> (u64, Event) {
        self.holds += 1;
        self.held_bytes += event.data().len();
        (self.holds, event)
    }
}

/// What is held of these, in the order in which it happened as far as that can be told, and its bytes.
///
/// When shards of both sets lost their sessions, events have no twins to tell. What the new set brought
/// before the old shard's next session began, and that session does not bring, is from before it. So is what
/// came of an earlier session of the new set during the old shard's present one, which would bring it
/// otherwise. The rest of the new set's is from after what only the old set has, for the new one would have
/// brought that otherwise. What stands before something that the host has got comes too late.
fn in_order<'a>(
    session: u32,
    old: impl Iterator<Item = &'a mut Ahead>,
    new: impl Iterator<Item = &'a mut Ahead>,
) -> (Vec<(u64, Event)>, usize) {
    let place_of_new = |new: &Ahead| {
        let is_before = new.is_past && new.session == session && session > 0;
        (new.session, if is_before { Place::BeforeOld } else { Place::AfterOld })
    };
    let old = old.map(|ahead| ((ahead.session, Place::Old), ahead));
    let mut all: Vec<_> = old.chain(new.map(|ahead| (place_of_new(ahead), ahead))).collect();
    all.sort_by_key(|(place, _)| *place);
    let is_told =
        |((_, place), ahead): &(_, &mut Ahead)| *place == Place::Old && ahead.held.is_none();
    let late = all.iter().rposition(is_told).map_or(0, |newest| newest + 1);
    let mut held = Vec::new();
    let mut bytes = 0;
    for (at, (_, ahead)) in all.into_iter().enumerate() {
        let Some((number, event)) = ahead.held.take() else { continue };
        bytes += event.data().len();
        if at >= late {
            held.push((number, event));
        } else {
            event.forgo();
        }
    }
    (held, bytes)
}

/// Where an event of the new set stands to those of the old shard's session at that time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    BeforeOld,
    Old,
    AfterOld,
}

/// What an event says, in short. The same payload of two sessions differs in its sequence number only.
pub(super) fn content(event: &Event) -> u64 {
    let mut hasher = DefaultHasher::new();
    (event.name(), event.data()).hash(&mut hasher);
    hasher.finish()
}

/// The event in memory of its own: it may be held for long, and its frame may be large.
pub(super) fn copy(event: &Event) -> Event {
    debug_assert_eq!(event.kind, EventKind::Dispatch);
    let text = [event.name(), event.data()].concat();
    let (name, data) = (0..event.name().len(), event.name().len()..text.len());
    let receipt = event.frame.receipt().map(|receipt| receipt.for_one(event.seq));
    let frame = Frame::from(text).with_receipt(receipt);
    Event { frame, name: name.into(), data: data.into(), ..event.clone() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Delivery, QueueConfig, WhenFull};
    use crate::queue::Progress;

    fn overlap() -> Overlap {
        let config =
            QueueConfig { max_events: 100, max_bytes: 1 << 20, when_full: WhenFull::Block };
        Overlap::new(Arc::new(EventQueue::new(&config).expect("a descriptor")), 1_000)
    }

    fn event(shard_id: u32, guild_id: u64, name: &str, data: &str) -> Event {
        let event = Event::new(EventKind::Dispatch, name, data.as_bytes());
        Event { shard_id, guild_id, ..event }
    }

    /// Pushes messages of one guild; what the host got so far, in order.
    fn say(overlap: &Overlap, side: Side, words: &[&str]) -> Vec<String> {
        let mut batch = words.iter().map(|word| event(1, 7, "MESSAGE_CREATE", word)).collect();
        assert!(overlap.push(side, &mut batch));
        told(overlap)
    }

    fn told(overlap: &Overlap) -> Vec<String> {
        let mut told = Vec::new();
        let take = |event: Event| told.push(String::from_utf8_lossy(event.data()).into_owned());
        overlap.queue.poll(100, Some(std::time::Duration::ZERO), take).expect("open");
        told
    }

    /// Scenario 70: the new set is ahead, then the old one, and what says the same twice comes twice.
    #[test]
    fn whoever_is_first_delivers_and_twins_are_dropped() {
        let overlap = overlap();
        assert_eq!(say(&overlap, Side::Old, &["a", "b"]), ["a", "b"]);
        assert!(say(&overlap, Side::New, &["b", "c", "c"]).is_empty());
        assert_eq!(say(&overlap, Side::Old, &["c"]), ["c"]);
        overlap.switch();
        assert_eq!(told(&overlap), ["c"], "the second one was held");
        assert_eq!(say(&overlap, Side::New, &["d"]), ["d"]);
        assert_eq!(say(&overlap, Side::Old, &["c", "d", "e"]), ["e"]);
        overlap.settle();
        assert_eq!(say(&overlap, Side::New, &["e", "f"]), ["f"]);
        assert!(say(&overlap, Side::Old, &["f"]).is_empty());
        overlap.end();
        assert_eq!(say(&overlap, Side::New, &["f"]), ["f"]);
        assert_eq!(overlap.twins(), 0);
    }

    /// The old shard loses its session, and with it events that the new set has.
    #[test]
    fn what_was_lost_with_a_session_comes_before_what_follows() {
        let ready = || {
            let mut ready = event(1, 0, "READY", r#"{"guilds":[{"id":"7","unavailable":true}]}"#);
            ready.seq = 1;
            vec![ready]
        };
        // The old set is behind the new one when it is back.
        let overlap = overlap();
        assert_eq!(say(&overlap, Side::Old, &["a"]), ["a"]);
        assert!(say(&overlap, Side::New, &["b", "c", "d", "e"]).is_empty());
        assert!(overlap.push(Side::Old, &mut ready()));
        assert_eq!(told(&overlap).len(), 1);
        assert_eq!(say(&overlap, Side::Old, &["d"]), ["b", "c", "d"]);
        assert_eq!(say(&overlap, Side::Old, &["e", "f"]), ["e", "f"]);
        overlap.switch();
        assert!(say(&overlap, Side::New, &["f"]).is_empty());

        // It is ahead.
        let overlap = self::overlap();
        assert!(say(&overlap, Side::New, &["b"]).is_empty());
        assert!(overlap.push(Side::Old, &mut ready()));
        assert_eq!(told(&overlap).len(), 1);
        assert!(say(&overlap, Side::Old, &["d", "e"]).is_empty());
        assert!(say(&overlap, Side::New, &["c"]).is_empty());
        assert_eq!(say(&overlap, Side::New, &["d"]), ["b", "c", "d"]);
        assert!(say(&overlap, Side::Old, &["f"]).is_empty());
        overlap.abandon();
        assert_eq!(told(&overlap), ["e", "f"], "the old set's own does not get lost");

        // It is ahead, and so far that the host has got what follows.
        let overlap = self::overlap();
        assert!(overlap.push(Side::Old, &mut ready()));
        assert_eq!(told(&overlap).len(), 1);
        assert_eq!(say(&overlap, Side::Old, &["c"]), ["c"]);
        assert!(say(&overlap, Side::New, &["a", "b", "c", "d"]).is_empty());
        overlap.switch();
        assert_eq!(told(&overlap), ["d"]);

        // Both lost it, and the new set has no twin of what follows.
        let overlap = self::overlap();
        assert!(say(&overlap, Side::New, &["b"]).is_empty());
        assert!(overlap.push(Side::Old, &mut ready()));
        assert_eq!(told(&overlap).len(), 1);
        assert!(say(&overlap, Side::Old, &["d", "e"]).is_empty());
        overlap.switch();
        assert_eq!(told(&overlap), ["b", "d", "e"]);

        // Both lost it, and the host has got what follows.
        let overlap = self::overlap();
        assert!(overlap.push(Side::Old, &mut ready()));
        assert_eq!(told(&overlap).len(), 1);
        assert_eq!(say(&overlap, Side::Old, &["c"]), ["c"]);
        assert!(say(&overlap, Side::New, &["a", "b"]).is_empty());
        assert!(overlap.push(Side::New, &mut ready()));
        assert!(say(&overlap, Side::New, &["d"]).is_empty());
        overlap.switch();
        assert_eq!(told(&overlap), ["d"]);

        // It was back before the new set's shard came: what it brings is from before.
        let overlap = self::overlap();
        assert!(overlap.push(Side::Old, &mut ready()));
        assert_eq!(told(&overlap).len(), 1);
        assert!(say(&overlap, Side::New, &["c"]).is_empty());
        assert!(say(&overlap, Side::Old, &["a", "b"]).is_empty());
        assert_eq!(say(&overlap, Side::Old, &["c"]), ["a", "b", "c"]);
        assert!(!overlap.is_over_bound());
        overlap.switch();
        assert!(told(&overlap).is_empty());
    }

    /// The machine's clock may be set back while events are held.
    #[test]
    fn held_events_keep_their_order_whatever_the_clock_says() {
        let overlap = overlap();
        let message = |word, received_ns| {
            let event = event(1, 7, "MESSAGE_CREATE", word);
            Event { received_ns, ..event }
        };
        let mut batch = vec![message("a", 9), message("b", 5)];
        assert!(overlap.push(Side::New, &mut batch));
        overlap.switch();
        assert_eq!(told(&overlap), ["a", "b"]);
    }

    /// What a session begins with is not an event of the world, and answers belong to who asked.
    #[test]
    fn the_beginning_of_a_session_is_its_own() {
        let overlap = overlap();
        let push = |side, events: Vec<Event>| {
            let mut batch = events;
            assert!(overlap.push(side, &mut batch));
            told(&overlap).len()
        };
        let ready = || event(0, 0, "READY", r#"{"guilds":[{"id":"7","unavailable":true}]}"#);
        let guild = || event(0, 7, "GUILD_CREATE", r#"{"id":"7"}"#);
        assert_eq!(push(Side::New, vec![ready(), guild()]), 0);
        // A guild that the bot joins now comes to both.
        let joined = || event(0, 8, "GUILD_CREATE", r#"{"id":"8"}"#);
        assert_eq!(push(Side::New, vec![joined()]), 0);
        assert_eq!(push(Side::Old, vec![joined()]), 1);
        let answer = || event(0, 7, "GUILD_MEMBERS_CHUNK", "{}");
        assert_eq!(push(Side::Old, vec![answer(), answer()]), 2);
        // Every shard gets what is about the bot itself; one set of it is enough.
        let about_us = |shard_id| event(shard_id, 0, "USER_UPDATE", "{}");
        assert_eq!(push(Side::Old, vec![about_us(1), about_us(2)]), 2);
        assert_eq!(push(Side::New, vec![about_us(1), about_us(2), about_us(3)]), 0);
    }

    /// How far the host is with the new set's session, when the old set's twins reach it.
    #[test]
    fn who_has_an_event_of_one_set_has_that_of_the_other() {
        for (delivery, first) in [
            (Delivery::AtLeastOnce, Side::Old),
            (Delivery::AtLeastOnce, Side::New),
            (Delivery::AtMostOnce, Side::Old),
            (Delivery::AtMostOnce, Side::New),
        ] {
            let overlap = overlap();
            let sets = [Side::Old, Side::New].map(|side| {
                let progress = Arc::new(Progress::new(delivery, None));
                progress.begin(7, 1);
                (side, progress)
            });
            let push = |side: Side| {
                let receipt = sets[side as usize].1.send(2, 2);
                let event = event(1, 7, "MESSAGE_CREATE", "a");
                let frame = event.frame.with_receipt(Some(receipt));
                assert!(overlap.push(side, &mut vec![Event { seq: 2, frame, ..event }]));
            };
            let other = if first == Side::Old { Side::New } else { Side::Old };
            push(first);
            push(other);
            overlap.switch();
            let mut in_hand = Vec::new();
            overlap.queue.poll(9, Some(Duration::ZERO), |event| in_hand.push(event)).expect("one");
            assert_eq!(in_hand.len(), 1);
            let done = || sets.each_ref().map(|(_, progress)| progress.done(7, 2));
            if delivery == Delivery::AtLeastOnce {
                assert_eq!(done(), [Some(1); 2], "{first:?} first");
            }
            in_hand.clear();
            assert_eq!(done(), [Some(2); 2], "{delivery:?}, {first:?} first");
        }
    }

    #[test]
    fn a_set_that_is_given_up_says_nothing() {
        let overlap = overlap();
        assert!(say(&overlap, Side::New, &["a"]).is_empty());
        overlap.abandon();
        assert!(say(&overlap, Side::New, &["b"]).is_empty());
        assert_eq!(say(&overlap, Side::Old, &["a", "b"]), ["a", "b"]);
        // A shard of it may have some in its hands still.
        assert!(!overlap.speaks(Side::New) && !overlap.is_over(Side::New));
        assert!(overlap.is_over(Side::Old));
    }
}
