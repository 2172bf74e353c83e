//! The world: guilds with their channels, roles, members and sounds, and the users in them.
//!
//! Nothing of it is stored. Everything is computed from the seed and a number when someone asks,
//! so a world of a million members costs nothing until it is looked at, and two worlds of the same
//! seed are the same. What changes while the simulator runs is kept apart, in [`live`].

pub(crate) mod channel;
pub(crate) mod guild;
pub(crate) mod live;
pub(crate) mod member;
pub(crate) mod message;
pub(crate) mod presence;
pub(crate) mod snowflake;
pub(crate) mod traffic;
pub(crate) mod user;
pub(crate) mod words;

use serde::Serialize;

use crate::options::Options;
use snowflake::Snowflake;

/// Users beyond this many are not told apart.
const MAX_POPULATION: u64 = 20_000_000;

/// The unchanging world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) bot: Snowflake,
    pub(crate) application: Snowflake,
    bot_name: String,
    /// Guilds the bot is in at the start.
    pub(crate) first_guilds: u32,
    pub(crate) members_per_guild: u32,
    pub(crate) channels_per_guild: u16,
    pub(crate) roles_per_guild: u16,
}

impl World {
    /// The world these options describe.
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            seed: options.seed,
            bot: Snowflake(options.bot_id),
            application: Snowflake(options.application_id),
            bot_name: options.bot_name.clone(),
            first_guilds: options.guilds,
            members_per_guild: options.members_per_guild,
            channels_per_guild: options.channels_per_guild,
            roles_per_guild: options.roles_per_guild,
        }
    }

    /// How many users there are besides the bot.
    pub(crate) fn population(&self) -> u32 {
        let people = u64::from(self.members_per_guild - 1);
        let shared = people * u64::from(self.first_guilds.max(1)) / 2;
        shared.clamp(people, MAX_POPULATION.max(people)) as u32
    }
}

/// Compact JSON of a value that is made of plain data and so can always be written.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::guild::Viewer;
    use super::*;
    use crate::intents;

    fn world(options: &Options) -> World {
        options.check().unwrap();
        World::new(options)
    }

    const ALL: Viewer = Viewer { intents: intents::ALL, large_threshold: 250 };

    #[test]
    fn the_same_seed_makes_the_same_world() {
        let create = |seed| {
            let world = world(&Options { seed, ..Options::default() });
            world.guild_create(3, &live::GuildLive::default(), ALL)
        };
        assert_eq!(create(5), create(5));
        assert_ne!(create(5), create(6));
    }

    #[test]
    fn a_guild_create_has_a_real_size() {
        let world = world(&Options::default());
        let live = live::GuildLive::default();
        let full = world.guild_create(0, &live, ALL).len();
        let slim = Viewer { intents: intents::GUILDS, large_threshold: 50 };
        let small = world.guild_create(0, &live, slim).len();
        assert!((40_000..200_000).contains(&full), "with presences: {full} bytes");
        assert!((10_000..40_000).contains(&small), "without presences: {small} bytes");
    }

    #[test]
    fn members_know_their_index() {
        let world = world(&Options { members_per_guild: 37, guilds: 9, ..Options::default() });
        for guild in 0..9 {
            let mut ids = Vec::new();
            for index in 0..37 {
                let id = world.member_id(guild, index);
                assert_eq!(world.member_index(guild, id), Some(index));
                ids.push(id);
            }
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), 37, "no user twice in guild {guild}");
        }
        let stranger = world.member_id(4, 36);
        assert_eq!(world.member_index(0, stranger), None);
    }

    #[test]
    fn large_guilds_leave_out_unremarkable_members() {
        let world = world(&Options { members_per_guild: 500, ..Options::default() });
        let json: Value =
            serde_json::from_str(&world.guild_create(1, &live::GuildLive::default(), ALL)).unwrap();
        let listed = json["members"].as_array().unwrap().len();
        assert!((100..500).contains(&listed), "{listed} of 500");
        assert_eq!(json["member_count"], 500);
        assert_eq!(json["large"], true);
        let offline = json["presences"].as_array().unwrap().len();
        assert!(offline < listed);
    }

    #[test]
    fn channel_kinds_add_up() {
        for channels in 2..40 {
            let world = world(&Options { channels_per_guild: channels, ..Options::default() });
            assert!(!world.text_channels().is_empty());
            let kinds: Vec<u8> = (0..channels).map(|index| world.channel_type(index)).collect();
            assert_eq!(kinds[0], channel::channel_type::CATEGORY);
            assert_eq!(kinds[1], channel::channel_type::TEXT);
            let is_voice = |kind: &u8| *kind == channel::channel_type::VOICE;
            let voices = kinds.into_iter().filter(is_voice).count();
            assert_eq!(voices, world.voice_channels().len());
        }
    }
}
