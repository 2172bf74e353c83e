//! Gateway intents: which groups of events Discord sends to a session.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// Every intent by Discord's name, with its bit.
///
/// Source: <https://discord.com/developers/docs/events/gateway#list-of-intents>.
const NAMES: [(&str, u32); 21] = [
    ("GUILDS", 0),
    ("GUILD_MEMBERS", 1),
    ("GUILD_MODERATION", 2),
    ("GUILD_EXPRESSIONS", 3),
    ("GUILD_INTEGRATIONS", 4),
    ("GUILD_WEBHOOKS", 5),
    ("GUILD_INVITES", 6),
    ("GUILD_VOICE_STATES", 7),
    ("GUILD_PRESENCES", 8),
    ("GUILD_MESSAGES", 9),
    ("GUILD_MESSAGE_REACTIONS", 10),
    ("GUILD_MESSAGE_TYPING", 11),
    ("DIRECT_MESSAGES", 12),
    ("DIRECT_MESSAGE_REACTIONS", 13),
    ("DIRECT_MESSAGE_TYPING", 14),
    ("MESSAGE_CONTENT", 15),
    ("GUILD_SCHEDULED_EVENTS", 16),
    ("AUTO_MODERATION_CONFIGURATION", 20),
    ("AUTO_MODERATION_EXECUTION", 21),
    ("GUILD_MESSAGE_POLLS", 24),
    ("DIRECT_MESSAGE_POLLS", 25),
];

/// Names that Discord has replaced, so that older code keeps working.
const FORMER_NAMES: [(&str, u32); 2] = [("GUILD_BANS", 2), ("GUILD_EMOJIS_AND_STICKERS", 3)];

/// A set of intents. Read from JSON as a number or as a list of names.
///
/// A number may carry bits that are not in the list yet; whether they exist is for Discord to say
/// (close code 4013).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Intents(pub u64);

impl Intents {
    /// `GUILDS`: guild, channel, thread and role events; the guild counts stand on it.
    pub const GUILDS: Self = Self(1);

    /// The intent with this name, or `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .chain(&FORMER_NAMES)
            .find(|(known, _)| *known == name)
            .map(|(_, bit)| Self(1 << bit))
    }

    /// Whether all intents of `other` are in this set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl<'de> Deserialize<'de> for Intents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntentsVisitor)
    }
}

/// Reads both forms of [`Intents`].
struct IntentsVisitor;

impl<'de> Visitor<'de> for IntentsVisitor {
    type Value = Intents;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a list of intent names such as [\"GUILDS\",\"GUILD_MESSAGES\"]")
    }

    fn visit_u64<E: de::Error>(self, bits: u64) -> Result<Intents, E> {
        Ok(Intents(bits))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Intents, A::Error> {
        let mut bits = 0;
        while let Some(name) = names.next_element::<std::borrow::Cow<'de, str>>()? {
            let intent = Intents::from_name(&name).ok_or_else(|| {
                let known: Vec<_> = NAMES.iter().map(|(known, _)| *known).collect();
                de::Error::custom(format!(
                    "unknown intent {name:?}; there are {}",
                    known.join(", ")
                ))
            })?;
            bits |= intent.0;
        }
        Ok(Intents(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<u64, String> {
        serde_json::from_str::<Intents>(json).map(|i| i.0).map_err(|e| e.to_string())
    }

    #[test]
    fn both_forms_are_read() {
        assert_eq!(read("513"), Ok(513));
        assert_eq!(read(r#"["GUILDS","GUILD_MESSAGES"]"#), Ok(513));
        assert_eq!(read(r#"["GUILD_BANS"]"#), read(r#"["GUILD_MODERATION"]"#));
        assert_eq!(read("[]"), Ok(0));
    }

    #[test]
    fn a_wrong_name_is_named_with_the_right_ones() {
        let error = read(r#"["GUILD_MESSAGE"]"#).expect_err("no such intent");
        assert!(error.contains("\"GUILD_MESSAGE\"") && error.contains("GUILD_MESSAGES"), "{error}");
        let error = read("\"GUILDS\"").expect_err("a bare string is neither form");
        assert!(error.contains("a list of intent names"), "{error}");
        assert!(read("-1").is_err());
    }

    #[test]
    fn names_and_bits_are_unique() {
        for (i, (name, bit)) in NAMES.iter().enumerate() {
            assert!(NAMES[i + 1..].iter().all(|(n, b)| n != name && b != bit), "{name}");
        }
    }
}
