//! The backplane of many machines: a Redis (6 or later) or Valkey server.
//!
//! One connection carries commands and, with RESP3, messages. The crate's own reconnecting manager is not
//! used: a call to it can wait longer than [`PATIENCE`], and its TLS would trust other roots than `ca_file`
//! names. Here one task connects, listens again, asks every second whether the server still answers, and
//! gives up a connection that does not. A call waits for a connection, then for its answer, at most
//! [`PATIENCE`] in all.
//!
//! All keys and channels begin with `shardwright:{BOT}:`; the braces keep them together in a cluster.

mod cache;
mod identifies;
mod jobs;
mod leases;
mod sessions;
mod workers;

use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind, FromRedisValue, ProtocolVersion, PushInfo, PushKind,
    RedisConnectionInfo, RedisError, RedisResult, Script,
};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::address::RedisUrl;
use super::condition::Condition;
use super::{Backplane, Deliver, Doing, Message, PATIENCE, SharedClaim, Trouble, Verdict};
use crate::sessions::SessionStore;
use crate::transport::Dialer;

/// Time between two questions whether the server still answers.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The longest first wait before another attempt to connect.
const RETRY: Duration = Duration::from_millis(100);

/// The longest wait of all.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A connection to the server.
pub(super) struct Redis {
    url: RedisUrl,
    /// What the server is told first.
    login: RedisConnectionInfo,
    dialer: Dialer,
    /// What keys and channels begin with.
    prefix: String,
    /// The connection, while there is one.
    link: watch::Sender<Option<MultiplexedConnection>>,
    /// The connection is of no use.
    broken: Notify,
    channels: Mutex<BTreeSet<String>>,
    connections: watch::Sender<u64>,
    condition: Condition,
}

impl Redis {
    /// A server that is not connected to yet.
    pub(super) fn new(url: RedisUrl, bot: &str, dialer: Dialer) -> Self {
        let mut login = RedisConnectionInfo::default()
            .set_db(url.database)
            .set_protocol(ProtocolVersion::RESP3)
            .set_lib_name("shardwright", env!("CARGO_PKG_VERSION"));
        if let Some(username) = &url.username {
            login = login.set_username(username);
        }
        if let Some(password) = &url.password {
            login = login.set_password(password.as_str());
        }
        Self {
            condition: Condition::new(url.to_string()),
            url,
            login,
            dialer,
            prefix: format!("shardwright:{{{bot}}}:"),
            link: watch::Sender::new(None),
            broken: Notify::new(),
            channels: Mutex::default(),
            connections: watch::Sender::new(0),
        }
    }

    /// A key or channel of this bot.
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Runs one command.
    async fn ask<T: FromRedisValue>(&self, command: redis::Cmd) -> Result<T, Trouble> {
        self.with(async |mut link: MultiplexedConnection| command.query_async(&mut link).await)
            .await
    }

