//! Pipes to the simulator, and the weather on the way there.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shardwright::transport::{Connecting, Network};
use shardwright_sim::Simulator;
use tokio::time::{Instant, sleep};

/// The name of the REST host.
pub(crate) const REST_HOST: &str = "rest.test";

/// The name of the gateway's host.
pub(crate) const GATEWAY_HOST: &str = "gateway.test";

/// The name of the host that READY says to resume at.
pub(crate) const RESUME_HOST: &str = "resume.test";

/// How new connections to one host fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outage {
    /// Refused.
    Refused,
    /// Its name has no address.
    Nameless,
    /// Never answered.
    Deaf,
}

/// A network that can fail. Clones are the same network.
#[derive(Debug, Clone)]
pub(crate) struct Weather(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    simulator: Simulator,
    rng: fastrand::Rng,
    /// Connecting takes up to so long, so that those who set out together arrive in another order.
    delay_max: Duration,
    /// The hosts out of reach.
    outages: Vec<(&'static str, Outage)>,
    attempts: Attempts,
}

/// Attempts to reach the gateway that failed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attempts {
    /// How many there were.
    pub(crate) failed: u64,
    /// How many of them were made together with at least [`CROWD`] − 1 others.
    pub(crate) crowded: u64,
    /// When the last one was made, and how many together with it.
    last: Option<(Instant, u64)>,
}

/// Attempts in one millisecond that are a crowd. The identify gate of one bucket lets two set out.
const CROWD: u64 = 4;

impl Attempts {
    /// Notes an attempt in vain.
    fn failed(&mut self) {
        let now = Instant::now();
        self.failed += 1;
        let (at, together) = match self.last {
            Some((at, count)) if now < at + Duration::from_millis(1) => (at, count + 1),
            _ => (now, 1),
        };
        self.last = Some((at, together));
        self.crowded += match together {
            ..CROWD => 0,
            CROWD => CROWD,
            _ => 1,
        };
    }
}

impl Weather {
    /// Good weather.
    pub(crate) fn new(simulator: Simulator, seed: u64, delay_max: Duration) -> Self {
        Self(Arc::new(Mutex::new(State {
            simulator,
            rng: fastrand::Rng::with_seed(seed),
            delay_max,
            outages: Vec::new(),
            attempts: Attempts::default(),
        })))
    }

    /// A host is out of reach from now on, or is reached again.
    pub(crate) fn set(&self, host: &'static str, outage: Option<Outage>) {
        let mut state = self.lock();
        state.outages.retain(|(name, _)| *name != host);
        state.outages.extend(outage.map(|outage| (host, outage)));
    }

    /// All hosts are reached again.
    pub(crate) fn clear(&self) {
        self.lock().outages.clear();
    }

    /// The attempts to reach the gateway that failed.
    pub(crate) fn attempts(&self) -> Attempts {
        self.lock().attempts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network for Weather {
    fn connect<'a>(&'a self, host: &'a str, _port: u16) -> Connecting<'a> {
        Box::pin(async move {
            let (delay, outage) = {
                let mut state = self.lock();
                let outage = state.outages.iter().find(|(name, _)| *name == host);
                let outage = outage.map(|(_, outage)| *outage);
                if outage.is_some() && host != REST_HOST {
                    state.attempts.failed();
                }
                let most_ms = state.delay_max.as_millis() as u64;
                (Duration::from_millis(state.rng.u64(..=most_ms)), outage)
            };
            sleep(delay).await;
            match outage {
                Some(Outage::Refused) => Err(io::ErrorKind::ConnectionRefused.into()),
                Some(Outage::Nameless) => {
                    Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
                }
                Some(Outage::Deaf) => std::future::pending().await,
                None => {
                    let stream = self.lock().simulator.connect();
                    Ok(Box::new(stream) as _)
                }
            }
        })
    }
}
