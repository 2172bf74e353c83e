//! The simulator's handle: what tests and programs hold.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep_until;

use crate::control::{
    AcceptPlan, Acks, Action, ConnectPlan, ControlError, Posted, Ready, Script, Split, Target,
};
use crate::http;
use crate::ledger::{Seen, ViolationRecord};
use crate::memory::{self, MemoryStream};
use crate::options::{Options, OptionsError};
use crate::rest::NewInteraction;
use crate::rest::fault::RestFault;
use crate::server::Server;
use crate::state::{Shared, State};
use crate::wire::{Cut, OnReset, Wire};
use crate::world::snowflake::Snowflake;

/// Most events that happen without a pause when traffic is behind its time.
const MAX_BURST: u32 = 1_000;

/// A simulated Discord: a world, a gateway and a REST API, and what they have seen.
///
/// A handle; clones are the same simulator. Nothing runs by itself: [`bind`](Self::bind) serves
/// over TCP, [`connect`](Self::connect) and [`serve_stream`](Self::serve_stream) without, and
/// [`traffic`](Self::traffic) lets the world's events happen (`bind` starts it too).
///
/// All time is tokio's, so under a paused clock hours pass in no time. Make the simulator inside
/// the runtime that will drive it.
#[derive(Clone)]
pub struct Simulator {
    pub(crate) shared: Arc<Shared>,
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// How many connections or sessions an action was carried out on.
fn affected(result: Result<Value, ControlError>) -> usize {
    let count = result.ok().and_then(|value| value["affected"].as_u64());
    usize::try_from(count.unwrap_or_default()).unwrap_or(usize::MAX)
}

/// Running.
impl Simulator {
    /// A simulator with these options, which are checked. Does no IO.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        options.check()?;
        Ok(Self { shared: Arc::new(Shared::new(options)) })
    }

    /// Listens on the address of the options and serves REST, gateway and control there, with TLS
    /// if they say so. Also starts the world's [`traffic`](Self::traffic).
    pub async fn bind(&self) -> io::Result<Server> {
        Server::bind(self.clone()).await
    }

    /// Serves one stream to its end: HTTP/1.1 with upgrade, as [`bind`](Self::bind) does for each
    /// TCP connection. Without TLS; put it below the stream where it is wanted.
    pub fn serve_stream<IO>(&self, io: IO) -> impl Future<Output = ()> + Send + 'static
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.serve(io, Box::new(|_| {}))
    }

    fn serve<IO>(&self, io: IO, on_reset: OnReset<IO>) -> impl Future<Output = ()> + Send + 'static
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = self.shared.clone();
        async move {
            let (mut wire, control) = Wire::new(io, on_reset);
            if http::admit(&shared, &mut wire, &control).await {
                http::serve(shared, wire, control).await;
            }
        }
    }

    /// Connects to the simulator inside this process; the other end is served by a task of the
    /// current tokio runtime.
    pub fn connect(&self) -> MemoryStream {
        let (client, server, reset) = memory::pair();
        let on_reset: OnReset<_> = Box::new(move |_| reset.store(true, Ordering::Release));
        tokio::spawn(self.serve(server, on_reset));
        client
    }

    /// Lets the world's events happen at the rate of the options, until the simulator is shut
    /// down. [`bind`](Self::bind) runs it; without `bind` spawn it yourself, once.
    pub fn traffic(&self) -> impl Future<Output = ()> + Send + 'static {
        traffic(self.shared.clone())
    }

    /// Lets so many events happen right now.
    pub fn happen(&self, events: u32) {
        for _ in 0..events {
            self.shared.with(State::next_happening);
        }
    }

    /// Carries out a script; its times count from now. The future ends after the last step.
    pub fn play(&self, script: Script) -> impl Future<Output = ()> + Send + 'static {
        play(self.shared.clone(), script)
    }

    /// Ends every connection and task of this simulator. It cannot be used again.
    pub fn shutdown(&self) {
        self.shared.stop.cancel();
    }

    /// Time since the simulator was made.
    pub fn now(&self) -> Duration {
        self.shared.clock.now()
    }

    /// The options as they are now.
    pub fn options(&self) -> Options {
        self.shared.with(|state| state.options.clone())
    }
}

