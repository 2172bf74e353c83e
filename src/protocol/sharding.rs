//! Which shard a guild belongs to.

use std::num::NonZeroU32;

/// The shard that carries a guild: `(guild_id >> 22) % total`.
///
/// Events without a guild, direct messages among them, come on shard 0.
/// Source: <https://discord.com/developers/docs/events/gateway#sharding-sharding-formula>.
pub fn shard_for_guild(guild_id: u64, total: NonZeroU32) -> u32 {
    ((guild_id >> 22) % u64::from(total.get())) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario 63: the formula on whole 64-bit ids, beyond what a float or an `i64` carries.
    #[test]
    fn the_formula_holds_for_all_of_u64() {
        let total = NonZeroU32::new(16).expect("not zero");
        assert_eq!(shard_for_guild(0, total), 0);
        assert_eq!(shard_for_guild(197_038_439_483_310_086, total), 2);
        assert_eq!(shard_for_guild(u64::MAX, total), 15);
        assert_eq!(shard_for_guild(u64::MAX, NonZeroU32::MIN), 0);
        // As a float it would be the first id of shard 4.
        assert_eq!(shard_for_guild((((1 << 36) | 3) << 22) | 0x3f_ffff, total), 3);
        // A power of two as the total would not miss the upper bits.
        let total = NonZeroU32::new(1_000).expect("not zero");
        assert_eq!(shard_for_guild(197_038_439_483_310_086, total), 770);
        assert_eq!(shard_for_guild(u64::MAX, total), 103);
    }
}
