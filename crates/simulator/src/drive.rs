//! What goes on over time: the world's traffic, a script's steps, and waiting for the ledger.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep_until;

use crate::control::Script;
use crate::ledger::Seen;
use crate::state::{Shared, State};

/// Most events that happen without a pause when traffic is behind its time.
const MAX_BURST: u32 = 1_000;

/// Says that the traffic is driven, until it is dropped.
struct Driving(Arc<Shared>);

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.has_traffic.store(false, Ordering::Release);
    }
}

/// Lets events happen at the rate of the options, unless someone already does.
pub(crate) async fn traffic(shared: Arc<Shared>) {
    if shared.has_traffic.swap(true, Ordering::AcqRel) {
        return;
    }
    let _driving = Driving(shared.clone());
    let rate = || shared.with(|state| state.options.events_per_second);
    loop {
        let per_second = rate();
        // Times are counted from an anchor, so that no rounding adds up.
        let anchor = shared.clock.now();
        let mut happened = 0_u64;
        while rate().to_bits() == per_second.to_bits() {
            let changed = shared.traffic.notified();
            if per_second <= 0.0 {
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    () = changed => continue,
                }
            }
            let due = anchor + Duration::from_secs_f64((happened + 1) as f64 / per_second);
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => return,
                () = changed => continue,
                () = sleep_until(shared.clock.instant(due)) => {}
            }
            let elapsed = shared.clock.now().saturating_sub(anchor).as_secs_f64();
            for _ in 0..MAX_BURST {
                shared.with(State::next_happening);
                happened += 1;
                if (happened + 1) as f64 / per_second > elapsed {
                    break;
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Carries out a script.
pub(crate) async fn play(shared: Arc<Shared>, script: Script) {
    let start = shared.clock.now();
    for step in script.steps() {
        let at = shared.clock.instant(start + Duration::from_millis(step.at_ms));
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = sleep_until(at) => {}
        }
        // What came of it stands in the ledger.
        let _ = shared.with(|state| state.act(&step.action));
        shared.traffic.notify_one();
    }
}

/// Waits for something to be found in the ledger.
pub(crate) async fn wait_for<R>(shared: &Shared, mut find: impl FnMut(&Seen) -> Option<R>) -> R {
    loop {
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if let Some(found) = shared.with(|state| find(&state.seen)) {
            return found;
        }
        changed.await;
    }
}
