//! What a seed means.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use shardwright_sim::{Options, RefusedResume, SessionStarts};

use crate::network::{GATEWAY_HOST, REST_HOST, RESUME_HOST};
use crate::trouble::{Chooser, Trouble};

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
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds are to have nothing in common.
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD15C);
        let rng = &mut rng;
        let shards = [1, 2, 3, 4, 6, 8, 12, 16][rng.usize(..8)];
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
        Self {
            seed,
            shards,
            lasts,
            troubles,
            config: config(rng, compression),
            options: options(rng, seed, shards),
            poll_every: Duration::from_millis([100, 500, 2_000][rng.usize(..3)]),
            delay_max: Duration::from_millis([0, 80, 2_000][rng.usize(..3)]),
            command_every_s: [2.0, 30.0, 300.0][rng.usize(..3)],
        }
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
        )
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
