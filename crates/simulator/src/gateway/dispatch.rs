//! Events on their way to sessions: what is sent, to whom, and the text of it.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::intents;
use crate::world::World;
use crate::world::guild::Viewer;
use crate::world::live::GuildLive;
use crate::world::member::Member;
use crate::world::presence::Presence;
use crate::world::snowflake::Snowflake;
use crate::world::to_json;

/// Most members in one chunk.
const CHUNK: usize = 1000;

/// Where an event happens, which decides the shard it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In a guild: its shard by the formula.
    Guild(Snowflake),
    /// Outside of guilds: shard 0.
    Direct,
}

/// An event to be dispatched, encoded once for all sessions.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) t: Cow<'static, str>,
    pub(crate) scope: Scope,
    pub(crate) d: Arc<str>,
    /// What sessions without `MESSAGE_CONTENT` get instead, where that differs.
    pub(crate) blank: Option<Arc<str>>,
    /// The world event's number.
    pub(crate) number: Option<u64>,
    /// Send it whatever the session's intents are.
    pub(crate) ignore_intents: bool,
}

impl Event {
    /// An event that looks the same to everyone.
    pub(crate) fn new(
        t: impl Into<Cow<'static, str>>,
        scope: Scope,
        d: impl Into<Arc<str>>,
    ) -> Self {
        Self { t: t.into(), scope, d: d.into(), blank: None, number: None, ignore_intents: false }
    }

    /// What a session with these intents gets of it, if anything.
    pub(crate) fn for_intents(&self, intents: u64) -> Option<&Arc<str>> {
        let in_guild = matches!(self.scope, Scope::Guild(_));
        let needed = intents::needed(&self.t, in_guild);
        if !self.ignore_intents && needed.is_some_and(|needed| needed & intents == 0) {
            return None;
        }
        match &self.blank {
            Some(blank) if intents & intents::MESSAGE_CONTENT == 0 => Some(blank),
            _ => Some(&self.d),
        }
    }
}

/// The `d` of a dispatch as a session keeps it: large ones are made when they are sent.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// The text itself.
    Json(Arc<str>),
    /// A text that never differs.
    Fixed(&'static str),
    /// A READY of this text with so many bytes of filler in it.
    Ready { d: Arc<str>, padding: usize },
    /// A `GUILD_CREATE` of this guild, made for the session's intents.
    GuildCreate(u32),
    /// Part `index` of an answer to a request for members.
    Chunk { request: Arc<ChunkRequest>, index: usize },
}

impl Body {
    /// The text, made from the guild's state.
    pub(crate) fn render(&self, world: &World, live: &GuildLive, viewer: Viewer) -> Arc<str> {
        match self {
            Self::Json(text) => text.clone(),
            Self::Fixed(text) => (*text).into(),
            Self::Ready { d, padding: 0 } => d.clone(),
            Self::Ready { d, padding } => {
                let open = d.strip_suffix('}').unwrap_or(d);
                format!("{open},\"_padding\":\"{}\"}}", "0123456789abcdef".repeat(padding / 16))
                    .into()
            }
            Self::GuildCreate(guild) => world.guild_create(*guild, live, viewer).into(),
            Self::Chunk { request, index } => request.render(world, live, *index).into(),
        }
    }

    /// The guild whose state the text depends on.
    pub(crate) fn guild(&self) -> Option<u32> {
        match self {
            Self::Json(_) | Self::Fixed(_) | Self::Ready { .. } => None,
            Self::GuildCreate(guild) => Some(*guild),
            Self::Chunk { request, .. } => Some(request.guild),
        }
    }

    /// Bytes it takes to keep.
    pub(crate) fn kept_bytes(&self) -> usize {
        match self {
            Self::Json(text) | Self::Ready { d: text, .. } => text.len(),
            Self::Fixed(_) | Self::GuildCreate(_) => 0,
            Self::Chunk { request, .. } => 64 + 4 * request.members.len() / request.count(),
        }
    }
}

/// An answered request for members, in parts of a thousand.
#[derive(Debug)]
pub(crate) struct ChunkRequest {
    pub(crate) guild: u32,
    /// Member indexes that match.
    pub(crate) members: Vec<u32>,
    pub(crate) not_found: Vec<Value>,
    pub(crate) presences: bool,
    pub(crate) nonce: Option<String>,
}

impl ChunkRequest {
    /// How many parts there are; an empty answer is one.
    pub(crate) fn count(&self) -> usize {
        self.members.len().div_ceil(CHUNK).max(1)
    }

    /// <https://docs.discord.com/developers/events/gateway-events#guild-members-chunk>
    fn render(&self, world: &World, live: &GuildLive, index: usize) -> String {
        let from = (index * CHUNK).min(self.members.len());
        let to = (from + CHUNK).min(self.members.len());
        let part = &self.members[from..to];
        let members: Vec<Member> =
            part.iter().map(|&member| world.member(self.guild, member, live)).collect();
        let mut d = json!({
            "members": members, "guild_id": world.guild_id(self.guild),
            "chunk_index": index, "chunk_count": self.count(),
        });
        if self.presences {
            let online = |&&member: &&u32| world.is_online(self.guild, member);
            let presences: Vec<Presence> = part
                .iter()
                .filter(online)
                .map(|&member| world.first_presence(self.guild, member))
                .collect();
            d["presences"] = json!(presences);
        }
        if let Some(nonce) = &self.nonce {
            d["nonce"] = json!(nonce);
        }
        if !self.not_found.is_empty() && index == 0 {
            d["not_found"] = json!(self.not_found);
        }
        to_json(&d)
    }
}

/// A dispatch as Discord writes it: `t` and `s` come first.
pub(crate) fn dispatch_text(t: &str, s: u64, d: &str) -> String {
    let mut text = String::with_capacity(t.len() + d.len() + 48);
    text.push_str("{\"t\":");
    // Names come from the control API too and need not be harmless.
    text.push_str(&to_json(&t));
    text.push_str(",\"s\":");
    text.push_str(&s.to_string());
    text.push_str(",\"op\":0,\"d\":");
    text.push_str(d);
    text.push('}');
    text
}

/// A payload that is no dispatch, as Discord writes it.
pub(crate) fn control_text(op: u64, d: &Value) -> String {
    format!("{{\"t\":null,\"s\":null,\"op\":{op},\"d\":{d}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_as_discord_sends_them() {
        assert_eq!(dispatch_text("X", 7, "{}"), r#"{"t":"X","s":7,"op":0,"d":{}}"#);
        assert_eq!(control_text(11, &Value::Null), r#"{"t":null,"s":null,"op":11,"d":null}"#);
    }

    #[test]
    fn intents_pick_the_text() {
        let mut event = Event::new("MESSAGE_CREATE", Scope::Guild(Snowflake(1)), "full");
        event.blank = Some("blank".into());
        let text = |intents| event.for_intents(intents).map(|text| &**text);
        assert_eq!(text(intents::GUILDS), None);
        assert_eq!(text(intents::GUILD_MESSAGES), Some("blank"));
        assert_eq!(text(intents::GUILD_MESSAGES | intents::MESSAGE_CONTENT), Some("full"));
        let direct = Event { scope: Scope::Direct, ..event.clone() };
        assert!(direct.for_intents(intents::GUILD_MESSAGES).is_none());
        assert!(direct.for_intents(intents::DIRECT_MESSAGES).is_some());
        let forced = Event { ignore_intents: true, ..event.clone() };
        assert!(forced.for_intents(0).is_some());
    }
}
