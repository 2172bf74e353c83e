//! Presences: <https://docs.discord.com/developers/events/gateway-events#presence-update>.

use serde::Serialize;
use serde_json::{Value, json};

use super::World;
use super::snowflake::Snowflake;

const GAMES: [&str; 6] =
    ["Chess Club", "Star Harbor", "Farm Days", "Night Racer", "Word Quarry", "Tower Keep"];

/// A member's presence, without the guild where it stands inside the guild.
#[derive(Debug, Serialize)]
pub(crate) struct Presence {
    user: PresenceUser,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<String>,
    client_status: Value,
    activities: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guild_id: Option<Snowflake>,
}

#[derive(Debug, Serialize)]
struct PresenceUser {
    id: Snowflake,
}

impl World {
    /// Whether a member is online when the world begins; the bot and a third of the people are.
    pub(crate) fn is_online(&self, guild: u32, index: u32) -> bool {
        index == 0 || (self.member_roll(guild, index) >> 32).is_multiple_of(3)
    }

    /// Presence of a member with everything its `roll` decides.
    pub(crate) fn presence(&self, guild: u32, index: u32, roll: u64) -> Presence {
        let status = ["online", "online", "idle", "dnd"][(roll % 4) as usize];
        let platform = ["desktop", "desktop", "mobile", "web"][(roll >> 4) as usize % 4];
        let activities = match roll >> 8 & 3 {
            0 => {
                let game = GAMES[(roll >> 12) as usize % GAMES.len()];
                let started = 1_700_000_000_000 + roll % 10_000_000_000;
                vec![json!({
                    "type": 0, "name": game, "id": format!("{:016x}", roll),
                    "details": "Ranked match", "state": "In a party",
                    "created_at": started, "timestamps": {"start": started},
                })]
            }
            1 => vec![json!({
                "type": 4, "name": "Custom Status", "id": "custom", "state": "back in a bit",
                "created_at": 1_700_000_000_000_u64,
            })],
            _ => Vec::new(),
        };
        Presence {
            user: PresenceUser { id: self.member_id(guild, index) },
            status,
            nonce: None,
            client_status: json!({platform: status}),
            activities,
            guild_id: None,
        }
    }

    /// The presence a member has when the world begins.
    pub(crate) fn first_presence(&self, guild: u32, index: u32) -> Presence {
        self.presence(guild, index, self.member_roll(guild, index) >> 7)
    }
}
