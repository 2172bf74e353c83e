//! Does what the machine says, with tokio: one task per shard.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::{debug, trace, warn};

use super::detour::Detour;
use super::guild_patience::GuildPatience;
use super::guilds::{GuildCounts, GuildIndex, Guilds, Loading};
use super::machine::{
    Command, Counters, Delivery, Input, Machine, Outcome, Output, Settings, StateChange, StopMode,
};
use super::measure::Measure;
use super::member_chunks::CollectedBytes;
use super::members::{Act, MemberRequest, Members};
use super::notes::Notes;
use super::overlap::{Overlap, Side};
use super::session::Session;
use super::stage::{Dispatch, Stage};
use super::state::ShardState;
use super::status::{ShardStatus, Snapshot};
use crate::config::MAX_MISSING_NAMED;
use crate::error::Error;
use crate::identify::line::Line;
use crate::protocol::{Compression, Intents, OpCode, Scanner, guild_id_of};
use crate::queue::{Event, EventKind, EventQueue, FLAG_REPLAYED, Progress, wall_clock_ns};
use crate::sessions::session_tag;
use crate::transport::{Dialer, Inflate, Received, WebSocket};

/// Websocket messages handled before timers and mail get their turn.
const BURST: usize = 256;

/// What a shard can be told. The client bounds how many commands there are at once; the rest is
/// rare, so the mailbox needs no bound of its own.
#[derive(Debug)]
pub(crate) enum Mail {
    /// From the identify gate: the turn is close.
    GateNear { ticket: u64 },
    /// From the identify gate: identify now.
    GateGranted { ticket: u64 },
    /// Send something.
    Command(Command),
    /// Ask for members, and reply with all of them.
    CollectMembers { command_id: u64, request: Box<MemberRequest> },
    /// Do not send it after all.
    Cancel { command_id: u64 },
    /// Take a new connection.
    Restart { resume: bool },
    /// Show that the connection is alive.
    Beat,
    /// Another set of shards comes to take over.
    Overlap(Arc<Overlap>),
    /// Shards of other processes come to take over: note what is delivered.
    Note(Arc<Notes>),
    /// The end.
    Stop(StopMode),
}

/// The other end of a mailbox.
pub(crate) type Mailbox = mpsc::UnboundedSender<Mail>;

/// What a shard tells its client.
pub(crate) trait Owner: Send + Sync + 'static {
    /// A command is done.
    fn settled(&self, shard_id: u32, command_id: u64, outcome: Outcome);

    /// The members of a request have been collected, or will not be.
    fn collected(&self, command_id: u64, members: Result<Bytes, Error>);

    /// The shard changed its state. The host is told already.
    fn changed(&self, shard_id: u32, change: &StateChange);

    /// The guilds that READY listed are complete but for so many, which have not come.
    fn missed_guilds(&self, shard_id: u32, missing: usize);

    /// Something took so long.
    fn measured(&self, measure: Measure, took: Duration);
}

/// What a shard shares with the rest of its client.
pub(crate) struct Surroundings {
    /// Where its events go.
    pub(crate) queue: Arc<EventQueue>,
    /// The way to the identify gate.
    pub(crate) line: Line,
    /// The way to any server.
    pub(crate) dialer: Dialer,
    /// Names of the dispatches that the host gets, sorted; `None` for all.
    pub(crate) events: Option<Arc<[Vec<u8>]>>,
    /// What follows how far the host comes with its events, if sessions are kept.
    pub(crate) progress: Option<Arc<Progress>>,
    /// What its events pass through on their way there, while another set of shards runs.
    pub(crate) detour: Option<Detour>,
    /// Where its snapshots go.
    pub(crate) status: Arc<ShardStatus>,
    /// Its guilds; not empty when it goes on with a session.
    pub(crate) guilds: Arc<GuildIndex>,
    /// What all shards collect of members.
    pub(crate) collected: Arc<CollectedBytes>,
    /// Who is told.
    pub(crate) owner: Arc<dyn Owner>,
}

/// The event that tells the host of a change of state.
pub(crate) fn state_event(shard_id: u32, change: &StateChange) -> Event {
    let StateChange { from, to, reason, close_code, .. } = change;
    let data = json!({"from": from, "to": to, "reason": reason, "close_code": close_code});
    let mut event = Event::new(EventKind::ShardState, to.name(), data.to_string().as_bytes());
    event.shard_id = shard_id;
    event
}

