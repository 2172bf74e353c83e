//! Guild members: <https://docs.discord.com/developers/resources/guild#guild-member-object>.

use serde::Serialize;

use super::live::GuildLive;
use super::snowflake::{Snowflake, mix};
use super::user::User;
use super::{World, words};
use crate::clock::iso8601;

/// A member; without `user` where Discord leaves it out (messages).
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Member {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<User>,
    pub(crate) roles: Vec<Snowflake>,
    premium_since: Option<String>,
    pending: bool,
    pub(crate) nick: Option<String>,
    pub(crate) mute: bool,
    joined_at: String,
    flags: u32,
    pub(crate) deaf: bool,
    communication_disabled_until: (),
    banner: (),
    avatar: (),
}

/// What may be left out of a guild's member list when the guild is large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notable {
    /// Online, with a role, a nickname, or in a voice channel.
    Yes,
    /// None of that.
    No,
}

impl World {
    /// The user id of member `index` of guild `guild`; member 0 is the bot, member 1 the owner.
    pub(crate) fn member_id(&self, guild: u32, index: u32) -> Snowflake {
        match index {
            0 => self.bot,
            _ => self.user_id(self.member_user(guild, index)),
        }
    }

    /// The user number of member `index`, which must not be the bot.
    fn member_user(&self, guild: u32, index: u32) -> u32 {
        let first = u64::from(guild) * self.member_stride();
        ((first + u64::from(index - 1)) % u64::from(self.population().max(1))) as u32
    }

    /// The member index of a user in a guild, if it is a member.
    pub(crate) fn member_index(&self, guild: u32, user: Snowflake) -> Option<u32> {
        if user == self.bot {
            return Some(0);
        }
        let number = u64::from(self.user_number(user)?);
        let population = u64::from(self.population().max(1));
        let first = u64::from(guild) * self.member_stride() % population;
        let index = ((number + population - first) % population) as u32 + 1;
        (index < self.members_per_guild).then_some(index)
    }

    /// Guilds that follow each other share half of their members.
    fn member_stride(&self) -> u64 {
        u64::from(self.members_per_guild.saturating_sub(1)).div_ceil(2)
    }

    /// Member `index` of a guild with its user.
    pub(crate) fn member(&self, guild: u32, index: u32, live: &GuildLive) -> Member {
        let user = match index {
            0 => self.bot_user(),
            _ => self.user_by_number(self.member_user(guild, index)),
        };
        Member { user: Some(user), ..self.partial_member(guild, index, live) }
    }

    /// Member `index` of a guild without its user.
    pub(crate) fn partial_member(&self, guild: u32, index: u32, live: &GuildLive) -> Member {
        let roll = self.member_roll(guild, index);
        let joined_ms = self.guild_id(guild).unix_ms() + roll % (180 * 24 * 3_600_000);
        let mut member = Member {
            user: None,
            roles: self.member_roles(guild, roll),
            premium_since: None,
            pending: false,
            nick: nick_rolls(roll).then(|| words::display_name(self.seed, u64::from(guild), index)),
            mute: false,
            joined_at: iso8601(joined_ms),
            flags: 0,
            deaf: false,
            communication_disabled_until: (),
            banner: (),
            avatar: (),
        };
        if let Some(edit) = live.members.get(&index) {
            member.nick = edit.nick.clone().unwrap_or(member.nick);
            member.roles = edit.roles.clone().unwrap_or(member.roles);
        }
        member
    }

    /// Whether a large guild's `GUILD_CREATE` has this member.
    pub(crate) fn notable(&self, guild: u32, index: u32, live: &GuildLive) -> Notable {
        let roll = self.member_roll(guild, index);
        let known = index == 0
            || nick_rolls(roll)
            || role_rolls(roll)
            || self.is_online(guild, index)
            || live.members.contains_key(&index)
            || live.voice.contains_key(&index);
        if known { Notable::Yes } else { Notable::No }
    }

    /// Traits of a member that never change, as one number.
    pub(crate) fn member_roll(&self, guild: u32, index: u32) -> u64 {
        mix(self.seed, 2, u64::from(guild), u64::from(index))
    }

    fn member_roles(&self, guild: u32, roll: u64) -> Vec<Snowflake> {
        let roles = u64::from(self.roles_per_guild);
        if roles < 2 || !role_rolls(roll) {
            return Vec::new();
        }
        let mut picked: Vec<u64> =
            (0..=((roll >> 20) % 3)).map(|i| 1 + (roll >> (24 + 8 * i)) % (roles - 1)).collect();
        picked.sort_unstable();
        picked.dedup();
        picked.into_iter().map(|role| self.role_id(guild, role as u16)).collect()
    }
}

/// One member in eight has a nickname.
fn nick_rolls(roll: u64) -> bool {
    roll.is_multiple_of(8)
}

/// One member in three has roles.
fn role_rolls(roll: u64) -> bool {
    (roll >> 12).is_multiple_of(3)
}
