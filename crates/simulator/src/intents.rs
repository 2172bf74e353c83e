//! Gateway intents: which exist, which are privileged, and which one an event needs.
//!
//! <https://docs.discord.com/developers/events/gateway#list-of-intents>

macro_rules! intents {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        $($(#[$doc])* pub const $name: u64 = 1 << $bit;)*

        /// Every intent that exists; any other bit is answered with 4013.
        pub const ALL: u64 = $($name)|*;
    };
}

intents! {
    /// Guilds, channels, roles, threads and stage instances.
    GUILDS = 0;
    /// Members coming, going and changing. Privileged.
    GUILD_MEMBERS = 1;
    /// Bans and audit log entries.
    GUILD_MODERATION = 2;
    /// Emojis, stickers and soundboard sounds.
    GUILD_EXPRESSIONS = 3;
    /// Integrations.
    GUILD_INTEGRATIONS = 4;
    /// Webhooks.
    GUILD_WEBHOOKS = 5;
    /// Invites.
    GUILD_INVITES = 6;
    /// Voice states and voice effects.
    GUILD_VOICE_STATES = 7;
    /// Presences. Privileged.
    GUILD_PRESENCES = 8;
    /// Messages in guilds.
    GUILD_MESSAGES = 9;
    /// Reactions in guilds.
    GUILD_MESSAGE_REACTIONS = 10;
    /// Typing in guilds.
    GUILD_MESSAGE_TYPING = 11;
    /// Messages in direct channels, and ephemeral ones.
    DIRECT_MESSAGES = 12;
    /// Reactions in direct channels.
    DIRECT_MESSAGE_REACTIONS = 13;
    /// Typing in direct channels.
    DIRECT_MESSAGE_TYPING = 14;
    /// No events of its own: fills the content fields of messages. Privileged.
    MESSAGE_CONTENT = 15;
    /// Scheduled events.
    GUILD_SCHEDULED_EVENTS = 16;
    /// Auto moderation rules.
    AUTO_MODERATION_CONFIGURATION = 20;
    /// Auto moderation at work.
    AUTO_MODERATION_EXECUTION = 21;
    /// Poll votes in guilds.
    GUILD_MESSAGE_POLLS = 24;
    /// Poll votes in direct channels.
    DIRECT_MESSAGE_POLLS = 25;
}

/// The intents an application must be granted before it may ask for them (else 4014).
pub const PRIVILEGED: u64 = GUILD_MEMBERS | GUILD_PRESENCES | MESSAGE_CONTENT;

/// The intents of which a session needs one to get event `t`; `None` where it needs none.
///
/// `in_guild` tells events of a guild from those of a direct channel.
pub fn needed(t: &str, in_guild: bool) -> Option<u64> {
    let guild_or_direct = |guild, direct| Some(if in_guild { guild } else { direct });
    match t {
        "THREAD_MEMBERS_UPDATE" => Some(GUILDS | GUILD_MEMBERS),
        "CHANNEL_PINS_UPDATE" => guild_or_direct(GUILDS, DIRECT_MESSAGES),
        "GUILD_CREATE"
        | "GUILD_UPDATE"
        | "GUILD_DELETE"
        | "VOICE_CHANNEL_STATUS_UPDATE"
        | "VOICE_CHANNEL_START_TIME_UPDATE" => Some(GUILDS),
        "GUILD_MEMBER_ADD" | "GUILD_MEMBER_UPDATE" | "GUILD_MEMBER_REMOVE" => Some(GUILD_MEMBERS),
        "GUILD_AUDIT_LOG_ENTRY_CREATE" | "GUILD_BAN_ADD" | "GUILD_BAN_REMOVE" => {
            Some(GUILD_MODERATION)
        }
        "GUILD_EMOJIS_UPDATE" | "GUILD_STICKERS_UPDATE" => Some(GUILD_EXPRESSIONS),
        "GUILD_INTEGRATIONS_UPDATE" => Some(GUILD_INTEGRATIONS),
        "WEBHOOKS_UPDATE" => Some(GUILD_WEBHOOKS),
        "VOICE_CHANNEL_EFFECT_SEND" | "VOICE_STATE_UPDATE" => Some(GUILD_VOICE_STATES),
        "PRESENCE_UPDATE" => Some(GUILD_PRESENCES),
        "TYPING_START" => guild_or_direct(GUILD_MESSAGE_TYPING, DIRECT_MESSAGE_TYPING),
        "AUTO_MODERATION_ACTION_EXECUTION" => Some(AUTO_MODERATION_EXECUTION),
        _ if t.starts_with("GUILD_ROLE_")
            || t.starts_with("CHANNEL_") && t != "CHANNEL_INFO"
            || t.starts_with("THREAD_")
            || t.starts_with("STAGE_INSTANCE_") =>
        {
            Some(GUILDS)
        }
        _ if t.starts_with("GUILD_SOUNDBOARD_SOUND") => Some(GUILD_EXPRESSIONS),
        _ if t.starts_with("GUILD_SCHEDULED_EVENT_") => Some(GUILD_SCHEDULED_EVENTS),
        _ if t.starts_with("INTEGRATION_") => Some(GUILD_INTEGRATIONS),
        _ if t.starts_with("INVITE_") => Some(GUILD_INVITES),
        _ if t.starts_with("AUTO_MODERATION_RULE_") => Some(AUTO_MODERATION_CONFIGURATION),
        _ if t.starts_with("MESSAGE_POLL_") => {
            guild_or_direct(GUILD_MESSAGE_POLLS, DIRECT_MESSAGE_POLLS)
        }
        _ if t.starts_with("MESSAGE_REACTION_") => {
            guild_or_direct(GUILD_MESSAGE_REACTIONS, DIRECT_MESSAGE_REACTIONS)
        }
        _ if t.starts_with("MESSAGE_") => guild_or_direct(GUILD_MESSAGES, DIRECT_MESSAGES),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_bits() {
        assert_eq!(ALL, 0b11_0011_0001_1111_1111_1111_1111);
        assert_eq!(PRIVILEGED, 2 | 256 | 32768);
    }

    #[test]
    fn events_need_their_intent() {
        assert_eq!(needed("MESSAGE_CREATE", true), Some(GUILD_MESSAGES));
        assert_eq!(needed("MESSAGE_DELETE_BULK", false), Some(DIRECT_MESSAGES));
        assert_eq!(needed("MESSAGE_REACTION_REMOVE_ALL", true), Some(GUILD_MESSAGE_REACTIONS));
        assert_eq!(needed("MESSAGE_POLL_VOTE_ADD", true), Some(GUILD_MESSAGE_POLLS));
        assert_eq!(needed("GUILD_ROLE_CREATE", true), Some(GUILDS));
        assert_eq!(needed("CHANNEL_UPDATE", true), Some(GUILDS));
        assert_eq!(needed("THREAD_LIST_SYNC", true), Some(GUILDS));
        assert_eq!(needed("GUILD_SCHEDULED_EVENT_USER_ADD", true), Some(GUILD_SCHEDULED_EVENTS));
        assert_eq!(needed("GUILD_SOUNDBOARD_SOUNDS_UPDATE", true), Some(GUILD_EXPRESSIONS));
        // Answers to commands and events of no intent.
        for free in [
            "READY",
            "RESUMED",
            "GUILD_MEMBERS_CHUNK",
            "SOUNDBOARD_SOUNDS",
            "CHANNEL_INFO",
            "RATE_LIMITED",
            "INTERACTION_CREATE",
            "VOICE_SERVER_UPDATE",
            "USER_UPDATE",
            "ENTITLEMENT_CREATE",
            "SOMETHING_NEW",
        ] {
            assert_eq!(needed(free, true), None, "{free}");
        }
    }
}