    /// Runs a script, which the server does all at once or not at all.
    async fn run_script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&str],
    ) -> Result<T, Trouble> {
        let mut call = script.prepare_invoke();
        for key in keys {
            call.key(self.key(key));
        }
        for argument in arguments {
            call.arg(*argument);
        }
        self.with(async |mut link: MultiplexedConnection| call.invoke_async(&mut link).await).await
    }

    /// Does something with the connection, once there is one.
    async fn with<T>(
        &self,
        work: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, Trouble> {
        let mut is_linked = false;
        let answer = async {
            let mut link = self.link.subscribe();
            // It goes with this struct, so there is always another connection to hope for.
            let Ok(link) = link.wait_for(Option::is_some).await.map(|link| (*link).clone()) else {
                return Err(Trouble::Away("it is closed".to_owned()));
            };
            is_linked = true;
            match link {
                Some(link) => work(link).await.map_err(|error| self.judge(&error)),
                None => Err(Trouble::Away("it is closed".to_owned())),
            }
        };
        timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
            let slow = || format!("no answer within {} s", PATIENCE.as_secs());
            if is_linked {
                self.broken.notify_one();
                return Err(Trouble::Unclear(slow()));
            }
            Err(Trouble::Away(self.condition.trouble().unwrap_or_else(slow)))
        })
    }

    /// What an error means.
    fn judge(&self, error: &RedisError) -> Trouble {
        let text = said(error);
        match error.code() {
            // It is there, but another server is the one to ask now, or this one later.
            Some("READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "UNKILLABLE") => {
                self.broken.notify_one();
                Trouble::Away(text)
            }
            Some(_) => Trouble::Refused(text),
            None => {
                self.broken.notify_one();
                Trouble::Unclear(text)
            }
        }
    }

    /// Stays connected.
    async fn stay_connected(&self, deliver: Deliver) {
        let mut longest = RETRY;
        loop {
            let before = *self.connections.borrow();
            let why = self.connect_once(&deliver).await;
            self.link.send_replace(None);
            self.condition.worsen(&why);
            if *self.connections.borrow() > before {
                longest = RETRY;
            }
            sleep(longest.mul_f64(fastrand::f64())).await;
            longest = (longest * 2).min(RETRY_MAX);
        }
    }

    /// One connection, from its attempt to its end; why it ended.
    async fn connect_once(&self, deliver: &Deliver) -> String {
        let connecting = timeout(PATIENCE, self.connect(Arc::clone(deliver))).await;
        let (link, driver) = match connecting {
            Ok(Ok(connected)) => connected,
            Ok(Err(why)) => return why,
            Err(_) => return format!("no connection within {} s", PATIENCE.as_secs()),
        };
        tokio::select! {
            () = driver => "the connection was lost".to_owned(),
            why = self.use_link(link) => why,
        }
    }

    /// Connects and logs in.
    async fn connect(
        &self,
        deliver: Deliver,
    ) -> Result<(MultiplexedConnection, impl Future<Output = ()>), String> {
        let RedisUrl { tls, host, port, .. } = &self.url;
        let stream =
            self.dialer.dial(*tls, host, *port).await.map_err(|error| error.to_string())?;
        let prefix = self.prefix.clone();
        let push = move |push: PushInfo| {
            if let Some(message) = message_of(push, &prefix) {
                deliver(message);
            }
            Ok::<_, std::convert::Infallible>(())
        };
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_push_sender(push);
        let connected = MultiplexedConnection::new_with_config(&self.login, stream, config).await;
        connected.map_err(|error| match error.kind() {
            ErrorKind::RESP3NotSupported => {
                "it does not know RESP3; Redis 6 or later, or Valkey, is needed".to_owned()
            }
            _ => said(&error),
        })
    }

    /// Uses a connection until it is of no use any more; why not.
    async fn use_link(&self, mut link: MultiplexedConnection) -> String {
        // What was asked of the last connection says nothing about this one.
        let _ = timeout(Duration::ZERO, self.broken.notified()).await;
        let channels: Vec<String> = self.channels().iter().map(|name| self.key(name)).collect();
        if !channels.is_empty() {
            match timeout(PATIENCE, link.subscribe(&channels)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return said(&error),
                Err(_) => return format!("no answer within {} s", PATIENCE.as_secs()),
            }
        }
        self.condition.mend();
        self.connections.send_modify(|count| *count += 1);
        self.link.send_replace(Some(link.clone()));
        loop {
            tokio::select! {
                () = self.broken.notified() => return "it does not answer as it should".to_owned(),
                () = sleep(PING_EVERY) => {}
            }
            let ping = redis::cmd("PING");
            match timeout(PATIENCE, ping.query_async::<redis::Value>(&mut link)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return said(&error),
                Err(_) => return format!("no answer within {} s", PATIENCE.as_secs()),
            }
        }
    }

    /// The channels that are listened to.
    fn channels(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an error says, for people. Redis repeats no credentials.
fn said(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

/// The message that the server pushed, if it is one.
fn message_of(push: PushInfo, prefix: &str) -> Option<Message> {
    if push.kind != PushKind::Message {
        return None;
    }
    let (channel, body): (String, String) =
        redis::from_redis_value(redis::Value::Array(push.data)).ok()?;
    Some(Message { channel: channel.strip_prefix(prefix)?.to_owned(), body })
}

impl Backplane for Redis {
    fn run<'a>(&'a self, deliver: Deliver) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(self.stay_connected(deliver))
    }

    fn trouble(&self) -> Option<String> {
        self.condition.trouble()
    }

    fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    fn publish<'a>(&'a self, channel: &'a str, body: &'a str) -> Doing<'a, ()> {
        Box::pin(async move {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(self.key(channel)).arg(body);
            self.ask(publish).await
        })
    }

    fn listen<'a>(&'a self, channels: &'a [String]) -> Doing<'a, ()> {
        Box::pin(async {
            // First: a connection that comes up in between listens to them by itself.
            self.channels().extend(channels.iter().cloned());
            let keys: Vec<String> = channels.iter().map(|name| self.key(name)).collect();
            self.with(async |mut link: MultiplexedConnection| link.subscribe(&keys).await).await
        })
    }

    fn ignore<'a>(&'a self, channels: &'a [String]) -> Doing<'a, ()> {
        Box::pin(async {
            self.channels().retain(|known| !channels.contains(known));
            let keys: Vec<String> = channels.iter().map(|name| self.key(name)).collect();
            self.with(async |mut link: MultiplexedConnection| link.unsubscribe(&keys).await).await
        })
    }

    fn register<'a>(&'a self, worker: &'a str, record: &'a str) -> Doing<'a, ()> {
        Box::pin(async move {
            let written = self.write_worker(worker, record).await;
            // Every few seconds, so this tells how a server is doing that answers and takes nothing: a full one.
            match &written {
                Ok(()) => self.condition.mend(),
                Err(Trouble::Refused(why)) => self.condition.worsen(why),
                Err(_) => {}
            }
            written
        })
    }

    fn unregister<'a>(&'a self, worker: &'a str) -> Doing<'a, ()> {
        Box::pin(self.delete_worker(worker))
    }

    fn workers(&self) -> Doing<'_, Vec<String>> {
        Box::pin(self.read_workers())
    }

    fn claim<'a>(&'a self, claim: &'a SharedClaim) -> Doing<'a, Verdict> {
        Box::pin(self.write_identify(claim))
    }

    fn answered(&self) -> Doing<'_, ()> {
        Box::pin(self.write_answered())
    }

    fn sessions(self: Arc<Self>) -> Arc<dyn SessionStore> {
        self
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("url", &self.url).finish_non_exhaustive()
    }
}
