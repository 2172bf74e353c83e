//! What a seed means.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::config::Delivery;
use shardwright::shard::StopMode;
use shardwright_sim::{Action, Options, RefusedResume, SessionStarts};

use crate::network::{GATEWAY_HOST, REST_HOST, RESUME_HOST};
use crate::trouble::{Chooser, Trouble, What};

/// How many shards bots have.
const SHARDS: [u32; 8] = [1, 2, 3, 4, 6, 8, 12, 16];

/// A fleet, the Discord it talks to, and what they go through. Everything comes from the seed.
#[derive(Debug, Clone)]
pub struct World {
    /// The seed.
    pub seed: u64,
    /// Shards of the bot, all in one client.
    pub shards: u32,
    /// How long the troubles last; the recovery comes on top.
    pub lasts: Duration,
    /// What goes wrong, in the order of its time.
    pub troubles: Vec<Trouble>,
    /// The client's configuration, but for token and address.
    pub(crate) config: Value,
    /// What the simulator is.
    pub(crate) options: Options,
    /// How often the host looks at its events.
    pub(crate) poll_every: Duration,
    /// Connecting takes up to so long.
    pub(crate) delay_max: Duration,
    /// Seconds between two commands of the host, on average.
    pub(crate) command_every_s: f64,
    /// How events are delivered over restarts, if sessions are kept.
    pub(crate) keeps: Option<Delivery>,
    /// How many shards there are in the end, if the bot is resharded.
    pub(crate) reshards: Option<u32>,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds are to have nothing in common.
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD15C);
        let rng = &mut rng;
        let shards = SHARDS[rng.usize(..SHARDS.len())];
        let lasts = Duration::from_secs(rng.u64(20..=120) * 60);
        let compression = ["zstd", "zlib", "none"][rng.usize(..3)];
        let mut chooser = Chooser { rng, shards, compressed: compression != "none" };
        let mut troubles = Vec::new();
        // Calm worlds and wild ones: a trouble every 20 s to 10 min.
        let pause_s = 20.0 * 30.0_f64.powf(chooser.rng.f64());
        let mut at_s = 30.0 * chooser.rng.f64();
        while at_s < lasts.as_secs_f64() {
            troubles.push(chooser.choose(Duration::from_secs_f64(at_s)));
            at_s += 2.0 * pause_s * chooser.rng.f64();
        }
        let world = Self {
            seed,
            shards,
            lasts,
            troubles,
            config: config(rng, compression),
            options: options(rng, seed, shards),
            poll_every: Duration::from_millis([100, 500, 2_000][rng.usize(..3)]),
            delay_max: Duration::from_millis([0, 80, 2_000][rng.usize(..3)]),
            command_every_s: [2.0, 30.0, 300.0][rng.usize(..3)],
            keeps: None,
            reshards: None,
        };
        world.with_changes()
    }

    /// With kept sessions, with reshards, with both or neither. From a stream of chance of its own, so
    /// that a seed without them is the world that it was before there were any.
    fn with_changes(mut self) -> Self {
        let seed = self.seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ 0x5E55;
        let mut rng = fastrand::Rng::with_seed(seed);
        // What a queue drops cannot be told from what a restart or a reshard loses.
        if self.drops_oldest() {
            return self;
        }
        let lasts_s = self.lasts.as_secs_f64();
        if rng.u8(..3) == 0 {
            let at_least_once = rng.bool();
            self.keeps =
                Some(if at_least_once { Delivery::AtLeastOnce } else { Delivery::AtMostOnce });
            let delivery = if at_least_once { "at_least_once" } else { "at_most_once" };
            self.config["delivery"] = json!(delivery);
            for _ in 0..rng.usize(2..12) {
                let at = Duration::from_secs_f64(lasts_s * rng.f64());
                let what = match rng.u8(..8) {
                    0 => What::HostRestarts(StopMode::Close),
                    1..4 => What::HostRestarts(StopMode::Resumable),
                    _ => What::HostDies,
                };
                let lasts = Some(Duration::from_secs_f64(60.0 * rng.f64() * rng.f64()));
                self.troubles.push(Trouble { at, lasts, what });
            }
        }
        if rng.u8(..3) == 0 {
            for _ in 0..rng.usize(1..8) {
                let at = Duration::from_secs_f64(lasts_s * rng.f64());
                let what = What::Reshard(SHARDS[rng.usize(..SHARDS.len())]);
                self.troubles.push(Trouble { at, lasts: None, what });
            }
            self.reshards = Some(SHARDS[rng.usize(..SHARDS.len())]);
        }
        self.troubles.sort_by_key(|trouble| trouble.at);
        self
    }

    /// How many hours of one shard's life it is.
    pub fn shard_hours(&self) -> f64 {
        f64::from(self.shards) * self.lasts.as_secs_f64() / 3_600.0
    }

    /// Whether events are dropped when the host is slow.
    pub(crate) fn drops_oldest(&self) -> bool {
        self.config["queue"]["when_full"] == "drop_oldest"
    }

    /// Whether sockets may be left unread because the host is slow.
    pub(crate) fn may_block(&self) -> bool {
        let queue = &self.config["queue"];
        !self.drops_oldest() && (queue["max_events"] != 65_536 || queue["max_bytes"] != 67_108_864)
    }

    /// Whether sessions are half dead, or were until just now.
    pub(crate) fn stalls(&self, now: Duration) -> bool {
        /// What they bring late has come by then.
        const AFTER: Duration = Duration::from_secs(60);
        self.troubles.iter().any(|Trouble { at, lasts, what }| {
            let until = *at + lasts.unwrap_or_default() + AFTER;
            matches!(what, What::Spell(Action::Stall { .. }, _)) && (*at..until).contains(&now)
        })
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} shards for {} min, max_concurrency {}, {}, queue {}, {:.2} events/s, {} \
             troubles",
            self.seed,
            self.shards,
            self.lasts.as_secs() / 60,
            self.options.max_concurrency,
            self.config["compression"],
            self.config["queue"],
            self.options.events_per_second,
            self.troubles.len()
        )?;
        if let Some(delivery) = self.keeps {
            write!(f, ", sessions kept ({delivery:?})")?;
        }
        if let Some(shards) = self.reshards {
            write!(f, ", resharded, {shards} in the end")?;
        }
        Ok(())
    }
}

