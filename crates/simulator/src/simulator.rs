//! The simulator's handle: what tests and programs hold.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::control::Script;
use crate::ledger::{Seen, ViolationRecord};
use crate::memory::{self, MemoryStream};
use crate::options::{Options, OptionsError};
use crate::server::Server;
use crate::state::{Shared, State};
use crate::wire::{OnReset, Wire};
use crate::world::snowflake::Snowflake;
use crate::{drive, http};

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

/// Running.
impl Simulator {
    /// A simulator with these options, which are checked. Does no IO, but takes its time where events
    /// are to be recorded.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        options.check()?;
        let shared = Shared::new(options).map_err(|error| OptionsError {
            option: "recorded_events",
            problem: format!("cannot be encoded: {error}"),
        })?;
        Ok(Self { shared: Arc::new(shared) })
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
    /// down. [`bind`](Self::bind) runs it; without `bind` spawn it yourself. A second one ends at
    /// once.
    pub fn traffic(&self) -> impl Future<Output = ()> + Send + 'static {
        drive::traffic(self.shared.clone())
    }

    /// Lets so many events happen right now.
    pub fn happen(&self, events: u32) {
        for _ in 0..events {
            self.shared.with(State::next_happening);
        }
    }

    /// Carries out a script; its times count from now. The future ends after the last step.
    pub fn play(&self, script: Script) -> impl Future<Output = ()> + Send + 'static {
        drive::play(self.shared.clone(), script)
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
        drive::wait_for(&self.shared, find).await
    }
}