/// The world.
impl Simulator {
    /// The bot's user id.
    pub fn bot_id(&self) -> Snowflake {
        self.shared.world.bot
    }

    /// The guilds the bot is in.
    pub fn guilds(&self) -> Vec<Snowflake> {
        let world = &self.shared.world;
        self.shared.with(|state| state.guilds().map(|guild| world.guild_id(guild)).collect())
    }

    /// The guilds of shard `shard` of `total`.
    pub fn guilds_of_shard(&self, shard: u32, total: u32) -> Vec<Snowflake> {
        self.guilds().into_iter().filter(|guild| guild.shard(total) == shard).collect()
    }

    /// The text channels of a guild; empty for a guild the world does not have.
    pub fn text_channels(&self, guild: Snowflake) -> Vec<Snowflake> {
        let world = &self.shared.world;
        let Some(guild) = world.guild_number(guild) else { return Vec::new() };
        world.text_channels().map(|index| world.channel_id(guild, index)).collect()
    }

    /// The voice channels of a guild; empty for a guild the world does not have.
    pub fn voice_channels(&self, guild: Snowflake) -> Vec<Snowflake> {
        let world = &self.shared.world;
        let Some(guild) = world.guild_number(guild) else { return Vec::new() };
        world.voice_channels().map(|index| world.channel_id(guild, index)).collect()
    }

    /// The members of a guild; the first is the bot, the second the owner.
    pub fn members(&self, guild: Snowflake) -> Vec<Snowflake> {
        let world = &self.shared.world;
        let Some(guild) = world.guild_number(guild) else { return Vec::new() };
        (0..world.members_per_guild).map(|index| world.member_id(guild, index)).collect()
    }

    /// The newest messages of a channel, oldest first, as REST shows them.
    pub fn messages(&self, channel: Snowflake) -> Vec<Value> {
        self.shared.with(|state| state.recent_messages(channel, usize::MAX))
    }
}

/// What it saw.
impl Simulator {
    /// A copy of the ledger. To look at a part of it [`look`](Self::look) is cheaper.
    pub fn seen(&self) -> Seen {
        self.shared.with(|state| state.seen.clone())
    }

    /// Looks at the ledger. The closure must not call the simulator.
    pub fn look<R>(&self, look: impl FnOnce(&Seen) -> R) -> R {
        self.shared.with(|state| look(&state.seen))
    }

    /// The rules that clients have broken.
    pub fn violations(&self) -> Vec<ViolationRecord> {
        self.look(|seen| seen.violations.iter().cloned().collect())
    }

    /// Waits until `reached` holds of the ledger, which is looked at again after every change.
    /// The closure must not call the simulator. Waits for ever if need be; put
    /// `tokio::time::timeout` around it.
    pub async fn wait_until(&self, mut reached: impl FnMut(&Seen) -> bool) {
        self.wait_for(|seen| reached(seen).then_some(())).await;
    }

    /// As [`wait_until`](Self::wait_until), and gives back what was found.
    pub async fn wait_for<R>(&self, find: impl FnMut(&Seen) -> Option<R>) -> R {
        wait_for(&self.shared, find).await
    }
}

/// Making things happen. Each of these is an [`Action`] and answers how many connections or
/// sessions it was carried out on, where that makes sense.
impl Simulator {
    /// Carries out any action.
    pub fn act(&self, action: &Action) -> Result<Value, ControlError> {
        let result = self.shared.with(|state| state.act(action));
        self.shared.traffic.notify_one();
        result
    }

    /// A user (without one the guild's owner) writes a message.
    pub fn post_message(
        &self,
        channel: Snowflake,
        user: Option<Snowflake>,
        content: impl Into<String>,
    ) -> Result<Posted, ControlError> {
        self.posted(&Action::Message { channel, user, content: content.into() })
    }

