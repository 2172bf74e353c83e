//! A client's way to the other processes of its bot: what it says, and what it hears.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use serde_json::value::RawValue;
use tracing::debug;

use super::shared::{Shared, lock};
use crate::backplane::{self, Backplane, Message, Request, Trouble};
use crate::config::{Config, MAX_TOPICS};
use crate::error::{Error, ErrorKind};
use crate::queue::{Event, EventKind, EventQueue};

/// What the channel of a topic begins with: the engine's own have other names.
const TOPIC: &str = "topic:";

/// The post office of one client.
#[derive(Debug)]
pub(super) struct Post {
    backplane: Arc<dyn Backplane>,
    /// What this client is called among the others, for as long as its process lives.
    worker: String,
    topics: Mutex<BTreeSet<String>>,
}

impl Post {
    /// The one that the config asks for, if any.
    ///
    /// # Errors
    /// `InvalidConfig` when it could never work.
    pub(super) fn new(config: &Config) -> Result<Option<Self>, Error> {
        let Some(backplane) = backplane::open(config)? else { return Ok(None) };
        let worker = format!("{:016x}", fastrand::u64(..));
        Ok(Some(Self { backplane, worker, topics: Mutex::default() }))
    }

    /// Why it does not work at the moment.
    pub(super) fn trouble(&self) -> Option<String> {
        self.backplane.trouble()
    }

    /// What has to run for it, until the client stops.
    pub(super) fn work(&self, shared: Weak<Shared>) -> impl Future<Output = ()> + Send + use<> {
        let backplane = Arc::clone(&self.backplane);
        async move {
            let deliver = Arc::new(move |message| {
                if let Some(shared) = shared.upgrade() {
                    shared.receive(message);
                }
            });
            backplane.run(deliver).await;
        }
    }

    /// Does what the host wants; the reply's data.
    pub(super) async fn carry_out(&self, request: Request) -> Result<Bytes, Error> {
        match request {
            Request::Publish { topic, data } => {
                let body = self.sign(&data);
                self.backplane.publish(&format!("{TOPIC}{topic}"), &body).await?;
                Ok(Bytes::from_static(b"null"))
            }
            Request::Subscribe { topic } => self.subscribe(topic).await,
            Request::Unsubscribe { topic } => {
                lock(&self.topics).remove(&topic);
                // Where it is away, nothing is heard of it either, and it is not listened to afterwards.
                match self.backplane.ignore(&[format!("{TOPIC}{topic}")]).await {
                    Ok(()) | Err(Trouble::Away(_)) => Ok(Bytes::from_static(b"null")),
                    Err(trouble) => Err(trouble.into()),
                }
            }
        }
    }

    /// Subscribes to a topic: now, or when the backplane is back.
    async fn subscribe(&self, topic: String) -> Result<Bytes, Error> {
        {
            let mut topics = lock(&self.topics);
            if topics.len() == MAX_TOPICS && !topics.contains(&topic) {
                let text = format!("{MAX_TOPICS} topics are subscribed to; unsubscribe from some");
                return Err(Error::new(ErrorKind::QueueFull, text));
            }
            topics.insert(topic.clone());
        }
        match self.backplane.listen(&[format!("{TOPIC}{topic}")]).await {
            Ok(()) => Ok(Bytes::from_static(br#"{"active":true}"#)),
            Err(trouble) => {
                debug!("subscribed to {topic:?} for later: {trouble}");
                Ok(Bytes::from_static(br#"{"active":false}"#))
            }
        }
    }

    /// Data with who it is from.
    fn sign(&self, data: &RawValue) -> String {
        format!(r#"{{"from":"{}","data":{}}}"#, self.worker, data.get())
    }

    /// Hands on what another process said, or this one.
    fn receive(&self, message: &Message, queue: &EventQueue) {
        let Message { channel, body } = message;
        let Some(topic) = channel.strip_prefix(TOPIC) else { return };
        // Anybody may write there; hosts are promised JSON.
        if !lock(&self.topics).contains(topic) || serde_json::from_str::<Signed<'_>>(body).is_err()
        {
            return;
        }
        queue.push_own(Event::new(EventKind::Message, topic, body.as_bytes()));
    }
}

/// What every message looks like.
#[derive(Debug, serde::Deserialize)]
#[allow(dead_code, reason = "read to see that it is there")]
struct Signed<'a> {
    from: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Shared {
    /// A message came.
    fn receive(&self, message: Message) {
        if let Some(post) = &self.post {
            post.receive(&message, &self.queue);
        }
    }
}

/// The error of commands that need another process.
pub(super) fn missing() -> Error {
    let text = "the config has no `backplane`, which processes talk through: set it to \
                \"sqlite:PATH\" or \"redis://host\"";
    Error::new(ErrorKind::Unsupported, text)
}
