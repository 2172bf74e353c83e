//! What the tests run on.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use shardwright_sim::Simulator;

use crate::host::Host;
use crate::redis_server::RedisServer;
use crate::temp_file::TempDir;

/// Makes of each named function a test on every backplane there is.
macro_rules! on_every_backplane {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::backend::Backend::sqlite()).await;
            })*
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::backend::Backend::redis()).await;
            })*
        }
    };
}
pub(crate) use on_every_backplane;

/// A backplane that is gone with the test.
pub(crate) enum Backend {
    Sqlite(TempDir),
    Redis(RedisServer),
}

impl Backend {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(directory())
    }

    pub(crate) fn redis() -> Self {
        Self::Redis(RedisServer::start(&[]))
    }

    /// What the config says.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(directory) => format!("sqlite:{}/backplane", directory.path().display()),
            Self::Redis(server) => server.url(),
        }
    }

    /// Nobody can write any more what it keeps of sessions, until what this returns is called.
    pub(crate) fn hold_up_sessions(&self) -> Box<dyn FnOnce() + '_> {
        match self {
            Self::Sqlite(directory) => {
                let file = directory.path().join("backplane-sessions");
                let other = rusqlite::Connection::open(file).expect("it is there");
                other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
                Box::new(move || drop(other))
            }
            Self::Redis(server) => {
                server.freeze();
                Box::new(|| server.thaw())
            }
        }
    }

    /// A client on it, with more keys of the config.
    pub(crate) fn start(&self, simulator: &Simulator, mut keys: Value) -> Host {
        keys["backplane"] = json!(self.url());
        Host::start(simulator, keys)
    }
}

/// A directory of this test's own.
pub(crate) fn directory() -> TempDir {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    TempDir::new(&format!("backplane-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
}