/// The event that tells the host that the guilds are complete. `missing` are those that are not there.
fn guilds_event(shard_id: u32, guilds: usize, missing: impl Iterator<Item = u64>) -> Event {
    let (mut named, mut count) = (Vec::new(), 0_usize);
    for id in missing {
        if count < MAX_MISSING_NAMED {
            named.push(id.to_string());
        }
        count += 1;
    }
    let data = json!({"guilds": guilds, "missing": named, "missing_count": count});
    let mut event = Event::new(EventKind::GuildsComplete, "", data.to_string().as_bytes());
    event.shard_id = shard_id;
    event.status = i32::try_from(count).unwrap_or(i32::MAX);
    event
}

/// Runs a shard until it is told to stop.
pub(crate) async fn run(
    settings: Settings,
    session: Option<Session>,
    seed: u64,
    mut mail: mpsc::UnboundedReceiver<Mail>,
    surroundings: Surroundings,
) {
    let has_guilds = settings.identify.intents.contains(Intents::GUILDS);
    let guild_counts = surroundings.guilds.lock().counts();
    let counts = Counts::after(&surroundings.status.get());
    let mut driver = Driver {
        shard_id: settings.identify.shard_id,
        compression: settings.compression,
        stage: Stage::new(settings.identify.shard_id, surroundings.progress.clone()),
        machine: Machine::new(settings, session, seed),
        guild_counts,
        guild_patience: GuildPatience::new(has_guilds),
        guilds_are_complete: false,
        members: Members::new(Arc::clone(&surroundings.collected)),
        surroundings,
        socket: None,
        inflate: None,
        scanner: Scanner::default(),
        connecting: None,
        closing: JoinSet::new(),
        blocked: false,
        clock: Clock::now(),
        counts,
    };
    let queue = Arc::clone(&driver.surroundings.queue);
    let mut timer = Box::pin(sleep_until(Instant::now()));
    driver.machine.handle(Input::Start, now());
    loop {
        driver.perform();
        driver.flush();
        driver.publish();
        if driver.machine.state() == ShardState::Stopped {
            break;
        }
        let armed = set_timer(timer.as_mut(), driver.poll_timeout());
        tokio::select! {
            biased;
            () = timer.as_mut(), if armed => driver.timeout(now()),
            next = mail.recv() => match next {
                Some(next) => driver.mail(next),
                // The client is gone without a word: nobody is left to run for.
                None => driver.machine.handle(Input::Stop(StopMode::Abort), now()),
            },
            () = queue.wait_for_room(), if driver.blocked => {}
            () = driver.io() => {}
        }
    }
    driver.finish().await;
}

/// One moment on both clocks, read once for all payloads of a burst.
#[derive(Debug, Clone, Copy)]
struct Clock {
    now: std::time::Instant,
    wall_ns: i64,
}

impl Clock {
    fn now() -> Self {
        Self { now: now(), wall_ns: wall_clock_ns() }
    }
}

/// Now, as the machine counts time.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Sets the timer; whether there is anything to wait for.
fn set_timer(timer: Pin<&mut Sleep>, due: Option<std::time::Instant>) -> bool {
    let Some(due) = due.map(Instant::from_std) else { return false };
    if timer.deadline() != due {
        timer.reset(due);
    }
    true
}

/// A websocket that is being opened.
type Opening = Pin<Box<dyn Future<Output = Result<WebSocket, String>> + Send>>;

/// What the driver counts; the machine counts the rest.
#[derive(Debug)]
struct Counts {
    /// What machines of this shard counted that met a bug.
    before: Counters,
    events: u64,
    bytes_received: u64,
    bytes_inflated: u64,
    last_event_at: Option<std::time::Instant>,
    last_error: Option<String>,
}

impl Counts {
    /// Goes on from what was counted before.
    fn after(last: &Snapshot) -> Self {
        Self {
            before: last.counters,
            events: last.events,
            bytes_received: last.bytes_received,
            bytes_inflated: last.bytes_inflated,
            last_event_at: last.last_event_at,
            last_error: None,
        }
    }
}

