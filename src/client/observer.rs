//! Looks at all workers of a bot from outside, without being one, and does what an operator may: for
//! `shardwright top`, `shardwright dashboard` and the like.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;

use super::StandbyWord;
use super::command::Command;
use super::forward::Forward;
pub use super::post::Heard;
use super::post::{self, Post};
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::store::{self, Store};

/// A look at the backplane of a bot, and at its store. Cheap to clone.
#[derive(Clone)]
pub struct Observer(Arc<Places>);

struct Places {
    post: Arc<Post>,
    store: Option<Store>,
}

impl Observer {
    /// Of the backplane and the store that the config names.
    ///
    /// # Errors
    /// `Unsupported` when it names no backplane, `InvalidConfig` when one of them could never be used.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let post = Post::new(config)?.ok_or_else(post::missing)?;
        Ok(Self(Arc::new(Places { post: Arc::new(post), store: Store::new(config)? })))
    }

    /// Stays connected for as long as it is polled; without that, everything else fails. `heard` gets what is
    /// said about topics that it [listens to](Self::listen), and what is announced of the cache; it must not
    /// block.
    pub async fn stay_connected(&self, heard: impl Fn(Heard) + Send + Sync + 'static) {
        let store = async {
            if let Some(store) = &self.0.store {
                store.mind().await;
            }
        };
        tokio::join!(Arc::clone(&self.0.post).attend(heard), store);
    }

    /// Listens to what is said about topics from now on.
    ///
    /// # Errors
    /// `Io` when the backplane is away; then from its next connection on.
    pub async fn listen(&self, topics: &[String]) -> Result<(), Error> {
        Ok(self.0.post.overhear(topics).await?)
    }

    /// What the command `cluster_stats` replies, as each worker said it at most three seconds ago.
    ///
    /// # Errors
    /// `Io` when the backplane is away.
    pub async fn cluster_stats(&self) -> Result<Bytes, Error> {
        Ok(self.command(r#"{"type": "cluster_stats"}"#).await?.1)
    }

    /// Carries out a command of docs/commands.md, as far as it does not take a client: those for shards go to
    /// the processes that run them, those for backplane and store are done from here. The status and the data of
    /// its reply.
    ///
    /// # Errors
    /// Says what is wrong with it, or why it was not done.
    pub async fn command(&self, text: &str) -> Result<(i32, Bytes), Error> {
        match Command::from_json(text)? {
            Command::Backplane(request) => self.0.post.operate(*request).await,
            Command::Store(request) => {
                let store = self.0.store.as_ref().ok_or_else(store::missing)?;
                let (status, data) = store.run(&request).await?;
                Ok((status, data.into()))
            }
            command => {
                let forward = Forward::plan(&command, text, self.shard_total().await?);
                let forward = forward.ok_or_else(|| {
                    let text =
                        "this command is for a process of the bot, or for a shard that it has not";
                    Error::new(ErrorKind::Unsupported, text)
                })?;
                self.0.post.forward(&forward).await
            }
        }
    }

    /// Whether there is a store.
    pub fn has_store(&self) -> bool {
        self.0.store.is_some()
    }

    /// Why the backplane, or else the store, cannot be used at the moment.
    pub fn trouble(&self) -> (Option<String>, Option<String>) {
        (self.0.post.trouble(), self.0.store.as_ref().and_then(Store::trouble))
    }

    /// The number of shards of the bot, as the newest worker knows it.
    async fn shard_total(&self) -> Result<NonZeroU32, Error> {
        let workers = self.0.post.workers().await?;
        let known = workers.iter().filter(|it| it.shard_total.is_some() && !it.is_standby());
        let newest = known.max_by_key(|worker| worker.started_at_ms);
        let total = newest.and_then(|worker| worker.shard_total).and_then(NonZeroU32::new);
        total.ok_or_else(|| {
            Error::new(ErrorKind::State, "no process that the backplane knows of has shards yet")
        })
    }
}

impl Observer {
    /// Tells all workers something while the bot gets another number of shards. Who does not listen at this moment
    /// will not hear it.
    ///
    /// # Errors
    /// `Io` when the backplane is away.
    pub async fn tell_workers(&self, word: &StandbyWord) -> Result<(), Error> {
        Ok(self.0.post.tell_workers(word).await?)
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.0.post).finish()
    }
}
