//! Guilds: <https://docs.discord.com/developers/resources/guild#guild-object> and what
//! `GUILD_CREATE` adds to it.

use serde::Serialize;
use serde_json::{Value, json};

use super::channel::{Channel, Role};
use super::live::GuildLive;
use super::member::{Member, Notable};
use super::presence::Presence;
use super::snowflake::{Kind, Snowflake, decode, mix, world_id};
use super::{World, words};
use crate::clock::iso8601;
use crate::intents;

/// Above this size a guild sends only the bot and the members in voice channels.
const MAX_LISTED_MEMBERS: u32 = 75_000;

/// Custom emojis of each guild.
const EMOJIS: u16 = 8;

/// Soundboard sounds of each guild.
const SOUNDS: u16 = 3;

/// The guild object as REST answers it.
#[derive(Debug, Serialize)]
pub(crate) struct Guild {
    widget_enabled: bool,
    widget_channel_id: (),
    version: u64,
    verification_level: u8,
    vanity_url_code: (),
    system_channel_id: Option<Snowflake>,
    system_channel_flags: u32,
    stickers: [(); 0],
    splash: (),
    safety_alerts_channel_id: (),
    rules_channel_id: (),
    roles: Vec<Role>,
    region: &'static str,
    public_updates_channel_id: (),
    premium_tier: u8,
    premium_subscription_count: u32,
    premium_progress_bar_enabled: bool,
    preferred_locale: &'static str,
    owner_id: Snowflake,
    nsfw_level: u8,
    nsfw: bool,
    name: String,
    mfa_level: u8,
    max_video_channel_users: u32,
    max_stage_video_channel_users: u32,
    max_presences: (),
    max_members: u32,
    latest_onboarding_question_id: (),
    incidents_data: (),
    id: Snowflake,
    icon: Option<String>,
    hub_type: (),
    home_header: (),
    features: Vec<&'static str>,
    explicit_content_filter: u8,
    emojis: Vec<Value>,
    discovery_splash: (),
    description: (),
    default_message_notifications: u8,
    banner: (),
    application_id: (),
    afk_timeout: u32,
    afk_channel_id: Option<Snowflake>,
}

/// What `GUILD_CREATE` has on top.
#[derive(Debug, Serialize)]
struct GuildCreate<'a> {
    voice_states: Vec<Value>,
    unavailable: bool,
    threads: [(); 0],
    stage_instances: [(); 0],
    soundboard_sounds: Vec<Value>,
    presences: Vec<Presence>,
    members: Vec<Member>,
    member_count: u32,
    large: bool,
    lazy: bool,
    joined_at: String,
    guild_scheduled_events: [(); 0],
    embedded_activities: [(); 0],
    channels: Vec<Channel>,
    application_command_counts: Value,
    #[serde(flatten)]
    guild: &'a Guild,
}

/// Who asks for a `GUILD_CREATE`: its members depend on that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Viewer {
    /// The session's intents.
    pub(crate) intents: u64,
    /// Above how many members offline ones are left out.
    pub(crate) large_threshold: u32,
}

impl World {
    /// The id of guild number `guild`.
    pub(crate) fn guild_id(&self, guild: u32) -> Snowflake {
        world_id(self.seed, Kind::Guild, guild, 0)
    }

    /// The number behind a guild id, whether or not the bot is in it.
    pub(crate) fn guild_number(&self, id: Snowflake) -> Option<u32> {
        decode(self.seed, Kind::Guild, id).filter(|&(_, index)| index == 0).map(|(guild, _)| guild)
    }

    /// The guild's owner: the first member that is not the bot.
    pub(crate) fn owner_id(&self, guild: u32) -> Snowflake {
        self.member_id(guild, u32::from(self.members_per_guild > 1))
    }

    /// The guild object of number `guild`.
    pub(crate) fn guild(&self, guild: u32) -> Guild {
        let roll = mix(self.seed, 5, u64::from(guild), 0);
        let first_text = self.channel_id(guild, self.text_channels().start);
        Guild {
            widget_enabled: false,
            widget_channel_id: (),
            version: 1_700_000_000_000 + roll % 50_000_000_000,
            verification_level: (roll % 4) as u8,
            vanity_url_code: (),
            system_channel_id: Some(first_text),
            system_channel_flags: 0,
            stickers: [],
            splash: (),
            safety_alerts_channel_id: (),
            rules_channel_id: (),
            roles: (0..self.roles_per_guild).map(|role| self.role(guild, role)).collect(),
            region: "deprecated",
            public_updates_channel_id: (),
            premium_tier: (roll >> 8 & 3) as u8,
            premium_subscription_count: (roll >> 12) as u32 % 20,
            premium_progress_bar_enabled: false,
            preferred_locale: "en-US",
            owner_id: self.owner_id(guild),
            nsfw_level: 0,
            nsfw: false,
            name: format!("{} #{guild}", words::display_name(self.seed, 5, guild)),
            mfa_level: 0,
            max_video_channel_users: 25,
            max_stage_video_channel_users: 50,
            max_presences: (),
            max_members: 500_000,
            latest_onboarding_question_id: (),
            incidents_data: (),
            id: self.guild_id(guild),
            icon: roll.is_multiple_of(3).then(|| words::image_hash(self.seed, 5, u64::from(guild))),
            hub_type: (),
            home_header: (),
            features: vec!["NEWS", "SOUNDBOARD", "TIERLESS_BOOSTING"],
            explicit_content_filter: 0,
            emojis: self.emojis(guild),
            discovery_splash: (),
            description: (),
            default_message_notifications: 1,
            banner: (),
            application_id: (),
            afk_timeout: 300,
            afk_channel_id: None,
        }
    }

