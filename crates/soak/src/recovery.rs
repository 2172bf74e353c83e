//! What follows the troubles: everything comes back.

use std::time::Duration;

use shardwright_sim::{Acks, Action, Ready, Target};
use tokio::time::{Instant, sleep_until};

use crate::life::Life;

/// Patience with the recovery once all troubles are over: a connection that nothing was read from, a
/// backoff, a wait for READY, and commands behind their limit.
const RECOVERY: Duration = Duration::from_secs(45 * 60);

impl Life<'_> {
    /// All is well again, and in some time everybody is.
    pub(crate) async fn recover(&mut self) {
        self.stalled_until = Instant::now();
        self.restart().await;
        self.weather.clear();
        self.simulator.clear_faults();
        self.act(&Action::Ready { shard: None, ready: Ready::AtOnce });
        for action in [
            Action::Slow { target: Target::All, bytes_per_second: None },
            Action::Acks { target: Target::All, acks: Acks::Normal },
            Action::Stall { target: Target::All, stall: false },
        ] {
            self.act(&action);
        }
        let reset = Duration::from_millis(self.world.options.session_starts.reset_after_ms);
        let deadline = (self.began + reset).max(Instant::now()) + RECOVERY;
        // Traffic goes on until all are back, so that half-open links are found by their silence only.
        self.until_well(deadline).await;
        if let Some(shards) = self.world.reshards {
            self.last_reshard(shards, deadline).await;
        }
        if !self.host.problems.is_empty() {
            return;
        }
        let quiet = self.simulator.set_traffic(0.0);
        debug_assert!(quiet.is_ok());
        // A half-open link may look ready until a heartbeat is missed, so nobody is back for certain
        // before two of them; then there has been time for everything to arrive, too.
        for _ in 0..2 {
            let interval = Duration::from_millis(self.world.options.heartbeat_interval_ms);
            let until = Instant::now() + 3 * interval;
            while Instant::now() < until || !self.host.is_ready() {
                self.host.poll();
                // What a machine that stood still until now finds when it looks.
                self.mend();
                if Instant::now() > deadline + RECOVERY || !self.host.problems.is_empty() {
                    self.host.problem("a shard was lost again without a trouble");
                    return;
                }
                sleep_until(Instant::now() + self.world.poll_every).await;
            }
        }
        let told = self.host.client.status_json() + &self.host.client.metrics_text();
        self.host.look_for_token(told.as_bytes());
    }

    /// Waits until every shard is ready and every command answered.
    async fn until_well(&mut self, deadline: Instant) {
        while !self.host.is_ready() || !self.host.open.is_empty() {
            self.host.poll();
            self.mend();
            if !self.host.problems.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                let status = self.host.client.status_json();
                let open = self.host.open.len();
                self.host.problem(&format!(
                    "not all is well long after the troubles: {open} commands are open; {status}"
                ));
                return;
            }
            sleep_until(Instant::now() + self.world.poll_every).await;
        }
    }

    /// A person mends what is wrong.
    fn mend(&mut self) {
        while let Some((shard, _)) = self.host.fatal.pop_first() {
            if shard < self.host.shard_total().unwrap_or(self.world.shards) {
                self.host.restart_shard(shard, false);
            }
        }
    }

    /// Whatever became of reshards amid the troubles, without any they succeed, if the day's session
    /// starts suffice.
    async fn last_reshard(&mut self, shards: u32, deadline: Instant) {
        let failed = self.host.failed.len();
        self.host.reshard(shards);
        self.until_well(deadline).await;
        if let Some(last) = self.host.failed.get(failed)
            && !last.contains("session starts")
        {
            let problem = format!("without any trouble, {last}");
            self.host.problem(&problem);
        }
    }
}