    /// A user (without one the first of the world) writes to the bot directly.
    pub fn direct_message(
        &self,
        user: Option<Snowflake>,
        content: impl Into<String>,
    ) -> Result<Posted, ControlError> {
        self.posted(&Action::DirectMessage { user, content: content.into() })
    }

    fn posted(&self, action: &Action) -> Result<Posted, ControlError> {
        let posted = self.act(action)?;
        serde_json::from_value(posted).map_err(|error| ControlError::Invalid(error.to_string()))
    }

    /// A user invokes a command or uses a component; gives back the interaction's id.
    pub fn interact(&self, interaction: NewInteraction) -> Result<Snowflake, ControlError> {
        let channel = interaction.channel;
        let fired = self.act(&Action::Interaction(interaction))?;
        serde_json::from_value(fired["id"].clone())
            .map_err(|_| ControlError::UnknownChannel(channel))
    }

    /// Dispatches an event as it stands to the sessions that are meant and whose intents let it
    /// pass.
    pub fn dispatch(&self, target: Target, t: impl Into<String>, d: Value) -> usize {
        affected(self.act(&Action::Dispatch { target, t: t.into(), d, ignore_intents: false }))
    }

    /// Sends any text as a payload, encoded as the connections asked for.
    pub fn send(&self, target: Target, text: impl Into<String>) -> usize {
        affected(self.act(&Action::Send { target, text: text.into() }))
    }

    /// Drops sockets.
    pub fn drop_sockets(&self, target: Target, how: Cut) -> usize {
        affected(self.act(&Action::Drop { target, how }))
    }

    /// Closes connections with a close frame; without a code it is empty.
    pub fn close(&self, target: Target, code: Option<u16>, reason: impl Into<String>) -> usize {
        affected(self.act(&Action::Close { target, code, reason: reason.into() }))
    }

    /// Sends op 7.
    pub fn reconnect(&self, target: Target) -> usize {
        affected(self.act(&Action::Reconnect { target, close_after_ms: None }))
    }

    /// Sends op 9; with `false` the sessions end.
    pub fn invalid_session(&self, target: Target, resumable: bool) -> usize {
        affected(self.act(&Action::InvalidSession { target, resumable }))
    }

    /// Sends op 1.
    pub fn request_heartbeat(&self, target: Target) -> usize {
        affected(self.act(&Action::RequestHeartbeat { target }))
    }

    /// Changes how heartbeats are acknowledged.
    pub fn acks(&self, target: Target, acks: Acks) -> usize {
        affected(self.act(&Action::Acks { target, acks }))
    }

    /// Corrupts the next dispatches.
    pub fn corrupt_next(&self, target: Target, count: u32) -> usize {
        affected(self.act(&Action::Corrupt { target, count }))
    }

    /// Splits the next dispatch.
    pub fn split_next(&self, target: Target, split: Split) -> usize {
        affected(self.act(&Action::Split { target, split }))
    }

    /// Slows down what is sent, or ends that.
    pub fn slow(&self, target: Target, bytes_per_second: Option<u64>) -> usize {
        affected(self.act(&Action::Slow { target, bytes_per_second }))
    }

    /// Plans what goes wrong with the next `count` gateway connections (`None`: with all).
    pub fn plan(&self, count: Option<u64>, plan: ConnectPlan) -> Result<(), ControlError> {
        self.act(&Action::Plan { count, plan }).map(drop)
    }

    /// Plans what goes wrong with the next `count` streams of any kind (`None`: with all).
    pub fn plan_accept(&self, count: Option<u64>, plan: AcceptPlan) -> Result<(), ControlError> {
        self.act(&Action::Accept { count, plan }).map(drop)
    }

    /// Changes when IDENTIFY and RESUME are answered, for one shard or all.
    pub fn ready(&self, shard: Option<u32>, ready: Ready) -> usize {
        affected(self.act(&Action::Ready { shard, ready }))
    }