/// The client's configuration.
fn config(rng: &mut fastrand::Rng, compression: &str) -> Value {
    let max_events = [100, 2_000, 65_536][rng.usize(..3)];
    let max_bytes = [100_000, 4_000_000, 67_108_864][rng.usize(..3)];
    let when_full = if rng.u8(..4) == 0 { "drop_oldest" } else { "block" };
    let level = ["warn", "info", "trace"][rng.usize(..3)];
    let mut config = json!({
        "token": Options::default().token,
        "api_url": format!("http://{REST_HOST}/api/v10"),
        "intents": ["GUILDS", "GUILD_MEMBERS", "GUILD_MESSAGES", "GUILD_MESSAGE_REACTIONS",
            "GUILD_MESSAGE_TYPING", "GUILD_PRESENCES", "GUILD_VOICE_STATES", "MESSAGE_CONTENT",
            "DIRECT_MESSAGES"],
        "compression": compression,
        "log": {"to": "events", "level": level},
        "queue": {"max_events": max_events, "max_bytes": max_bytes, "when_full": when_full},
    });
    if rng.bool() {
        config["presence"] = json!({"status": "idle", "activities": [{"name": "x", "type": 0}]});
    }
    config
}

/// The simulator.
fn options(rng: &mut fastrand::Rng, seed: u64, shards: u32) -> Options {
    let reset_after_ms = rng.u64(60_000..7_200_000);
    let plenty = rng.u8(..4) != 0;
    Options {
        seed,
        guilds: shards * rng.u32(1..4),
        members_per_guild: rng.u32(3..12),
        channels_per_guild: 4,
        roles_per_guild: 2,
        events_per_second: f64::from(shards) * [0.01, 0.05, 0.4][rng.usize(..3)],
        recommended_shards: shards,
        max_concurrency: [1, 1, 2, 16][rng.usize(..4)],
        timing_slack_ms: 0,
        session_starts: SessionStarts {
            total: 1_000,
            // Some worlds run out of session starts and have to wait for the reset.
            remaining: Some(if plenty { 1_000 } else { 50 + rng.u32(shards..=4 * shards) }),
            reset_after_ms,
            ..SessionStarts::default()
        },
        heartbeat_interval_ms: [41_250, 41_250, 20_000, 45_000][rng.usize(..4)],
        heartbeat_late_ms: 1_000,
        replay_events: [100, 10_000][rng.usize(..2)],
        trim_replay_on_heartbeat: rng.bool(),
        refused_resume: [RefusedResume::InvalidSession, RefusedResume::Close4009][rng.usize(..2)],
        ready_padding_bytes: [0, 0, 0, 300_000][rng.usize(..4)],
        zstd_window_log: [17, 21][rng.usize(..2)],
        public_host: Some(GATEWAY_HOST.to_owned()),
        resume_url: rng.bool().then(|| format!("ws://{RESUME_HOST}")),
        ledger_entries: 3_000_000,
        started_at_unix_ms: Some(1_790_000_000_000),
        ..Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_world() {
        assert_eq!(format!("{:?}", World::new(7)), format!("{:?}", World::new(7)));
        assert_ne!(format!("{:?}", World::new(7)), format!("{:?}", World::new(8)));
    }

    #[test]
    fn every_world_is_a_valid_simulator() {
        for seed in 0..200 {
            World::new(seed).options.check().expect("valid options");
        }
    }
}