/// One shard and its socket.
struct Driver {
    shard_id: u32,
    compression: Compression,
    machine: Machine,
    surroundings: Surroundings,
    /// The websocket, once it stands.
    socket: Option<Box<WebSocket>>,
    /// Its decompression.
    inflate: Option<Inflate>,
    /// Reads its envelopes.
    scanner: Scanner,
    /// A websocket that is being opened.
    connecting: Option<Opening>,
    /// Old websockets that say goodbye.
    closing: JoinSet<()>,
    /// Dispatches that wait to go into the queue together.
    stage: Stage,
    /// The host is to be told that its guilds are complete, behind what is staged.
    guilds_are_complete: bool,
    /// What the index of guilds counts.
    guild_counts: GuildCounts,
    /// How long the guilds of READY are waited for.
    guild_patience: GuildPatience,
    /// Requests for members that are collected.
    members: Members,
    /// The queue took no more; the socket is left unread.
    blocked: bool,
    /// When the socket was last looked at; the time of all that was found there.
    clock: Clock,
    counts: Counts,
}

impl Driver {
    // -- outputs of the machine ---------------------------------------------------------------

    /// Does all that the machine wants done, and what the requests for members do.
    fn perform(&mut self) {
        loop {
            self.perform_outputs();
            match self.members.poll() {
                Some(Act::Send(command)) => self.machine.handle(Input::Command(command), now()),
                Some(Act::Withdraw(command_id)) => {
                    self.machine.handle(Input::Cancel { command_id }, now());
                }
                Some(Act::Done(command_id, members)) => {
                    // What came before it goes first, as with a change of state.
                    self.flush();
                    self.surroundings.owner.collected(command_id, members);
                }
                None => return,
            }
        }
    }

