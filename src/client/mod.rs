//! One client: a bot token in one process, its shards and its event queue.
//!
//! [`Client`] is what a host holds. Starting it spawns one task (`life`) that asks `/gateway/bot`,
//! starts the shards (`crew`), restarts one that met a bug, and ends them all. Commands go straight
//! from the host's thread (`accept`) to the shards they are for (`fleet`), and every one gets its reply
//! (`replies`).

mod accept;
mod calls;
mod command;
mod crew;
mod endpoint;
mod fleet;
mod forward;
mod guilds;
mod jobs;
mod keeper;
mod latch;
mod leases;
mod life;
mod member_command;
mod observer;
mod post;
mod ranges;
mod records;
mod replies;
mod reshard;
mod shared;
mod stage;
mod standby;
mod startup;
mod turns;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

pub use self::command::{Command, Route, soundboard_sounds};
pub use self::guilds::GuildsPage;
pub use self::observer::{Heard, Observer};
pub use self::ranges::shard_ranges;
pub use self::reshard::Target;
use self::shared::Shared;
use self::stage::Stage;
pub use self::standby::StandbyWord;
pub use self::startup::{GatewayInfo, StartLimit};
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::metrics;
use crate::queue::EventQueue;
use crate::shard::StopMode;
use crate::shard::driver::Mail;
use crate::transport::Network;

/// A bot in this process. Cheap to clone; all clones are one client. It stops when it is told to,
/// not when it is dropped.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

impl Client {
    /// A client that does nothing yet.
    ///
    /// # Errors
    /// `InvalidConfig` when `ca_file` cannot be used, `Io` when no file descriptor is left.
    pub fn new(config: Config, network: Arc<dyn Network>) -> Result<Self, Error> {
        Shared::new(config, network).map(|shared| Self(Arc::new(shared)))
    }

    /// Starts it on a runtime, and returns at once.
    ///
    /// # Errors
    /// `State` when it was started before, `Io` when `metrics_address` cannot be listened on; then it
    /// can be started again.
    pub fn start(&self, runtime: &Handle) -> Result<(), Error> {
        let mut stage = self.0.stage_mut();
        if !matches!(*stage, Stage::New) {
            return Err(Error::new(ErrorKind::State, "a client starts once; make a new one"));
        }
        self.0.open_endpoint(runtime)?;
        *stage = Stage::Starting { runtime: runtime.clone(), held: Vec::new() };
        runtime.spawn(Arc::clone(&self.0).live());
        Ok(())
    }

    /// Has it stop, and returns at once. Said twice, the more impatient mode counts.
    pub fn stop(&self, mode: StopMode) {
        self.0.stop.send_modify(|wanted| {
            if *wanted != Some(StopMode::Abort) {
                *wanted = Some(mode);
            }
        });
        let never_started = matches!(*self.0.stage(), Stage::New);
        if never_started {
            self.0.end();
        }
    }

    /// Waits until nothing of it runs any more, at most so long (`None`: for ever).
    ///
    /// # Errors
    /// `Timeout`; `Interrupted` when a signal handler ran in this thread.
    pub fn wait_stopped(&self, timeout: Option<Duration>) -> Result<(), Error> {
        self.0.stopped.wait(timeout)
    }

    /// Waits until every shard was ready once, at most so long (`None`: for ever).
    ///
    /// # Errors
    /// `Fatal` when Discord refuses one of them for good, `Closed` when the client stops first,
    /// `Timeout`, and `Interrupted` when a signal handler ran in this thread.
    pub fn wait_ready(&self, timeout: Option<Duration>) -> Result<(), Error> {
        if matches!(*self.0.stage(), Stage::New) {
            return Err(Error::new(ErrorKind::State, "start the client first"));
        }
        self.0.decided.wait(timeout).map_err(|error| match error.kind() {
            ErrorKind::Timeout => Error::new(ErrorKind::Timeout, self.0.unready()),
            _ => error,
        })?;
        self.0.verdict()
    }

    /// Stores the sessions once more, when the host has taken and released what it wants to: for the end,
    /// after everything has stopped. Does nothing without `sessions`.
    pub fn save_sessions(&self) {
        self.0.save_sessions();
    }

    /// Accepts a command; its reply comes as an event.
    ///
    /// # Errors
    /// Says what is wrong with it; then there is no reply.
    pub fn send_command(&self, text: &str) -> Result<u64, Error> {
        self.0.accept(Command::from_json(text)?, text)
    }

    /// Ends a command; its reply says so.
    ///
    /// # Errors
    /// `NotFound` when it has been replied to.
    pub fn cancel(&self, command_id: u64) -> Result<(), Error> {
        self.0.replies.cancel(command_id)?;
        if let Some(fleet) = self.0.stage().fleet() {
            fleet.tell_all(|| Mail::Cancel { command_id });
        }
        Ok(())
    }

    /// Its events.
    pub fn queue(&self) -> &Arc<EventQueue> {
        &self.0.queue
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// How it is doing, as JSON: the client, its queue, and every shard.
    pub fn status_json(&self) -> String {
        self.0.overview().to_json()
    }

    /// The same as numbers, in the OpenMetrics format.
    pub fn metrics_text(&self) -> String {
        metrics::to_openmetrics(&self.0.overview())
    }

    /// Whether all shards are ready.
    ///
    /// # Errors
    /// The worst reason why not: `Fatal`, `Closed`, or `State`.
    pub fn healthy(&self) -> Result<(), Error> {
        self.0.overview().verdict()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("stage", &*self.0.stage()).finish_non_exhaustive()
    }
}
