//! Looks at all workers of a bot from outside, without being one: for `shardwright top` and the like.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{post, worker};
use crate::backplane::{self, Backplane};
use crate::config::Config;
use crate::error::Error;

/// A look at the backplane of a bot.
#[derive(Clone)]
pub struct Observer(Arc<dyn Backplane>);

impl Observer {
    /// Of the backplane that the config names.
    ///
    /// # Errors
    /// `Unsupported` when it names none, `InvalidConfig` when it could never be used.
    pub fn new(config: &Config) -> Result<Self, Error> {
        backplane::open(config)?.map(Self).ok_or_else(post::missing)
    }

    /// Stays connected for as long as it is polled; without that, everything else fails.
    pub async fn stay_connected(&self) {
        self.0.run(Arc::new(|_| ())).await;
    }

    /// What the command `cluster_stats` replies, as each worker said it at most three seconds ago.
    ///
    /// # Errors
    /// `Io` when the backplane is away.
    pub async fn cluster_stats(&self) -> Result<Bytes, Error> {
        Ok(worker::cluster_stats(&*self.0).await?)
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.0).finish()
    }
}
