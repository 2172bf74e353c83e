//! The watchdog for sessions that are half dead, on any shard.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::value::RawValue;
use shardwright::protocol::{Compression, GatewayUrl, Identify, Intents, Token};
use shardwright::shard::{Input, Machine, Output, Settings, ShardState};

/// A machine that is ready, whose heartbeats are answered at once.
struct Shard {
    machine: Machine,
    now: Instant,
    seq: u64,
    /// How often it warned.
    warnings: usize,
}

impl Shard {
    fn ready(seed: u64, interval_ms: u64) -> Self {
        let settings = Settings {
            identify: Identify {
                token: Token::new("test.token").expect("a token"),
                intents: Intents(513),
                properties: RawValue::from_string("{}".to_owned()).expect("JSON"),
                large_threshold: None,
                shard_id: 0,
                shard_total: 1,
            },
            presence: None,
            gateway: GatewayUrl::parse("ws://gateway.test").expect("a URL"),
            compression: Compression::None,
        };
        let machine = Machine::new(settings, None, seed);
        let mut shard = Self { machine, now: Instant::now(), seq: 1, warnings: 0 };
        shard.handle(Input::Start);
        shard.handle(Input::Connected);
        let hello = format!(r#"{{"heartbeat_interval":{interval_ms}}}"#);
        shard.handle(Input::Control { op: 10, data: hello.as_bytes() });
        shard.machine.dispatch(Some(1), b"READY", br#"{"session_id":"s"}"#, shard.now);
        shard.drain();
        assert_eq!(shard.machine.state(), ShardState::Ready);
        shard
    }

    fn handle(&mut self, input: Input<'_>) {
        self.machine.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            let answer = match output {
                Output::GateEnter { ticket } => Input::GateNear { ticket },
                Output::GateArm { ticket } => Input::GateGranted { ticket },
                Output::Send(payload) if payload.as_str().contains(r#""op":1,"#) => {
                    Input::Control { op: 11, data: b"null" }
                }
                Output::Warning(_) => {
                    self.warnings += 1;
                    continue;
                }
                _ => continue,
            };
            self.machine.handle(answer, self.now);
        }
    }

    /// Lets time pass; whether it stays where it is.
    fn live(&mut self, time: Duration) -> bool {
        let end = self.now + time;
        while let Some(due) = self.machine.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.machine.timeout(self.now);
            self.drain();
            if self.machine.state() != ShardState::Ready {
                return false;
            }
        }
        self.now = end;
        true
    }

    fn event(&mut self) {
        self.seq += 1;
        self.machine.dispatch(Some(self.seq), b"MESSAGE_CREATE", b"{}", self.now);
    }
}

fn interval_ms() -> impl Strategy<Value = u64> {
    prop_oneof![Just(41_250_u64), 1_000..60_000_u64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Scenario 72: a shard that has events now and then, one or thousands at a time, is never warned
    /// of and never resumed, however long it is silent.
    #[test]
    fn a_quiet_shard_is_never_resumed(
        seed in any::<u64>(),
        interval_ms in interval_ms(),
        bursts in vec((180..20_000_u64, 1..2_000_usize), 1..300),
    ) {
        let mut shard = Shard::ready(seed, interval_ms);
        for (gap_s, events) in bursts {
            prop_assert!(shard.live(Duration::from_secs(gap_s)));
            (0..events).for_each(|_| shard.event());
        }
        prop_assert!(shard.live(Duration::from_secs(24 * 3_600)));
        prop_assert_eq!(shard.warnings, 0);
    }

    /// Scenario 72: a shard that talked for hours and then says nothing is resumed, not before ten
    /// minutes have passed, and within a bound that its own rate sets.
    #[test]
    fn a_talking_shard_that_falls_silent_is_resumed(
        seed in any::<u64>(),
        interval_ms in interval_ms(),
        most_ms in 100..20_000_u64,
        hours in 3..8_u64,
    ) {
        let mut shard = Shard::ready(seed, interval_ms);
        let mut rng = fastrand::Rng::with_seed(seed);
        let start = shard.now;
        let mut events = 0;
        while shard.now < start + Duration::from_secs(hours * 3_600) {
            prop_assert!(shard.live(Duration::from_millis(rng.u64(1..=most_ms))));
            shard.event();
            events += 1;
        }
        prop_assert_eq!(shard.warnings, 0);
        let gap = (shard.now - start) / events;
        let silent_since = shard.now;
        // What it does not know yet of the rate, it takes for patience.
        let bound = (gap * 50 * 2 * 3 / 2).max(Duration::from_secs(600)) + Duration::from_secs(180);
        prop_assert!(!shard.live(bound), "silent for {:?}, an event every {:?}", bound, gap);
        prop_assert!(shard.now - silent_since >= Duration::from_secs(600));
        prop_assert_eq!(shard.warnings, 2);
    }
}
