//! What the processes of one bot share while they run: messages, who is there, whose turn it is to
//! identify. Not for what must last: that is the store's.
//!
//! One trait, two implementations: a SQLite file that all processes of one machine open, and a Redis
//! server for processes of many machines. Both say the same things in the same time, and every call ends
//! within [`PATIENCE`], whatever has become of the file or the server. Nothing here is on the way of
//! events: when the backplane is away, shards go on.

mod address;
pub(crate) mod cache;
mod command;
mod condition;
pub(crate) mod jobs;
pub(crate) mod leases;
mod redis;
pub(crate) mod repeat;
mod sqlite;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use self::address::{Address, RedisUrl};
pub use self::cache::CacheRequest;
pub use self::command::{CallId, Request};
pub use self::jobs::JobRequest;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::identify::Claim;
use crate::sessions::{Owner, SessionStore};
use crate::transport::Dialer;

/// The longest that one call takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How long a worker counts as there after it was last heard of.
pub(crate) const WORKER_KEPT: Duration = Duration::from_secs(10);

/// What a call to the backplane comes to.
pub(crate) type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'a>>;

/// What is done with a message. It must not block: it runs where messages are read.
pub(crate) type Deliver = Arc<dyn Fn(Message) + Send + Sync>;

/// Why a call to the backplane failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// It cannot be reached; nothing was done.
    #[error("the backplane cannot be reached: {0}")]
    Away(String),
    /// The answer did not come; it may have been done.
    #[error("the backplane did not answer, so this may have been done or not: {0}")]
    Unclear(String),
    /// It is there, and says no: a full disk, no permission.
    #[error("the backplane refuses: {0}")]
    Refused(String),
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        Self::new(ErrorKind::Io, trouble.to_string())
    }
}

impl From<Trouble> for String {
    fn from(trouble: Trouble) -> Self {
        trouble.to_string()
    }
}

/// Something that another process, or this one, said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Where it was said.
    pub(crate) channel: String,
    /// What was said: JSON if it comes from us, anything if somebody else writes there.
    pub(crate) body: String,
}

/// A claim to identify, as all processes of the bot see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SharedClaim {
    /// What this process may know of.
    pub(crate) claim: Claim,
    /// Tells it from every other claim. Ends with `:` and the shard.
    pub(crate) id: String,
    /// Earlier claims that were not used, for their answers were lost or came too late. They may have been
    /// granted, and then their turns and session starts are given back.
    pub(crate) withdrawn: Vec<String>,
    /// How much later than it is granted the identify may go out.
    pub(crate) slack: Duration,
    /// What Discord said was left today without the reserve, and how long ago.
    pub(crate) left: Option<(u32, Duration)>,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It identifies now.
    Granted {
        /// Session starts of the day, this one included.
        used_today: u32,
        /// Those at the end of them that led to no READY, this one included.
        unanswered: u32,
    },
    /// Its bucket opens after this.
    Wait(Duration),
    /// More identifies led to no READY than the claim knows of.
    TooHasty {
        /// So many.
        unanswered: u32,
    },
    /// The day's session starts are used up to the reserve.
    Spent,
}

/// What processes of one bot share. Names of channels are ours, without what tells bots apart.
pub(crate) trait Backplane:
    cache::Cache + jobs::Jobs + leases::Leases + Send + Sync + fmt::Debug
{
    /// Stays connected and delivers messages, for as long as it is polled. Other calls wait for it.
    fn run<'a>(&'a self, deliver: Deliver) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

    /// Why it cannot be used at the moment.
    fn trouble(&self) -> Option<String>;

    /// How often it was connected to. After each time it may have forgotten everything.
    fn connections(&self) -> watch::Receiver<u64>;

    /// Says something to everybody who listens there, to this process too. Who does not listen at this
    /// moment will never hear it.
    fn publish<'a>(&'a self, channel: &'a str, body: &'a str) -> Doing<'a, ()>;

    /// Listens to channels from now on. When it fails, it does so from the next connection on.
    fn listen<'a>(&'a self, channels: &'a [String]) -> Doing<'a, ()>;

    /// Listens no longer.
    fn ignore<'a>(&'a self, channels: &'a [String]) -> Doing<'a, ()>;

    /// Says that this worker is there, for [`WORKER_KEPT`], and what is to know about it: JSON.
    fn register<'a>(&'a self, worker: &'a str, record: &'a str) -> Doing<'a, ()>;

    /// This worker is gone.
    fn unregister<'a>(&'a self, worker: &'a str) -> Doing<'a, ()>;

    /// What is to know about the workers that are there.
    fn workers(&self) -> Doing<'_, Vec<String>>;

    /// Whether a shard may identify now; if so, its turn is taken and its session start counted.
    fn claim<'a>(&'a self, claim: &'a SharedClaim) -> Doing<'a, Verdict>;

    /// An identify led to READY.
    fn answered(&self) -> Doing<'_, ()>;

    /// Where it keeps sessions.
    fn sessions(self: Arc<Self>) -> Arc<dyn SessionStore>;
}

/// The backplane that the config names, if any.
///
/// # Errors
/// `InvalidConfig` when it could never be used.
pub(crate) fn open(config: &Config) -> Result<Option<Arc<dyn Backplane>>, Error> {
    let bot = Owner::new(config).bot;
    Ok(match &config.backplane {
        None => None,
        Some(Address::Sqlite(path)) => {
            crate::config::check_directory("backplane", path)?;
            Some(Arc::new(sqlite::Sqlite::new(path.clone(), bot)))
        }
        Some(Address::Redis(url)) => {
            Some(Arc::new(redis::Redis::new(url.clone(), &bot, Dialer::direct(config)?)))
        }
    })
}
