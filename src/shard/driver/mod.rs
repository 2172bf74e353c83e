//! Does what the machine says, with tokio: one task per shard.

mod mail;
mod receive;
mod tell;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::warn;

pub(crate) use self::mail::{Mail, Mailbox};
pub(crate) use self::tell::state_event;
use super::detour::Detour;
use super::guild_patience::GuildPatience;
use super::guilds::{GuildCounts, GuildIndex, Loading};
use super::machine::{Counters, Input, Machine, Outcome, Output, Settings, StateChange, StopMode};
use super::measure::Measure;
use super::member_chunks::CollectedBytes;
use super::members::{Act, Members};
use super::overlap::Side;
use super::session::Session;
use super::stage::Stage;
use super::state::ShardState;
use super::status::{ShardStatus, Snapshot};
use crate::error::Error;
use crate::identify::line::Line;
use crate::protocol::{Compression, Intents, Scanner};
use crate::queue::{EventQueue, Progress, wall_clock_ns};
use crate::transport::{Dialer, Inflate, WebSocket};

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