    /// Does all that the machine wants done.
    fn perform_outputs(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Connect { url } => {
                    self.inflate = Inflate::new(self.compression);
                    self.scanner = Scanner::default();
                    let dialer = self.surroundings.dialer.clone();
                    self.connecting =
                        Some(Box::pin(async move { WebSocket::open(&dialer, &url).await }));
                }
                Output::Send(payload) => {
                    let sent = self.socket.as_mut().map(|socket| socket.send(payload.as_str()));
                    if let Some(Err(reason)) = sent {
                        self.lost(None, reason);
                    }
                }
                Output::Close(code) => {
                    self.connecting = None;
                    if let Some(socket) = self.socket.take() {
                        self.closing.spawn(socket.close(code));
                    }
                }
                Output::Drop => {
                    self.connecting = None;
                    self.socket = None;
                }
                Output::GateEnter { ticket } => self.surroundings.line.enter(self.shard_id, ticket),
                Output::GateArm { ticket } => self.surroundings.line.arm(self.shard_id, ticket),
                Output::GateLeave { .. } => self.surroundings.line.leave(self.shard_id),
                Output::State(change) => self.tell(&change),
                Output::Settled { command_id, outcome } => {
                    if !self.members.settled(command_id, outcome, now()) {
                        self.surroundings.owner.settled(self.shard_id, command_id, outcome);
                    }
                }
                Output::Measured(measure, took) => self.surroundings.owner.measured(measure, took),
                Output::Warning(text) => warn!(shard = self.shard_id, "{text}"),
            }
        }
    }

    /// Tells of a change of state. Dispatches that came before go first, unless the queue is full:
    /// a state never waits.
    fn tell(&mut self, change: &StateChange) {
        self.flush();
        let StateChange { from, to, reason, close_code, .. } = change;
        debug!(shard = self.shard_id, %from, %to, ?close_code, "{reason}");
        if matches!(to, ShardState::Disconnected | ShardState::Fatal) {
            self.counts.last_error = Some(reason.to_string());
        }
        // Who is told, or woken, and looks finds it so.
        self.publish();
        if self.speaks() {
            self.surroundings.queue.push_own(state_event(self.shard_id, change));
            self.surroundings.owner.changed(self.shard_id, change);
        }
        let outcome = match to {
            ShardState::Fatal => Outcome::Fatal,
            ShardState::Stopped => Outcome::Stopped,
            _ => return,
        };
        for command_id in self.members.drain() {
            self.surroundings.owner.settled(self.shard_id, command_id, outcome);
        }
    }

    /// Moves the staged dispatches into the queue, or notes that it is full.
    fn flush(&mut self) {
        if !self.stage.is_empty() {
            let Surroundings { queue, detour, .. } = &mut self.surroundings;
            let blocked = !match detour {
                None => queue.push(self.stage.batch()),
                Some(detour) => detour.push(self.stage.batch()),
            };
            // Nothing is left that came before.
            if !blocked && detour.as_ref().is_some_and(|it| it.is_over(self.clock.wall_ns)) {
                *detour = None;
            }
            if blocked != self.blocked {
                self.blocked = blocked;
                self.machine.handle(Input::ReadsPaused(blocked), now());
            }
        }
        if self.guilds_are_complete && self.stage.is_empty() {
            self.tell_guilds_complete();
        }
    }

    /// Moves the staged dispatches into the queue, however full it is.
    fn push_anyway(&mut self) {
        match &self.surroundings.detour {
            None => self.surroundings.queue.push_anyway(self.stage.batch()),
            Some(detour) => detour.push_anyway(self.stage.batch()),
        }
    }

    /// Leaves a snapshot.
    fn publish(&mut self) {
        let now = now();
        let Self { machine, guild_counts, counts, blocked, .. } = self;
        self.surroundings.status.update(|status| {
            status.state = machine.state();
            if status.session.as_ref() != machine.session() {
                status.session = machine.session().cloned();
            }
            status.latency_ms = machine.latency().map(|latency| latency.as_millis() as u64);
            status.guilds = guild_counts.guilds;
            status.guilds_unavailable = guild_counts.unavailable;
            status.guilds_complete = guild_counts.loading == Loading::Complete;
            status.events = counts.events;
            status.bytes_received = counts.bytes_received;
            status.bytes_inflated = counts.bytes_inflated;
            status.acked_beat_at = machine.acked_beat_at();
            status.counters = counts.before.and(machine.counters());
            status.commands_held = machine.commands_held();
            status.commands_left = machine.commands_left(now);
            status.last_event_at = counts.last_event_at;
            if status.last_error != counts.last_error {
                status.last_error.clone_from(&counts.last_error);
            }
            status.blocked = *blocked;
            status.silent = machine.is_silent();
        });
    }

    // -- time ---------------------------------------------------------------------------------

    /// When [`Driver::timeout`] has something to do, if ever.
    fn poll_timeout(&self) -> Option<std::time::Instant> {
        let due = [self.machine.poll_timeout(), self.guild_patience.due(), self.members.due()];
        due.into_iter().flatten().min()
    }

    /// Acts on what is due.
    fn timeout(&mut self, now: std::time::Instant) {
        self.machine.timeout(now);
        let is_reading = self.machine.state() == ShardState::Ready && !self.blocked;
        self.guilds_are_complete |= self.guild_patience.timeout(is_reading, now);
        self.members.timeout(now);
    }

    // -- inputs for the machine ---------------------------------------------------------------

    /// Somebody has something to say.
    fn mail(&mut self, mail: Mail) {
        let input = match mail {
            Mail::GateNear { ticket } => Input::GateNear { ticket },
            Mail::GateGranted { ticket } => Input::GateGranted { ticket },
            Mail::Command(command) => {
                if command.presence.is_some() {
                    let presence = &command.presence;
                    self.surroundings.status.update(|status| status.presence.clone_from(presence));
                }
                Input::Command(command)
            }
            Mail::CollectMembers { command_id, request } => {
                self.members.request(command_id, *request, now());
                return;
            }
            Mail::Cancel { command_id } => {
                self.members.cancel(command_id, now());
                Input::Cancel { command_id }
            }
            Mail::Restart { resume } => Input::Restart { resume },
            Mail::Beat => Input::Beat,
            Mail::Overlap(overlap) => {
                // What was received before goes as it did before.
                self.flush();
                overlap.join();
                if let Some(Detour::Note(notes)) = &self.surroundings.detour {
                    notes.void();
                }
                self.surroundings.detour = Some(Detour::Overlap(overlap, Side::Old));
                return;
            }
            Mail::Note(notes) => {
                self.flush();
                let now_ns = wall_clock_ns();
                let is_free = match &self.surroundings.detour {
                    None | Some(Detour::Note(_)) => true,
                    Some(detour) => !self.blocked && detour.is_over(now_ns),
                };
                // Two sets at a time are enough.
                if is_free {
                    notes.join(now_ns);
                    self.surroundings.detour = Some(Detour::Note(notes));
                } else {
                    notes.void();
                }
                return;
            }
            Mail::Stop(mode) => {
                // Nothing will make room any more, and what was received must not be lost.
                self.push_anyway();
                if mode == StopMode::Abort {
                    self.closing.abort_all();
                }
                Input::Stop(mode)
            }
        };
        self.machine.handle(input, now());
    }

    /// The attempt to open a websocket ended.
    fn opened(&mut self, result: Result<WebSocket, String>) {
        self.connecting = None;
        match result {
            Ok(socket) => {
                self.socket = Some(Box::new(socket));
                self.machine.handle(Input::Connected, now());
            }
            Err(reason) => {
                warn!(shard = self.shard_id, "{reason}");
                self.machine.handle(Input::ConnectFailed { reason }, now());
            }
        }
    }

    /// The connection is over.
    fn lost(&mut self, code: Option<u16>, reason: String) {
        self.socket = None;
        self.machine.handle(Input::Closed { code, reason }, now());
    }

    /// Takes in what the socket has, up to a burst, and stops early when the machine wants something
    /// done. For ever while there is neither a socket nor an attempt to open one.
    async fn io(&mut self) {
        let mut handled = 0;
        std::future::poll_fn(|cx| {
            self.clock = Clock::now();
            if let Some(opening) = &mut self.connecting {
                return opening.as_mut().poll(cx).map(|result| self.opened(result));
            }
            while handled < BURST && !self.machine.has_output() {
                if self.stage.is_full() && !self.blocked {
                    break;
                }
                // Taken out while what it received is looked at.
                let Some(mut socket) = self.socket.take() else { break };
                let read = !(self.blocked && self.machine.may_pause_reads());
                let Poll::Ready(received) = socket.poll(cx, read) else {
                    self.socket = Some(socket);
                    break;
                };
                handled += 1;
                if self.received(received) {
                    self.socket = Some(socket);
                }
            }
            if handled == 0 { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        // A socket that always has more must not keep the thread.
        if handled == BURST {
            tokio::task::yield_now().await;
        }
    }

    /// One piece of news from the socket; whether that goes on.
    fn received(&mut self, received: Received<'_>) -> bool {
        match received {
            Received::Text(payload) => {
                self.counts.bytes_received += payload.len() as u64;
                self.plain(payload);
            }
            Received::Binary(message) => {
                self.counts.bytes_received += message.len() as u64;
                if self.inflate.is_some() { self.compressed(message) } else { self.plain(message) }
            }
            Received::Flushed => self.machine.handle(Input::Flushed, now()),
            Received::Closed { code, reason } => {
                self.lost(code, reason);
                return false;
            }
        }
        true
    }

    /// A payload as it is.
    fn plain(&mut self, payload: &[u8]) {
        self.counts.bytes_inflated += payload.len() as u64;
        if let Some(dispatch) = self.payload(payload) {
            self.stage.add_received(payload, dispatch);
        }
    }

    /// A compressed message.
    fn compressed(&mut self, message: &[u8]) {
        let Some(inflate) = &mut self.inflate else { return };
        self.stage.prepare();
        let mut text = std::mem::take(&mut self.stage.text);
        let offset = text.len();
        match inflate.inflate(message, &mut text) {
            Ok(true) => {
                self.counts.bytes_inflated += (text.len() - offset) as u64;
                if let Some(dispatch) = self.payload(&text[offset..]) {
                    self.stage.add_inflated(offset, dispatch);
                } else {
                    text.truncate(offset);
                }
            }
            Ok(false) => {}
            Err(error) => {
                text.truncate(offset);
                let reason = error.to_string();
                self.machine.handle(Input::BadCompression { reason }, now());
            }
        }
        self.stage.put_back(text);
    }

    /// One whole payload; what the host gets of it.
    fn payload(&mut self, payload: &[u8]) -> Option<Dispatch> {
        let Clock { now, wall_ns } = self.clock;
        let envelope = match self.scanner.scan(payload) {
            Ok(envelope) => envelope,
            Err(error) => {
                warn!(shard = self.shard_id, bytes = payload.len(), "{error}");
                self.machine.handle(Input::BadPayload { seq: error.seq }, now);
                return None;
            }
        };
        let (name, data) = (envelope.name.of(payload), envelope.data.of(payload));
        trace!(shard = self.shard_id, op = envelope.op, seq = envelope.seq, bytes = payload.len());
        if envelope.op != u64::from(OpCode::Dispatch.number()) {
            self.machine.handle(Input::Control { op: envelope.op, data }, now);
            return None;
        }
        self.counts.events += 1;
        self.counts.last_event_at = Some(now);
        let flags = match self.machine.dispatch(envelope.seq, name, data, now) {
            Delivery::New => 0,
            Delivery::Replayed => FLAG_REPLAYED,
            Delivery::Drop => return None,
        };
        match name {
            b"GUILD_MEMBERS_CHUNK" if self.members.chunk(data, now) => return None,
            b"RATE_LIMITED" if self.members.rate_limited(data, now) => return None,
            b"READY" => {
                self.members.ready(now);
                self.begin_session();
            }
            b"RESUMED" => self.members.resumed(now),
            _ => {}
        }
        if Guilds::concerns(name) {
            self.observe_guilds(envelope.seq, name, data);
        }
        let is_wanted = |names: &Arc<[Vec<u8>]>| {
            names.binary_search_by(|known| known.as_slice().cmp(name)).is_ok()
        };
        if !self.surroundings.events.as_ref().is_none_or(is_wanted) {
            return None;
        }
        Some(Dispatch {
            seq: envelope.seq.unwrap_or(0),
            guild_id: guild_id_of(name, data),
            received_ns: wall_ns,
            flags,
            name: envelope.name,
            data: envelope.data,
        })
    }

    /// READY came: what follows belongs to another session.
    fn begin_session(&mut self) {
        self.surroundings.line.answered();
        if let (Some(progress), Some(session)) =
            (&self.surroundings.progress, self.machine.session())
        {
            // After READY: replayed, it would begin another session, and all that follows would be new.
            progress.begin(session_tag(&session.id), session.seq);
        }
    }

    /// Whether the host hears of this shard's own affairs.
    fn speaks(&self) -> bool {
        self.surroundings.detour.as_ref().is_none_or(Detour::speaks)
    }

    /// Takes note of a dispatch about guilds.
    fn observe_guilds(&mut self, seq: Option<u64>, name: &[u8], data: &[u8]) {
        let mut guilds = self.surroundings.guilds.lock();
        guilds.observe(seq, name, data);
        self.guild_counts = guilds.counts();
        drop(guilds);
        self.guilds_are_complete =
            self.guild_patience.observed(name, self.guild_counts, self.clock.now);
    }

    /// Tells that the guilds that READY listed have come, or are not waited for any more. Only what the
    /// host was told is noted in the index: a shard that dies before begins there again.
    fn tell_guilds_complete(&mut self) {
        self.guilds_are_complete = false;
        let mut guilds = self.surroundings.guilds.lock();
        // Without the intent none comes, so none is missing.
        let awaits = self.guild_patience.has_intent();
        let missing = guilds.complete().filter(|_| awaits);
        let event = guilds_event(self.shard_id, self.guild_counts.guilds, missing);
        self.guild_counts = guilds.counts();
        drop(guilds);
        if let Some(detour) = self.surroundings.detour.as_ref().filter(|it| !it.speaks()) {
            detour.keep(event);
            return;
        }
        if let Some(missing) = usize::try_from(event.status).ok().filter(|it| *it > 0) {
            self.surroundings.owner.missed_guilds(self.shard_id, missing);
        }
        self.surroundings.queue.push_own(event);
    }

    /// Waits for the goodbyes of all sockets.
    async fn finish(mut self) {
        while self.closing.join_next().await.is_some() {}
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A shard that dies of a bug resumes after what it had received, so that must not die with it.
        // What is staged otherwise was not published yet, and will be sent again.
        if self.blocked {
            self.push_anyway();
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("machine", &self.machine).finish_non_exhaustive()
    }
}
