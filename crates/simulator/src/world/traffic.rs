//! What goes on in the world by itself: seeded events in the mix of a real bot's day.
//!
//! Every event carries a global number: as the string `nonce`, and messages also as `#123` at the
//! end of their content. The ledger knows which session was sent which number, so a host that
//! reads the numbers can be checked for losses and doubles.

use fastrand::Rng;
use serde::Serialize;
use serde_json::{Value, json};

use super::live::GuildLive;
use super::member::Member;
use super::message::{Message, Place};
use super::snowflake::Snowflake;
use super::user::User;
use super::{World, to_json, words};

/// What kind of thing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    /// `MESSAGE_CREATE`: 60 of 100.
    Message,
    /// `PRESENCE_UPDATE`: 15 of 100.
    Presence,
    /// `TYPING_START`: 10 of 100.
    Typing,
    /// `GUILD_MEMBER_UPDATE`: 10 of 100.
    MemberUpdate,
    /// `MESSAGE_REACTION_ADD`: 5 of 100.
    Reaction,
}

impl Happening {
    /// The event's name.
    pub(crate) fn t(self) -> &'static str {
        match self {
            Self::Message => "MESSAGE_CREATE",
            Self::Presence => "PRESENCE_UPDATE",
            Self::Typing => "TYPING_START",
            Self::MemberUpdate => "GUILD_MEMBER_UPDATE",
            Self::Reaction => "MESSAGE_REACTION_ADD",
        }
    }
}

/// One event to be: who, where and what, without its text yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    pub(crate) what: Happening,
    pub(crate) guild: u32,
    /// A text channel's index.
    pub(crate) channel: u16,
    /// A member's index, never the bot's.
    pub(crate) member: u32,
    /// Decides the details.
    pub(crate) roll: u64,
}

/// Chooses what happens next in one of these guilds.
///
/// Always draws the same amount from `rng`, so the sequence of scenes does not depend on who
/// listens.
pub(crate) fn next_scene(world: &World, guilds: &[u32], rng: &mut Rng) -> Option<Scene> {
    let (kind, place, roll) = (rng.u32(..100), rng.u64(..), rng.u64(..));
    if guilds.is_empty() || world.members_per_guild < 2 {
        return None;
    }
    let what = match kind {
        0..60 => Happening::Message,
        60..75 => Happening::Presence,
        75..85 => Happening::Typing,
        85..95 => Happening::MemberUpdate,
        _ => Happening::Reaction,
    };
    let channels = world.text_channels();
    Some(Scene {
        what,
        guild: guilds[(place % guilds.len() as u64) as usize],
        channel: channels.start + ((place >> 40) % channels.len() as u64) as u16,
        member: 1 + ((roll >> 8) % u64::from(world.members_per_guild - 1)) as u32,
        roll,
    })
}

impl Scene {
    /// The message of this scene.
    pub(crate) fn message(
        &self,
        world: &World,
        number: u64,
        id: Snowflake,
        unix_ms: u64,
    ) -> Message {
        let mut rng = Rng::with_seed(self.roll);
        let text = words::sentence(&mut rng, 12 + (self.roll % 40) as usize);
        let mut message = Message::plain(
            id,
            world.channel_id(self.guild, self.channel),
            Place::Guild { guild: self.guild, index: self.channel },
            world.member_id(self.guild, self.member),
            format!("{text} #{number}"),
            unix_ms,
        );
        message.nonce = Some(Value::String(number.to_string()));
        if self.roll.is_multiple_of(6) {
            let other = 1 + (self.roll >> 30) % u64::from(world.members_per_guild - 1);
            let user = world.member_id(self.guild, other as u32);
            message.content = format!("<@{user}> {}", message.content);
            message.mentions.push(user);
        }
        if self.roll.is_multiple_of(5) {
            message.embeds.push(json!({
                "type": "article", "url": "https://example.com/news/4711",
                "title": words::sentence(&mut rng, 6), "color": 3_447_003,
                "description": words::sentence(&mut rng, 18),
                "provider": {"name": "Example News"},
            }));
        }
        if self.roll.is_multiple_of(7) {
            let hash = words::image_hash(world.seed, self.roll, number);
            let url = format!("/attachments/{}/{id}/screenshot.png", message.channel_id);
            message.attachments.push(json!({
                "width": 1920, "url": format!("https://cdn.example.com{url}?hm={hash}"),
                "size": 100_000 + self.roll % 900_000, "placeholder_version": 1,
                "proxy_url": format!("https://media.example.com{url}?hm={hash}"),
                "id": id, "height": 1080, "filename": "screenshot.png",
                "content_type": "image/png",
            }));
        }
        message
    }

