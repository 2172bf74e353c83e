//! Guild channels and roles: <https://docs.discord.com/developers/resources/channel>,
//! <https://docs.discord.com/developers/topics/permissions#role-object>.

use serde::Serialize;
use serde_json::{Value, json};

use super::live::GuildLive;
use super::snowflake::{Kind, Snowflake, decode, mix, world_id};
use super::{World, words};

/// Channel types the world has.
pub(crate) mod channel_type {
    /// A text channel of a guild.
    pub(crate) const TEXT: u8 = 0;
    /// A direct channel with one user.
    pub(crate) const DM: u8 = 1;
    /// A voice channel.
    pub(crate) const VOICE: u8 = 2;
    /// A category.
    pub(crate) const CATEGORY: u8 = 4;
}

/// A guild's channel.
#[derive(Debug, Serialize)]
#[expect(clippy::option_option, reason = "absent, null and a value differ in JSON")]
pub(crate) struct Channel {
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_limit: Option<u32>,
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtc_region: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit_per_user: Option<u32>,
    position: u16,
    permission_overwrites: Vec<Value>,
    parent_id: Option<Snowflake>,
    nsfw: bool,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_message_id: Option<Option<Snowflake>>,
    pub(crate) id: Snowflake,
    icon_emoji: (),
    flags: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    bitrate: Option<u32>,
    /// Left out inside `GUILD_CREATE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guild_id: Option<Snowflake>,
}

/// A role.
#[derive(Debug, Serialize)]
pub(crate) struct Role {
    version: u64,
    unicode_emoji: (),
    tags: Value,
    position: u16,
    permissions: String,
    name: String,
    mentionable: bool,
    managed: bool,
    pub(crate) id: Snowflake,
    icon: (),
    hoist: bool,
    flags: u32,
    description: (),
    colors: Value,
    color: u32,
}

impl World {
    /// The id of a guild's channel `index`.
    pub(crate) fn channel_id(&self, guild: u32, index: u16) -> Snowflake {
        world_id(self.seed, Kind::Channel, guild, index)
    }

    /// The guild and index behind a channel id.
    pub(crate) fn channel_number(&self, id: Snowflake) -> Option<(u32, u16)> {
        decode(self.seed, Kind::Channel, id).filter(|&(_, index)| index < self.channels_per_guild)
    }

    /// What kind of channel number `index` of every guild is: first the category, last voice.
    pub(crate) fn channel_type(&self, index: u16) -> u8 {
        if index == 0 {
            channel_type::CATEGORY
        } else if index >= self.text_channels().end {
            channel_type::VOICE
        } else {
            channel_type::TEXT
        }
    }

    /// Indexes of the text channels of every guild.
    pub(crate) fn text_channels(&self) -> std::ops::Range<u16> {
        1..(self.channels_per_guild - self.channels_per_guild.saturating_sub(2).min(2))
    }

    /// Indexes of the voice channels of every guild.
    pub(crate) fn voice_channels(&self) -> std::ops::Range<u16> {
        self.text_channels().end..self.channels_per_guild
    }

    /// A guild's channel with its guild's id.
    pub(crate) fn channel(&self, guild: u32, index: u16, live: &GuildLive) -> Channel {
        Channel {
            guild_id: Some(self.guild_id(guild)),
            ..self.channel_in_guild(guild, index, live)
        }
    }

    /// A guild's channel as the guild object holds it.
    pub(crate) fn channel_in_guild(&self, guild: u32, index: u16, live: &GuildLive) -> Channel {
        let roll = mix(self.seed, 3, u64::from(guild), u64::from(index));
        let kind = self.channel_type(index);
        let text = kind == channel_type::TEXT;
        let voice = kind == channel_type::VOICE;
        let talks = text || voice;
        let edit = live.channels.get(&index);
        let name = edit.and_then(|edit| edit.name.clone()).unwrap_or_else(|| match kind {
            channel_type::CATEGORY => "Channels".to_owned(),
            channel_type::VOICE => format!("Voice {}", index - self.text_channels().end + 1),
            _ => words::channel_name(index - 1),
        });
        let first_topic = || {
            let topic = || format!("All about {name}. Be kind, read the pins, have fun.");
            roll.is_multiple_of(2).then(topic)
        };
        let topic = edit.and_then(|edit| edit.topic.clone()).unwrap_or_else(first_topic);
        Channel {
            version: 1_700_000_000_000 + roll % 50_000_000_000,
            user_limit: voice.then_some(0),
            kind,
            topic: text.then_some(topic),
            rtc_region: voice.then_some(()),
            rate_limit_per_user: talks.then_some(0),
            position: index,
            permission_overwrites: self.overwrites(guild, roll),
            parent_id: (index > 0).then(|| self.channel_id(guild, 0)),
            nsfw: false,
            name,
            last_message_id: talks.then(|| live.last_message.get(&index).copied()),
            id: self.channel_id(guild, index),
            icon_emoji: (),
            flags: 0,
            bitrate: voice.then_some(64_000),
            guild_id: None,
        }
    }

    fn overwrites(&self, guild: u32, roll: u64) -> Vec<Value> {
        let roles = u64::from(self.roles_per_guild);
        (0..(roll >> 8) % 3)
            .map(|i| {
                let role = self.role_id(guild, ((roll >> (16 + 8 * i)) % roles) as u16);
                json!({"type": 0, "id": role, "deny": "0", "allow": "2048"})
            })
            .collect()
    }

    /// The id of a guild's role `index`; `@everyone` has the guild's own.
    pub(crate) fn role_id(&self, guild: u32, index: u16) -> Snowflake {
        match index {
            0 => self.guild_id(guild),
            _ => world_id(self.seed, Kind::Role, guild, index),
        }
    }

    /// A guild's role `index`.
    pub(crate) fn role(&self, guild: u32, index: u16) -> Role {
        let roll = mix(self.seed, 4, u64::from(guild), u64::from(index));
        let everyone = index == 0;
        let color = if everyone { 0 } else { (roll >> 8) as u32 & 0x00FF_FFFF };
        Role {
            version: 1_700_000_000_000 + roll % 50_000_000_000,
            unicode_emoji: (),
            tags: json!({}),
            position: index,
            permissions: if everyone { "2222085186637376" } else { "2248473465835073" }.to_owned(),
            name: match index {
                0 => "@everyone".to_owned(),
                _ => words::display_name(self.seed, roll, u32::from(index)),
            },
            mentionable: roll.is_multiple_of(3),
            managed: false,
            id: self.role_id(guild, index),
            icon: (),
            hoist: roll.is_multiple_of(4),
            flags: 0,
            description: (),
            colors: json!({"primary_color": color, "secondary_color": null, "tertiary_color": null}),
            color,
        }
    }
}
