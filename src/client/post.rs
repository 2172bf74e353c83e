//! A client's way to the other processes of its bot: what it says, and what it hears.
//!
//! It has a name among them, its worker id, and a record that says that it is there and how it is doing,
//! which ends by itself when the process does. Channels are of three kinds: `topic:…` for messages,
//! `call:…` for calls, and `worker:…` for what is meant for one worker only.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{Mutex as Turn, Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use super::calls::Calls;
use super::forward::Forwards;
use super::jobs::{self, Jobs};
use super::replies::ReturnAddress;
use super::shared::{Shared, lock};
use super::standby::StandbyWord;
use super::worker::{self, Rate, Record};
use crate::backplane::leases::{Answer as LeaseAnswer, Ask, Held};
use crate::backplane::{
    self, Backplane, CacheRequest, CallId, Message, Request, SharedClaim, Trouble, Verdict,
};
use crate::config::{Config, MAX_TOPICS};
use crate::error::{Error, ErrorKind};
use crate::health::BackplaneOverview;
use crate::queue::{Event, EventKind};
use crate::sessions::SessionStore;
use crate::usage::{Traffic, Usage};

/// What the channel of a topic's messages begins with.
const TOPIC: &str = "topic:";

/// What the channel of a topic's calls begins with.
const CALL: &str = "call:";

/// The channel of what is announced of the cache, which every worker hears.
const CACHE: &str = "cache";

/// The channel on which workers hear that leases may be free, or somebody wants some.
const LEASES: &str = "leases";

/// The channel on which workers hear that the bot gets another number of shards.
const STANDBY: &str = "standby";

/// The name of the MESSAGE that says so.
const CACHE_TOPIC: &str = "_cache";

/// What the channel of a worker begins with.
const WORKER: &str = "worker:";

/// Time between two words that this worker is still there: a third of what it is believed for.
const REGISTER_EVERY: Duration = Duration::from_secs(3);

/// Time between two words at least: when many shards have news, one record says all of it.
const BURST: Duration = Duration::from_millis(200);

/// Patience with the backplane when the client stops: its record ends by itself, too.
pub(super) const FAREWELL: Duration = Duration::from_millis(500);

/// The post office of one client.
#[derive(Debug)]
pub(super) struct Post {
    backplane: Arc<dyn Backplane>,
    /// What this client is called among the others, for as long as it lives.
    worker: String,
    topics: Mutex<BTreeSet<String>>,
    calls: Calls,
    jobs: Jobs,
    /// Commands that wait for replies of other processes.
    pub(super) forwards: Forwards,
    rate: Rate,
    usage: Usage,
    /// Messages and calls sent.
    published: AtomicU64,
    /// Messages and calls for the host.
    received: AtomicU64,
    /// Whether the record may be written: not after the end. Held while it is.
    is_open: Turn<bool>,
    /// The record should be written now.
    hurry: Notify,
}

/// Something that a process of the bot said to others.
#[derive(Debug, Clone)]
pub struct Heard {
    /// [`EventKind::Message`] or [`EventKind::Call`].
    pub kind: EventKind,
    /// About what.
    pub topic: String,
    /// The worker that said it.
    pub from: String,
    /// What it said.
    pub data: Box<RawValue>,
}

/// What messages and calls look like.
#[derive(Debug, Deserialize)]
struct Signed<'a> {
    from: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// What is meant for one worker.
#[derive(Debug, Deserialize)]
struct Letter<'a> {
    from: String,
    /// The call that it answers.
    answer: Option<u64>,
    /// What the sender calls this command.
    forward: Option<u64>,
    #[serde(borrow)]
    command: Option<&'a RawValue>,
    /// The command that this replies to.
    reply: Option<u64>,
    status: Option<i32>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    error: Option<String>,
}

impl Post {
    /// The one that the config asks for, if any.
    ///
    /// # Errors
    /// `InvalidConfig` when it could never work.
    pub(super) fn new(config: &Config) -> Result<Option<Self>, Error> {
        let Some(backplane) = backplane::open(config)? else { return Ok(None) };
        Ok(Some(Self {
            backplane,
            worker: format!("{:016x}", fastrand::u64(..)),
            topics: Mutex::default(),
            calls: Calls::default(),
            jobs: Jobs::default(),
            forwards: Forwards::default(),
            rate: Rate::default(),
            usage: Usage::new(),
            published: AtomicU64::new(0),
            received: AtomicU64::new(0),
            is_open: Turn::new(true),
            hurry: Notify::new(),
        }))
    }