    /// The `d` of every other kind of event. A reaction needs the message it is for.
    pub(crate) fn event(
        &self,
        world: &World,
        live: &GuildLive,
        number: u64,
        unix_ms: u64,
        reacted: Option<(Snowflake, Snowflake)>,
    ) -> String {
        let guild_id = world.guild_id(self.guild);
        let channel_id = world.channel_id(self.guild, self.channel);
        let nonce = number.to_string();
        match self.what {
            Happening::Presence | Happening::Message => {
                let mut presence = world.presence(self.guild, self.member, self.roll >> 5);
                presence.nonce = Some(nonce);
                presence.guild_id = Some(guild_id);
                to_json(&presence)
            }
            Happening::Typing => to_json(&Typing {
                user_id: world.member_id(self.guild, self.member),
                timestamp: unix_ms / 1000,
                nonce,
                member: world.member(self.guild, self.member, live),
                channel_id,
                guild_id,
            }),
            Happening::MemberUpdate => {
                let mut member = world.member(self.guild, self.member, live);
                member.nick = Some(words::display_name(world.seed, self.roll, self.member));
                to_json(&MemberUpdate { member, nonce, guild_id })
            }
            Happening::Reaction => {
                let (message_id, author) = reacted.unwrap_or_else(|| {
                    (Snowflake(guild_id.0 + (self.roll >> 24)), world.owner_id(self.guild))
                });
                to_json(&Reaction {
                    user_id: world.member_id(self.guild, self.member),
                    kind: 0,
                    nonce,
                    message_id,
                    message_author_id: author,
                    member: world.member(self.guild, self.member, live),
                    emoji: json!({"name": "🔥", "id": null}),
                    channel_id,
                    burst: false,
                    guild_id,
                })
            }
        }
    }
}

/// <https://docs.discord.com/developers/events/gateway-events#typing-start>
#[derive(Serialize)]
struct Typing {
    user_id: Snowflake,
    timestamp: u64,
    nonce: String,
    member: Member,
    channel_id: Snowflake,
    guild_id: Snowflake,
}

/// <https://docs.discord.com/developers/events/gateway-events#guild-member-update>
#[derive(Serialize)]
struct MemberUpdate {
    #[serde(flatten)]
    member: Member,
    nonce: String,
    guild_id: Snowflake,
}

/// <https://docs.discord.com/developers/events/gateway-events#message-reaction-add>
#[derive(Serialize)]
struct Reaction {
    user_id: Snowflake,
    #[serde(rename = "type")]
    kind: u8,
    nonce: String,
    message_id: Snowflake,
    message_author_id: Snowflake,
    member: Member,
    emoji: Value,
    channel_id: Snowflake,
    burst: bool,
    guild_id: Snowflake,
}

/// The `d` of a `TYPING_START` that someone made happen.
pub(crate) fn typing(
    user: &User,
    member: Option<Member>,
    channel_id: Snowflake,
    guild_id: Option<Snowflake>,
    unix_ms: u64,
) -> Value {
    let mut d = json!({"user_id": user.id, "timestamp": unix_ms / 1000, "channel_id": channel_id});
    if let (Some(member), Some(guild_id)) = (member, guild_id) {
        d["member"] = json!(member);
        d["guild_id"] = json!(guild_id);
    }
    d
}

#[cfg(test)]
mod tests {
    use super::super::message::Form;
    use super::*;
    use crate::options::Options;

    #[test]
    fn the_mix_and_the_size_are_those_of_a_real_bot() {
        let world = World::new(&Options::default());
        let guilds: Vec<u32> = (0..8).collect();
        let mut rng = Rng::with_seed(4);
        let live = GuildLive::default();
        let (mut kinds, mut bytes) = ([0_usize; 5], 0);
        for number in 0..10_000 {
            let scene = next_scene(&world, &guilds, &mut rng).unwrap();
            kinds[scene.what as usize] += 1;
            if scene.what == Happening::Message {
                let message = scene.message(&world, number, Snowflake(number), 1_767_225_600_000);
                let json = message.json(&world, &live, Form::Event);
                assert!(json.contains(&format!(" #{number}\"")), "{json}");
                bytes += json.len();
            } else {
                let d = scene.event(&world, &live, number, 0, None);
                let d: Value = serde_json::from_str(&d).unwrap();
                assert_eq!(d["nonce"], number.to_string());
                assert_eq!(d["guild_id"], json!(world.guild_id(scene.guild)));
            }
        }
        let percent = kinds.map(|count| count / 100);
        for (have, want) in percent.into_iter().zip([60, 15, 10, 10, 5]) {
            assert!(have.abs_diff(want) <= 1, "{percent:?}");
        }
        let mean = bytes / kinds[0];
        assert!((1_050..1_350).contains(&mean), "a message has {mean} bytes");
    }
}