    /// The guild's custom emojis.
    pub(crate) fn emojis(&self, guild: u32) -> Vec<Value> {
        let emoji = |index| {
            let id = world_id(self.seed, Kind::Emoji, guild, index);
            json!({
                "roles": [], "require_colons": true, "name": format!("custom_{index}"),
                "managed": false, "id": id, "available": true, "animated": false,
            })
        };
        (0..EMOJIS).map(emoji).collect()
    }

    /// The guild's soundboard sounds.
    /// <https://docs.discord.com/developers/resources/soundboard#soundboard-sound-object>
    pub(crate) fn sounds(&self, guild: u32) -> Vec<Value> {
        let sound = |index| {
            json!({
                "volume": 1.0, "user_id": self.owner_id(guild),
                "sound_id": world_id(self.seed, Kind::Sound, guild, index),
                "name": format!("sound {index}"), "guild_id": self.guild_id(guild),
                "emoji_name": "🔊", "emoji_id": null, "available": true,
            })
        };
        (0..SOUNDS).map(sound).collect()
    }

    /// The `d` of a `GUILD_CREATE` as `viewer` gets it.
    pub(crate) fn guild_create(&self, guild: u32, live: &GuildLive, viewer: Viewer) -> String {
        let count = self.members_per_guild;
        let large = count > viewer.large_threshold;
        // https://docs.discord.com/developers/events/gateway-events#guild-create
        let presences = viewer.intents & intents::GUILD_PRESENCES != 0;
        let all_known = presences && count <= MAX_LISTED_MEMBERS;
        let listed: Vec<u32> = if !all_known {
            let voice = live.voice.keys().copied().filter(|&index| index != 0);
            std::iter::once(0).chain(voice).collect()
        } else if large {
            (0..count).filter(|&index| self.notable(guild, index, live) == Notable::Yes).collect()
        } else {
            (0..count).collect()
        };
        let online = |&index: &u32| all_known && self.is_online(guild, index);
        let voice_state = |(&index, voice): (&u32, &super::live::VoiceState)| {
            self.voice_state_object(guild, index, voice, live, false)
        };
        let create = GuildCreate {
            voice_states: live.voice.iter().map(voice_state).collect(),
            unavailable: false,
            threads: [],
            stage_instances: [],
            soundboard_sounds: self.sounds(guild),
            presences: listed
                .iter()
                .copied()
                .filter(online)
                .map(|index| self.first_presence(guild, index))
                .collect(),
            members: listed.iter().map(|&index| self.member(guild, index, live)).collect(),
            member_count: count,
            large,
            lazy: true,
            joined_at: iso8601(self.guild_id(guild).unix_ms() + 86_400_000),
            guild_scheduled_events: [],
            embedded_activities: [],
            channels: (0..self.channels_per_guild)
                .map(|index| self.channel_in_guild(guild, index, live))
                .collect(),
            application_command_counts: json!({}),
            guild: &self.guild(guild),
        };
        super::to_json(&create)
    }

    /// A voice state, as an event (with guild and member) or inside `GUILD_CREATE`.
    pub(crate) fn voice_state_object(
        &self,
        guild: u32,
        index: u32,
        voice: &super::live::VoiceState,
        live: &GuildLive,
        event: bool,
    ) -> Value {
        let mut state = json!({
            "user_id": self.member_id(guild, index), "suppress": false,
            "session_id": voice.session_id, "self_video": false, "self_mute": voice.self_mute,
            "self_deaf": voice.self_deaf, "request_to_speak_timestamp": null, "mute": false,
            "deaf": false, "channel_id": voice.channel_id,
        });
        if event {
            state["member"] = json!(self.member(guild, index, live));
            state["guild_id"] = json!(self.guild_id(guild));
        }
        state
    }
}