    /// Why it does not work at the moment.
    pub(super) fn trouble(&self) -> Option<String> {
        self.backplane.trouble()
    }

    /// How it is doing, in numbers.
    pub(super) fn overview(&self) -> BackplaneOverview {
        BackplaneOverview {
            is_up: *self.backplane.connections().borrow() > 0 && self.trouble().is_none(),
            used: self.usage.get(),
            traffic: Traffic {
                published: self.published.load(Ordering::Relaxed),
                received: self.received.load(Ordering::Relaxed),
                jobs: self.jobs.counted(),
                jobs_running: self.jobs.running(),
            },
        }
    }

    /// Where the backplane keeps sessions.
    pub(super) fn sessions(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.backplane).sessions()
    }

    /// What this client is called among the others.
    pub(super) fn worker(&self) -> &str {
        &self.worker
    }

    /// What it consumes.
    pub(super) fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// There is news that the others should have.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }

    // -- while it runs ------------------------------------------------------------------------

    /// Stays connected without a client, for as long as it is polled: hears replies, and hands on what else
    /// is said on channels that are listened to.
    pub(super) async fn attend(self: Arc<Self>, heard: impl Fn(Heard) + Send + Sync + 'static) {
        let own = format!("{WORKER}{}", self.worker);
        let post = Arc::clone(&self);
        let deliver = Arc::new(move |Message { channel, body }: Message| {
            if channel == own {
                if let Ok(letter) = serde_json::from_str(&body) {
                    post.settle(&letter);
                }
            } else if let Some((kind, topic)) = kind_of(&channel)
                && let Ok(Signed { from, data }) = serde_json::from_str(&body)
            {
                let (from, data) = (from.into_owned(), RawValue::to_owned(data));
                heard(Heard { kind, topic: topic.to_owned(), from, data });
            }
        });
        // It is listened to from the first connection on, whatever comes of the first attempt.
        let own = [format!("{WORKER}{}", self.worker), CACHE.to_owned()];
        let _ = tokio::join!(self.backplane.run(deliver), self.backplane.listen(&own));
    }

    /// Hears what is said about topics from now on, and their calls, without a client.
    pub(super) async fn overhear(&self, topics: &[String]) -> Result<(), Trouble> {
        let channels: Vec<String> = topics.iter().flat_map(|topic| channels(topic)).collect();
        self.backplane.listen(&channels).await
    }

    /// Does what needs no client, for somebody who looks on; the reply's status and data.
    pub(super) async fn operate(&self, request: Request) -> Result<(i32, Bytes), Error> {
        match request {
            Request::Job(request) => {
                let data = Jobs::administer(request, &self.backplane).await?;
                Ok((0, data.into()))
            }
            Request::Cache(request) => self.use_cache(&request).await,
            Request::Publish { topic, data } => {
                self.publish_to(&topic, &data).await?;
                Ok((0, null()))
            }
            Request::ClusterStats => Ok((0, worker::cluster_stats(&*self.backplane).await?)),
            Request::Subscribe { .. }
            | Request::Unsubscribe { .. }
            | Request::Call { .. }
            | Request::Answer { .. } => {
                let text = "topics are subscribed to, and calls made, by the processes of the bot";
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    /// Hears what others say, until the client stops.
    pub(super) fn hear(&self, shared: Weak<Shared>) -> impl Future<Output = ()> + Send + use<> {
        let backplane = Arc::clone(&self.backplane);
        async move {
            let deliver = Arc::new(move |message: Message| {
                if let Some(shared) = shared.upgrade() {
                    shared.receive(&message);
                }
            });
            backplane.run(deliver).await;
        }
    }

    /// Stays known to the others.
    async fn stay_known(&self, shared: &Shared) {
        // It is listened to from the first connection on, whatever comes of the first attempt.
        let own = format!("{WORKER}{}", self.worker);
        let _ = self
            .backplane
            .listen(&[own, CACHE.to_owned(), LEASES.to_owned(), STANDBY.to_owned()])
            .await;
        let mut connections = self.backplane.connections();
        loop {
            connections.mark_unchanged();
            let since = Instant::now();
            // Trouble shows in the status, and the next time comes soon.
            let _ = self.register(shared).await;
            tokio::select! {
                biased;
                () = self.hurry.notified() => {}
                // What forgot it has to be told again.
                Ok(()) = connections.changed() => {}
                () = sleep(REGISTER_EVERY) => continue,
            }
            sleep_until(since + BURST).await;
        }
    }

    /// Says that this worker is there, and how it is doing.
    async fn register(&self, shared: &Shared) -> Result<(), Trouble> {
        let is_open = self.is_open.lock().await;
        if !*is_open {
            return Ok(());
        }
        let topics = lock(&self.topics).iter().cloned().collect();
        let record = shared.record(&self.worker, topics, self.jobs.consumed(), &self.rate);
        // Numbers and text can always be written.
        let record = serde_json::to_string(&record).unwrap_or_default();
        self.backplane.register(&self.worker, &record).await
    }

    /// The client stops: this worker is gone.
    pub(super) async fn close(&self) {
        let farewell = async {
            *self.is_open.lock().await = false;
            if self.trouble().is_none() {
                let _ = self.backplane.unregister(&self.worker).await;
            }
        };
        let _ = timeout(FAREWELL, farewell).await;
    }

    /// Says something to one worker only.
    pub(super) async fn send(&self, worker: &str, letter: &str) -> Result<(), Trouble> {
        self.backplane.publish(&format!("{WORKER}{worker}"), letter).await
    }

    /// Who is there.
    pub(super) async fn workers(&self) -> Result<Vec<Record>, Trouble> {
        Ok(worker::read(&self.backplane.workers().await?))
    }

    // -- identifies ---------------------------------------------------------------------------

    /// Claims a turn to identify.
    pub(super) async fn claim(&self, claim: &SharedClaim) -> Result<Verdict, Trouble> {
        self.backplane.claim(claim).await
    }

    /// An identify led to READY.
    pub(super) async fn answered(&self) {
        // Should nobody hear of it, the next ones go out further apart for a while.
        let _ = self.backplane.answered().await;
    }

    // -- what one process leaves for another --------------------------------------------------

    /// Keeps something for a while.
    pub(super) async fn keep(
        &self,
        key: &str,
        value: &impl Serialize,
        time: Duration,
    ) -> Result<(), Trouble> {
        let ttl_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let set = json!({"type": "cache_set", "key": key, "value": value, "ttl_ms": ttl_ms});
        match serde_json::from_str(&set.to_string()) {
            Ok(set) => self.backplane.cache_set(&set).await.map(drop),
            Err(error) => Err(Trouble::Refused(error.to_string())),
        }
    }

    /// What was kept, if it is there and can be had.
    pub(super) async fn kept<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let kept = self.backplane.cache_get(key).await.ok()??;
        serde_json::from_str(&kept.value).ok()
    }

    /// Tells all workers something about another number of shards.
    pub(super) async fn tell_workers(&self, word: &StandbyWord) -> Result<(), Trouble> {
        // Numbers and text can always be written.
        let word = serde_json::to_string(word).unwrap_or_default();
        self.backplane.publish(STANDBY, &word).await
    }

    // -- leases -------------------------------------------------------------------------------

    /// Goes on holding shards, and takes what is free.
    pub(super) async fn hold(&self, ask: &Ask) -> Result<LeaseAnswer, Trouble> {
        self.backplane.lease_hold(ask).await
    }

    /// Gives shards back.
    pub(super) async fn release(
        &self,
        shard_total: u32,
        held: &[Held],
        leaves: bool,
    ) -> Result<(), Trouble> {
        self.backplane.lease_release(&self.worker, shard_total, held, leaves).await
    }

    /// Has the others look at once whether there are shards for them, or too many.
    pub(super) async fn nudge(&self) {
        // Who does not hear it looks by itself a little later.
        let _ = self.backplane.publish(LEASES, &self.worker).await;
    }

    /// How often the backplane was connected to.
    pub(super) fn connections(&self) -> watch::Receiver<u64> {
        self.backplane.connections()
    }

    // -- what the host wants ------------------------------------------------------------------

    /// Does what the host wants; the reply's status and data.
    pub(super) async fn carry_out(
        &self,
        request: Request,
        shared: &Arc<Shared>,
    ) -> Result<(i32, Bytes), Error> {
        let since = Instant::now();
        let is_call = matches!(request, Request::Call { .. });
        let result = match request {
            Request::Job(request) => {
                let done = Jobs::carry_out(request, shared, &self.backplane, &self.worker);
                done.await.map(|data| (0, data))
            }
            Request::Cache(request) => self.use_cache(&request).await,
            request => self.say(request, shared).await.map(|data| (0, data)),
        };
        self.usage.note(&result, (!is_call).then(|| since.elapsed()));
        result
    }

    /// Says something to everybody who listens, and counts it.
    async fn publish(&self, channel: &str, body: &str) -> Result<(), Trouble> {
        self.backplane.publish(channel, body).await?;
        self.published.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The same to all that are subscribed to a topic.
    async fn publish_to(&self, topic: &str, data: &RawValue) -> Result<(), Trouble> {
        let body = format!(r#"{{"from":"{}","data":{}}}"#, self.worker, data.get());
        self.publish(&format!("{TOPIC}{topic}"), &body).await
    }

    /// Does something with the cache, and tells everybody if they are to know.
    async fn use_cache(&self, request: &CacheRequest) -> Result<(i32, Bytes), Error> {
        let (status, data, announcement) = request.carry_out(&*self.backplane).await?;
        if let Some(announcement) = announcement {
            let body = format!(r#"{{"from":"{}","data":{announcement}}}"#, self.worker);
            self.publish(CACHE, &body).await.map_err(|trouble| {
                let text = format!("done, but not announced: {trouble}");
                Error::new(ErrorKind::Io, text)
            })?;
        }
        Ok((status, data.into()))
    }

    /// Does what the host wants with other processes; the reply's data.
    async fn say(&self, request: Request, shared: &Shared) -> Result<Bytes, Error> {
        match request {
            // Done before.
            Request::Cache(_) | Request::Job(_) => Ok(null()),
            Request::Publish { topic, data } => {
                self.publish_to(&topic, &data).await?;
                Ok(null())
            }
            Request::Subscribe { topic } => self.subscribe(topic, shared).await,
            Request::Unsubscribe { topic } => {
                lock(&self.topics).remove(&topic);
                // Before the reply: from then on, nobody waits for this worker's answer.
                if self.register(shared).await.is_err() {
                    self.hurry();
                }
                // Where it is away, nothing is heard of it either, and it is not listened to afterwards.
                match self.backplane.ignore(&channels(&topic)).await {
                    Ok(()) | Err(Trouble::Away(_)) => Ok(null()),
                    Err(trouble) => Err(trouble.into()),
                }
            }
            Request::Call { topic, data, timeout } => self.call(&topic, &data, timeout).await,
            Request::Answer { call, result } => {
                let letter = match result {
                    Ok(data) => {
                        let (from, number) = (&self.worker, call.number);
                        let data = data.get();
                        format!(r#"{{"from":"{from}","answer":{number},"data":{data}}}"#)
                    }
                    Err(error) => {
                        json!({"from": self.worker, "answer": call.number, "error": error})
                            .to_string()
                    }
                };
                self.send(&call.worker, &letter).await?;
                Ok(null())
            }
            Request::ClusterStats => {
                // What is told of this worker should not be older than the question.
                self.register(shared).await?;
                Ok(worker::cluster_stats(&*self.backplane).await?)
            }
        }
    }

    /// Subscribes to a topic: now, or when the backplane is back.
    async fn subscribe(&self, topic: String, shared: &Shared) -> Result<Bytes, Error> {
        {
            let mut topics = lock(&self.topics);
            if topics.len() == MAX_TOPICS && !topics.contains(&topic) {
                let text = format!("{MAX_TOPICS} topics are subscribed to; unsubscribe from some");
                return Err(Error::new(ErrorKind::QueueFull, text));
            }
            topics.insert(topic.clone());
        }
        let active = async {
            self.backplane.listen(&channels(&topic)).await?;
            // Before the reply: from then on, who calls waits for this worker's answer.
            self.register(shared).await
        };
        let trouble = active.await.err();
        if let Some(trouble) = &trouble {
            debug!("subscribed to {topic:?} for later: {trouble}");
        }
        Ok(json!({"active": trouble.is_none()}).to_string().into())
    }

    /// Calls all workers that are subscribed, and waits for their answers.
    async fn call(&self, topic: &str, data: &RawValue, patience: Duration) -> Result<Bytes, Error> {
        let is_meant = |worker: &Record| worker.topics.iter().any(|known| known == topic);
        let workers = self.workers().await?.into_iter().filter(is_meant);
        let meant: BTreeSet<String> = workers.map(|worker| worker.worker).collect();
        if meant.is_empty() {
            return Ok(Bytes::from_static(br#"{"answers":[],"missing":[]}"#));
        }
        let mut waiting = self.calls.open(meant)?;
        let call = CallId { worker: self.worker.clone(), number: waiting.number };
        let (from, data) = (&self.worker, data.get());
        let body = format!(r#"{{"call":"{call}","from":"{from}","data":{data}}}"#);
        self.publish(&format!("{CALL}{topic}"), &body).await?;
        let _ = timeout(patience, &mut waiting.done).await;
        waiting.answers()
    }

    // -- what others say ----------------------------------------------------------------------

    /// What a message means to the host, if anything.
    fn read(&self, Message { channel, body }: &Message, shared: &Arc<Shared>) -> Option<Event> {
        if let Some(worker) = channel.strip_prefix(WORKER) {
            if worker == self.worker {
                self.read_letter(body, shared);
            }
            return None;
        }
        if let Some(queue) = channel.strip_prefix(jobs::WAKE) {
            self.jobs.wake(queue);
            return None;
        }
        if channel == LEASES {
            if let Some(leases) = shared.leases.as_ref().filter(|_| *body != self.worker) {
                leases.nudge();
            }
            return None;
        }
        if channel == STANDBY {
            if let Ok(word) = serde_json::from_str(body) {
                shared.hear(word);
            }
            return None;
        }
        let (kind, topic) = kind_of(channel)?;
        // Anybody may write there; hosts are promised JSON.
        serde_json::from_str::<Signed<'_>>(body).ok()?;
        let is_for_host = channel == CACHE || lock(&self.topics).contains(topic);
        is_for_host.then(|| Event::new(kind, topic, body.as_bytes()))
    }

    /// Something for this worker only.
    fn read_letter(&self, body: &str, shared: &Arc<Shared>) {
        let Ok(letter) = serde_json::from_str::<Letter<'_>>(body) else { return };
        if let (Some(number), Some(command)) = (letter.forward, letter.command) {
            let worker = letter.from.clone();
            shared.accept_forwarded(ReturnAddress { worker, number }, command);
        } else {
            self.settle(&letter);
        }
    }

    /// An answer or a reply, for whoever waits for it.
    fn settle(&self, letter: &Letter<'_>) {
        let data = letter.data.unwrap_or(RawValue::NULL);
        if let Some(number) = letter.answer {
            let result = letter.error.clone().map_or_else(|| Ok(data.to_owned()), Err);
            self.calls.answer(number, letter.from.clone(), result);
        } else if let (Some(number), Some(status)) = (letter.reply, letter.status) {
            self.forwards.reply(number, (status, data.get().to_owned().into()));
        }
    }
}

impl Shared {
    /// Stays known to the other processes, until the client stops.
    pub(super) async fn stay_known(self: Arc<Self>) {
        if let Some(post) = &self.post {
            post.stay_known(&self).await;
        }
    }

    /// A message came.
    fn receive(self: &Arc<Self>, message: &Message) {
        let Some(post) = &self.post else { return };
        if let Some(event) = post.read(message, self) {
            post.received.fetch_add(1, Ordering::Relaxed);
            self.queue.push_own(event);
        }
    }
}

/// What is said on a channel to whoever listens, and about what; `None` for what is between workers.
fn kind_of(channel: &str) -> Option<(EventKind, &str)> {
    if channel == CACHE {
        return Some((EventKind::Message, CACHE_TOPIC));
    }
    Some(match channel.strip_prefix(TOPIC) {
        Some(topic) => (EventKind::Message, topic),
        None => (EventKind::Call, channel.strip_prefix(CALL)?),
    })
}

/// Where messages and calls of a topic go.
fn channels(topic: &str) -> [String; 2] {
    [format!("{TOPIC}{topic}"), format!("{CALL}{topic}")]
}

/// The data of a reply without a result.
fn null() -> Bytes {
    Bytes::from_static(b"null")
}

/// The error of commands that need another process.
pub(super) fn missing() -> Error {
    let text = "the config has no `backplane`, which processes talk through: set it to \
                \"sqlite:PATH\" or \"redis://host\"";
    Error::new(ErrorKind::Unsupported, text)
}
