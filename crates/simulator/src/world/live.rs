//! What has happened to the world since it began. The world itself never changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::snowflake::Snowflake;

/// Changes inside one guild.
#[derive(Debug, Clone, Default)]
pub(crate) struct GuildLive {
    /// Members in voice channels, by member index.
    pub(crate) voice: BTreeMap<u32, VoiceState>,
    /// Members with another nickname or other roles than they began with, by member index.
    pub(crate) members: BTreeMap<u32, MemberEdit>,
    /// Channels with another name or topic than they began with, by channel index.
    pub(crate) channels: BTreeMap<u16, ChannelEdit>,
    /// Newest message of each channel, by channel index.
    pub(crate) last_message: BTreeMap<u16, Snowflake>,
}

/// A changed member; `None` where it is as it was.
#[derive(Debug, Clone, Default)]
#[expect(clippy::option_option, reason = "absent, null and a value differ here")]
pub(crate) struct MemberEdit {
    pub(crate) nick: Option<Option<String>>,
    pub(crate) roles: Option<Vec<Snowflake>>,
}

/// A changed channel; `None` where it is as it was.
#[derive(Debug, Clone, Default)]
#[expect(clippy::option_option, reason = "absent, null and a value differ here")]
pub(crate) struct ChannelEdit {
    pub(crate) name: Option<String>,
    pub(crate) topic: Option<Option<String>>,
}

/// Where a member is in voice.
/// <https://docs.discord.com/developers/resources/voice#voice-state-object>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoiceState {
    pub(crate) channel_id: Snowflake,
    pub(crate) self_mute: bool,
    pub(crate) self_deaf: bool,
    pub(crate) session_id: String,
}

/// Changes to the world.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Guilds the bot has joined since, as a count: they have the numbers after the first ones.
    pub(crate) joined: u32,
    /// Guilds the bot has left.
    pub(crate) left: BTreeSet<u32>,
    /// Guilds in an outage.
    pub(crate) down: BTreeSet<u32>,
    /// Guilds whose `GUILD_CREATE` is held back.
    pub(crate) withheld: BTreeSet<u32>,
    guilds: BTreeMap<u32, Arc<GuildLive>>,
}

impl Live {
    /// The changes of one guild, to read without the lock.
    pub(crate) fn guild(&self, guild: u32) -> Arc<GuildLive> {
        self.guilds.get(&guild).cloned().unwrap_or_default()
    }

    /// The changes of one guild, to add to.
    pub(crate) fn edit(&mut self, guild: u32) -> &mut GuildLive {
        Arc::make_mut(self.guilds.entry(guild).or_default())
    }
}
