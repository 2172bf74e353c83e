//! Discord's 64-bit ids: how they read in JSON, and how the world makes them.
//!
//! <https://docs.discord.com/developers/reference#snowflakes>
//!
//! The world stores no guilds, channels, members or users: it can compute each of them from its
//! number. So an id has to lead back to that number. The time part of a world id is
//! `first millisecond + round × STRIDE + number`, the low bits say what it names and which of its
//! kind inside the guild it is. `STRIDE` is divisible by 1 to 16 and by every power of two up to
//! 1024, hence guild number `n` sits on shard `n % total` for each such total, and guilds spread
//! evenly over the shards people test with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The first millisecond of 2015, where Discord's ids begin to count.
pub const DISCORD_EPOCH_MS: u64 = 1_420_070_400_000;

/// Milliseconds between two ids of the same world number; also the most numbers there can be.
pub(crate) const STRIDE: u64 = 1024 * 9 * 5 * 7 * 11 * 13;

/// World ids are at least this old: the first multiple of `STRIDE` after July 2015.
const FIRST_ROUND: u64 = 350;

/// How many rounds the hash may choose from: up to the end of 2024.
const ROUNDS: u64 = 6_450;

/// An id as Discord gives it: 64 bits, written as a string in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Snowflake(pub u64);

impl Snowflake {
    /// The shard that gets this guild's events, by
    /// [Discord's formula](https://docs.discord.com/developers/events/gateway#sharding).
    pub fn shard(self, total: u32) -> u32 {
        ((self.0 >> 22) % u64::from(total.max(1))) as u32
    }

    /// The creation time inside the id, in milliseconds of Unix time.
    pub fn unix_ms(self) -> u64 {
        (self.0 >> 22) + DISCORD_EPOCH_MS
    }
}

impl fmt::Display for Snowflake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u64> for Snowflake {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl From<Snowflake> for u64 {
    fn from(id: Snowflake) -> Self {
        id.0
    }
}

impl FromStr for Snowflake {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Serialize for Snowflake {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Snowflake {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Snowflake;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a snowflake: a string of digits or an unsigned integer")
            }

            fn visit_u64<E: serde::de::Error>(self, id: u64) -> Result<Snowflake, E> {
                Ok(Snowflake(id))
            }

            fn visit_i64<E: serde::de::Error>(self, id: i64) -> Result<Snowflake, E> {
                u64::try_from(id)
                    .map(Snowflake)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(id), &self))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Snowflake, E> {
                text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// What a world id names. The number stands in the id's worker bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Guild = 1,
    User = 2,
    Channel = 3,
    Role = 4,
    Emoji = 5,
    Sound = 6,
}

/// Worker bits of ids that are made while the simulator runs (messages, direct channels, ...).
const RUNTIME_WORKER: u64 = 30;

/// The id of world thing `index` of `kind` under number `number` (a guild's or a user's).
pub(crate) fn world_id(seed: u64, kind: Kind, number: u32, index: u16) -> Snowflake {
    let round = FIRST_ROUND + mix(seed, kind as u64, u64::from(number), u64::from(index)) % ROUNDS;
    let ms = round * STRIDE + u64::from(number);
    Snowflake(ms << 22 | (kind as u64) << 17 | (seed & 0x1F) << 12 | u64::from(index & 0xFFF))
}

/// The number and index a world id of `kind` stands for, if it is one of this seed's.
pub(crate) fn decode(seed: u64, kind: Kind, id: Snowflake) -> Option<(u32, u16)> {
    let number = u32::try_from((id.0 >> 22) % STRIDE).ok()?;
    let index = (id.0 & 0xFFF) as u16;
    (world_id(seed, kind, number, index) == id).then_some((number, index))
}

/// A well-spread 64-bit number that depends on nothing but its arguments (splitmix64's finalizer
/// over a running sum).
pub(crate) fn mix(seed: u64, a: u64, b: u64, c: u64) -> u64 {
    let mut state = seed;
    for word in [a, b, c] {
        state = state.wrapping_add(word).wrapping_add(0x9E37_79B9_7F4A_7C15);
        state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        state ^= state >> 31;
    }
    state
}

/// Makes the ids of things that come into being while the simulator runs: unique and rising.
#[derive(Debug, Default)]
pub(crate) struct Generator {
    last: u64,
}

impl Generator {
    /// A new id for a thing made at `unix_ms`.
    pub(crate) fn next(&mut self, unix_ms: u64) -> Snowflake {
        // The twelve bits of the increment run over into the time, which keeps ids unique when
        // more than 4096 things are made in one millisecond.
        let base = unix_ms.saturating_sub(DISCORD_EPOCH_MS) << 12;
        self.last = base.max(self.last + 1);
        Snowflake((self.last >> 12) << 22 | RUNTIME_WORKER << 17 | (self.last & 0xFFF))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn world_ids_lead_back_to_their_number() {
        for number in [0, 1, 77, 149_999] {
            let id = world_id(7, Kind::Channel, number, 13);
            assert_eq!(decode(7, Kind::Channel, id), Some((number, 13)));
            assert_eq!(decode(7, Kind::Role, id), None);
            assert_eq!(decode(8, Kind::Channel, id), None);
        }
    }

    #[test]
    fn guilds_spread_evenly_over_common_shard_counts() {
        for total in [1, 2, 3, 4, 6, 7, 10, 12, 16, 32, 64, 256, 1024] {
            for number in 0..2048 {
                let id = world_id(99, Kind::Guild, number, 0);
                assert_eq!(id.shard(total), number % total, "guild {number} of {total} shards");
            }
        }
    }

    #[test]
    fn ids_look_like_years_of_discord() {
        let ids: Vec<u64> = (0..500).map(|n| world_id(1, Kind::Guild, n, 0).unix_ms()).collect();
        // 2015-07-01 and 2025-01-01.
        assert!(ids.iter().all(|&ms| ms > 1_435_708_800_000 && ms < 1_735_689_600_000));
        assert!(ids.windows(2).any(|pair| pair[0] > pair[1]), "not sorted by number");
    }

    #[test]
    fn generated_ids_are_unique_and_rise() {
        let mut generator = Generator::default();
        let mut last = Snowflake(0);
        for i in 0..20_000_u64 {
            let id = generator.next(1_767_225_600_000 + i / 10_000);
            assert!(id > last);
            last = id;
        }
    }

    #[test]
    fn json_takes_text_and_numbers() {
        assert_eq!(serde_json::from_str::<Snowflake>("\"42\"").unwrap(), Snowflake(42));
        assert_eq!(serde_json::from_str::<Snowflake>("42").unwrap(), Snowflake(42));
        assert_eq!(serde_json::to_string(&Snowflake(42)).unwrap(), "\"42\"");
        for bad in ["\"4x\"", "-1", "true", "null", "\"\"", "1.5"] {
            let error = serde_json::from_str::<Snowflake>(bad).unwrap_err().to_string();
            assert!(error.contains("snowflake"), "{bad}: {error}");
        }
    }
}
