//! The guilds of a shard as bytes, for a process that goes on with its session.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::guilds::{Guild, Guilds, Loading, Standing, cut};
use crate::config::MAX_GUILDS_PER_SHARD;

/// The form of [`Stored`]; another number is another version's.
const VERSION: u32 = 1;

/// What stands in the bytes: JSON, whose reader takes any bytes safely.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<Name> {
    version: u32,
    seq: u64,
    loading: Loading,
    /// Id, standing, member count or 0, name.
    guilds: Vec<(u64, u8, u32, Name)>,
}

impl Guilds {
    /// All of it, for [`Guilds::from_bytes`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let guilds = self.all.iter().map(|(id, guild)| {
            let member_count = guild.member_count.map_or(0, NonZeroU32::get);
            (*id, guild.standing as u8, member_count, &*guild.name)
        });
        let stored = Stored {
            version: VERSION,
            seq: self.seq,
            loading: self.counts.loading,
            guilds: guilds.collect(),
        };
        // Numbers and text can always be written.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// What [`Guilds::to_bytes`] gave; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored: Stored<String> = serde_json::from_slice(bytes).ok()?;
        if stored.version != VERSION || stored.guilds.len() > MAX_GUILDS_PER_SHARD {
            return None;
        }
        let mut guilds = Self { seq: stored.seq, ..Self::default() };
        for (id, standing, member_count, name) in stored.guilds {
            let standing = match standing {
                0 => Standing::Available,
                1 => Standing::Unavailable,
                2 => Standing::Awaited,
                _ => return None,
            };
            let member_count = NonZeroU32::new(member_count);
            guilds.all.insert(id, Guild { name: cut(&name), member_count, standing });
        }
        guilds.counts.loading = stored.loading;
        guilds.recount();
        Some(guilds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn some() -> Guilds {
        let mut guilds = Guilds::default();
        for (seq, name, data) in [
            (1, "READY", r#"{"guilds":[{"id":"1"},{"id":"2"},{"id":"18446744073709551615"}]}"#),
            (2, "GUILD_CREATE", r#"{"id":"1","name":"A \"guild\"","member_count":5}"#),
            (9, "GUILD_DELETE", r#"{"id":"2","unavailable":true}"#),
        ] {
            guilds.observe(Some(seq), name.as_bytes(), data.as_bytes());
        }
        guilds
    }

    #[test]
    fn what_was_stored_comes_back() {
        let before = some();
        let after = Guilds::from_bytes(&before.to_bytes()).expect("its own bytes");
        assert_eq!(after.counts(), before.counts());
        assert_eq!(after.seq, 9);
        assert!(after.after(None).eq(before.after(None)));
        assert_eq!(after.to_bytes(), before.to_bytes());
    }

    #[test]
    fn other_versions_and_nonsense_are_refused() {
        let bytes = some().to_bytes();
        for cut in 0..bytes.len() {
            assert!(Guilds::from_bytes(&bytes[..cut]).is_none());
        }
        let text = String::from_utf8(bytes).expect("JSON");
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("[1,0,5", "[1,3,5"),
            ("[1,0,5", "[-1,0,5"),
            ("\"seq\"", "\"sequence\""),
        ] {
            assert!(text.contains(from), "{text}");
            assert!(Guilds::from_bytes(text.replace(from, to).as_bytes()).is_none(), "{to}");
        }
        let guild = "[1,0,5,\"\"],".repeat(MAX_GUILDS_PER_SHARD + 1);
        let guilds = guild.trim_end_matches(',');
        let many = format!(r#"{{"version":1,"seq":1,"loading":"waits","guilds":[{guilds}]}}"#);
        assert!(Guilds::from_bytes(many.as_bytes()).is_none());
    }

    proptest! {
        /// Whatever a store gives back, it is an index or it is not; counts are those of its guilds.
        #[test]
        fn any_bytes_are_safe(at in 0..200_usize, bytes in vec(any::<u8>(), 0..4)) {
            let mut stored = some().to_bytes();
            let at = at.min(stored.len());
            stored.splice(at..(at + bytes.len()).min(stored.len()), bytes);
            if let Some(guilds) = Guilds::from_bytes(&stored) {
                prop_assert_eq!(guilds.counts().guilds, guilds.after(None).count());
            }
        }
    }
}