    /// Lets REST calls go wrong; gives back the fault's number.
    pub fn rest_fault(&self, fault: RestFault) -> Result<u64, ControlError> {
        let added = self.act(&Action::RestFault { fault })?;
        Ok(added["rest_fault"].as_u64().unwrap_or_default())
    }

    /// Forgets plans, rules and REST faults.
    pub fn clear_faults(&self) {
        let _ = self.act(&Action::ClearFaults { rest_fault: None });
    }

    /// Ends sessions as if nobody had resumed them in time.
    pub fn expire(&self, target: Target) -> usize {
        affected(self.act(&Action::Expire { target }))
    }

    /// Does not introduce these guilds to sessions to come.
    pub fn withhold(&self, guilds: Vec<Snowflake>) -> Result<(), ControlError> {
        self.act(&Action::Withhold { guilds }).map(drop)
    }

    /// Introduces withheld guilds after all.
    pub fn release(&self, guilds: Vec<Snowflake>) -> Result<(), ControlError> {
        self.act(&Action::Release { guilds }).map(drop)
    }

    /// A guild fails.
    pub fn guild_down(&self, guild: Snowflake) -> Result<(), ControlError> {
        self.act(&Action::GuildDown { guild }).map(drop)
    }

    /// A guild recovers.
    pub fn guild_up(&self, guild: Snowflake) -> Result<(), ControlError> {
        self.act(&Action::GuildUp { guild }).map(drop)
    }

    /// The bot joins a new guild.
    pub fn join_guild(&self) -> Result<Snowflake, ControlError> {
        let joined = self.act(&Action::JoinGuild {})?;
        serde_json::from_value(joined["guild"].clone())
            .map_err(|error| ControlError::Invalid(error.to_string()))
    }

    /// The bot is removed from a guild.
    pub fn leave_guild(&self, guild: Snowflake) -> Result<(), ControlError> {
        self.act(&Action::LeaveGuild { guild }).map(drop)
    }

    /// Changes the rate of the traffic.
    pub fn set_traffic(&self, events_per_second: f64) -> Result<(), ControlError> {
        self.act(&Action::Traffic { events_per_second }).map(drop)
    }

    /// Changes options; see [`Action::Configure`] for which.
    pub fn configure(&self, options: Map<String, Value>) -> Result<(), ControlError> {
        self.act(&Action::Configure { options }).map(drop)
    }
}

/// Lets events happen at the rate of the options.
async fn traffic(shared: Arc<Shared>) {
    let rate = || shared.with(|state| state.options.events_per_second);
    loop {
        let per_second = rate();
        // Times are counted from an anchor, so that no rounding adds up.
        let anchor = shared.clock.now();
        let mut happened = 0_u64;
        while rate().to_bits() == per_second.to_bits() {
            let changed = shared.traffic.notified();
            if per_second <= 0.0 {
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    () = changed => continue,
                }
            }
            let due = anchor + Duration::from_secs_f64((happened + 1) as f64 / per_second);
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => return,
                () = changed => continue,
                () = sleep_until(shared.clock.instant(due)) => {}
            }
            let elapsed = shared.clock.now().saturating_sub(anchor).as_secs_f64();
            for _ in 0..MAX_BURST {
                shared.with(State::next_happening);
                happened += 1;
                if (happened + 1) as f64 / per_second > elapsed {
                    break;
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Carries out a script.
pub(crate) async fn play(shared: Arc<Shared>, script: Script) {
    let start = shared.clock.now();
    for step in script.steps() {
        let at = shared.clock.instant(start + Duration::from_millis(step.at_ms));
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = sleep_until(at) => {}
        }
        // What came of it stands in the ledger.
        let _ = shared.with(|state| state.act(&step.action));
        shared.traffic.notify_one();
    }
}

/// Waits for something to be found in the ledger.
pub(crate) async fn wait_for<R>(shared: &Shared, mut find: impl FnMut(&Seen) -> Option<R>) -> R {
    loop {
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if let Some(found) = shared.with(|state| find(&state.seen)) {
            return found;
        }
        changed.await;
    }
}
