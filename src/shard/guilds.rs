//! The guilds of a shard, from the events that tell of them.

use std::collections::HashMap;

use serde::Deserialize;

use crate::protocol::{guild_id_of, json};

/// Guild ids, and whether each is available.
#[derive(Debug, Default)]
pub(super) struct Guilds(HashMap<u64, bool>);

impl Guilds {
    /// Takes note of a dispatch; all but three names are none of its business.
    ///
    /// An unavailable guild is in an outage and still counts; only a GUILD_DELETE without the flag
    /// means that the bot is out: <https://discord.com/developers/docs/events/gateway-events#guild-delete>.
    pub(super) fn observe(&mut self, name: &[u8], data: &[u8]) {
        match name {
            b"READY" => self.0 = guilds_of_ready(data),
            b"GUILD_CREATE" => {
                self.0.insert(guild_id_of(name, data), !is_unavailable(data));
            }
            b"GUILD_DELETE" if is_unavailable(data) => {
                self.0.insert(guild_id_of(name, data), false);
            }
            b"GUILD_DELETE" => {
                self.0.remove(&guild_id_of(name, data));
            }
            _ => {}
        }
    }

    /// Guilds the bot is in.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Those of them that are in an outage or have not been sent yet.
    pub(super) fn unavailable(&self) -> usize {
        self.0.values().filter(|available| !**available).count()
    }
}

/// Whether `d` says `"unavailable":true`.
fn is_unavailable(data: &[u8]) -> bool {
    json::first_member(data, "unavailable").is_some_and(|value| &data[value] == b"true")
}

/// The guilds that READY lists; all of them are still to be sent.
fn guilds_of_ready(data: &[u8]) -> HashMap<u64, bool> {
    #[derive(Deserialize)]
    struct Ready<'a> {
        #[serde(borrow, default)]
        guilds: Vec<Guild<'a>>,
    }
    #[derive(Deserialize)]
    struct Guild<'a> {
        #[serde(borrow)]
        id: &'a serde_json::value::RawValue,
    }
    let guilds = serde_json::from_slice::<Ready<'_>>(data).map(|ready| ready.guilds);
    let ids =
        guilds.iter().flatten().filter_map(|guild| json::snowflake(guild.id.get().as_bytes()));
    ids.map(|id| (id, false)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario 65, and the counts around it.
    #[test]
    fn an_outage_keeps_a_guild_and_a_removal_does_not() {
        let mut guilds = Guilds::default();
        let counts = |guilds: &Guilds| (guilds.count(), guilds.unavailable());
        guilds
            .observe(b"READY", br#"{"v":10,"guilds":[{"id":"1","unavailable":true},{"id":"2"}]}"#);
        assert_eq!(counts(&guilds), (2, 2));
        guilds.observe(b"GUILD_CREATE", br#"{"name":"x","id":"1"}"#);
        guilds.observe(b"GUILD_CREATE", br#"{"id":"2","unavailable":false}"#);
        guilds.observe(b"MESSAGE_CREATE", br#"{"id":"9","guild_id":"9"}"#);
        assert_eq!(counts(&guilds), (2, 0));
        guilds.observe(b"GUILD_DELETE", br#"{"id":"1","unavailable":true}"#);
        assert_eq!(counts(&guilds), (2, 1));
        guilds.observe(b"GUILD_DELETE", br#"{"id":"2"}"#);
        assert_eq!(counts(&guilds), (1, 1));
        guilds.observe(b"READY", b"{}");
        assert_eq!(counts(&guilds), (0, 0));
    }
}
