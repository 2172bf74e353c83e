//! What a handle stands for: a client and the threads it runs on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::{log, runtime};
use crate::client::Client;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::shard::StopMode;
use crate::transport::{Network, Tcp};

/// How long `shard_client_free` lets a running client say goodbye.
const FREE_PATIENCE: Duration = Duration::from_secs(2);

/// How long threads that are stuck in the system (a name lookup) are waited for.
const THREAD_PATIENCE: Duration = Duration::from_millis(500);

/// A client with its runtime.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) client: Client,
    /// From start to stop.
    runtime: Mutex<Option<Runtime>>,
}

impl Instance {
    /// A client from its configuration.
    pub(super) fn new(config_json: &str) -> Result<Self, Error> {
        Self::with_network(config_json, Arc::new(Tcp))
    }

    /// The same on any network.
    pub(super) fn with_network(
        config_json: &str,
        network: Arc<dyn Network>,
    ) -> Result<Self, Error> {
        let config = Config::from_json(config_json, |name| std::env::var(name).ok())?;
        Ok(Self { client: Client::new(config, network)?, runtime: Mutex::default() })
    }

    /// Starts threads and the client.
    pub(super) fn start(&self) -> Result<(), Error> {
        let mut runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if runtime.is_some() {
            return Err(Error::new(ErrorKind::State, "the client was started before"));
        }
        let config = self.client.config();
        let made = runtime::build(config.threads, log::subscriber(&self.client))?;
        let started = self.client.start(made.handle());
        match started {
            Ok(()) => *runtime = Some(made),
            Err(_) => made.shutdown_background(),
        }
        started
    }

    /// Stops the client and ends its threads, if that is done in time (`None`: however long it takes).
    pub(super) fn stop(&self, mode: StopMode, timeout: Option<Duration>) -> Result<(), Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.client.stop(mode);
        self.client.wait_stopped(timeout).map_err(|error| match error.kind() {
            ErrorKind::Timeout => {
                Error::new(ErrorKind::Timeout, "the client is still stopping; call again to wait")
            }
            _ => error,
        })?;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        self.end_threads(left.unwrap_or(THREAD_PATIENCE).min(THREAD_PATIENCE));
        Ok(())
    }

    /// The end: stops what runs, as for a restart.
    pub(super) fn free(&self) {
        if self.stop(StopMode::Resumable, Some(FREE_PATIENCE)).is_err() {
            self.client.stop(StopMode::Abort);
            let _ = self.client.wait_stopped(Some(FREE_PATIENCE));
        }
        self.end_threads(THREAD_PATIENCE);
        self.client.save_sessions();
    }

    /// Ends the threads. A runtime is never dropped: that would wait for a stuck one for ever.
    fn end_threads(&self, patience: Duration) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_timeout(patience);
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The last poll of a freed client ends here; whatever is left must not block it.
        let runtime = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}
