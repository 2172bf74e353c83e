//! Messages: <https://docs.discord.com/developers/resources/message#message-object>, and the
//! bounded store that keeps the newest ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::channel::channel_type;
use super::live::GuildLive;
use super::member::Member;
use super::snowflake::Snowflake;
use super::user::User;
use super::{World, to_json};
use crate::clock::iso8601;

/// Most messages the whole store keeps, whatever each channel may.
const MAX_MESSAGES: usize = 50_000;

/// The message flag that hides a message from all but the user and the bot.
pub(crate) const EPHEMERAL: u64 = 1 << 6;

/// The message flag of a deferred interaction answer.
pub(crate) const LOADING: u64 = 1 << 7;

/// A message of type 19, an answer to another.
pub(crate) const REPLY: u8 = 19;

/// A message of type 20, the answer to a slash command.
pub(crate) const CHAT_INPUT_COMMAND: u8 = 20;

/// Where a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Channel `index` of guild `guild`, both by number.
    Guild { guild: u32, index: u16 },
    /// A direct channel with this user.
    Direct { user: Snowflake },
}

impl Place {
    /// The guild's number, if it is in one.
    pub(crate) fn guild(self) -> Option<u32> {
        match self {
            Self::Guild { guild, .. } => Some(guild),
            Self::Direct { .. } => None,
        }
    }
}

/// A stored message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: Snowflake,
    pub(crate) channel_id: Snowflake,
    pub(crate) place: Place,
    pub(crate) author: Snowflake,
    pub(crate) content: String,
    pub(crate) created_ms: u64,
    pub(crate) edited_ms: Option<u64>,
    pub(crate) kind: u8,
    pub(crate) flags: u64,
    pub(crate) tts: bool,
    pub(crate) mention_everyone: bool,
    pub(crate) mentions: Vec<Snowflake>,
    pub(crate) mention_roles: Vec<Snowflake>,
    pub(crate) attachments: Vec<Value>,
    pub(crate) embeds: Vec<Value>,
    pub(crate) components: Vec<Value>,
    pub(crate) poll: Option<Value>,
    pub(crate) nonce: Option<Value>,
    pub(crate) reference: Option<Value>,
    pub(crate) referenced: Option<Arc<Message>>,
    pub(crate) reactions: Vec<Reaction>,
    pub(crate) webhook_id: Option<Snowflake>,
    pub(crate) interaction: Option<Value>,
}

/// Who reacted with one emoji.
#[derive(Debug, Clone)]
pub(crate) struct Reaction {
    /// The partial emoji: `{"id":…,"name":…}`.
    pub(crate) emoji: Value,
    pub(crate) users: Vec<Snowflake>,
}

/// Which form of a message is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As an answer of REST.
    Rest,
    /// As the `d` of an event, with guild and member.
    Event,
    /// As the `d` of an event for a session that may not see the content.
    BlankEvent,
}

/// A message as it is written: keys as Discord's gateway orders them, `guild_id` last.
#[derive(Serialize)]
#[expect(clippy::option_option, reason = "absent, null and a value differ in JSON")]
struct View<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_id: Option<Snowflake>,
    #[serde(rename = "type")]
    kind: u8,
    tts: bool,
    timestamp: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reactions: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referenced_message: Option<Option<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    poll: Option<&'a Value>,
    pinned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_reference: Option<&'a Value>,
    mentions: Vec<Mention>,
    mention_roles: &'a [Snowflake],
    mention_everyone: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<Member>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interaction_metadata: Option<&'a Value>,
    id: Snowflake,
    flags: u64,
    embeds: &'a [Value],
    edited_timestamp: Option<String>,
    content: &'a str,
    components: &'a [Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_type: Option<u8>,
    channel_id: Snowflake,
    author: User,
    attachments: &'a [Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    application_id: Option<Snowflake>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guild_id: Option<Snowflake>,
}

#[derive(Serialize)]
struct Mention {
    #[serde(flatten)]
    user: User,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<Member>,
}

impl Message {
    /// A plain message with nothing but a text.
    pub(crate) fn plain(
        id: Snowflake,
        channel_id: Snowflake,
        place: Place,
        author: Snowflake,
        content: String,
        created_ms: u64,
    ) -> Self {
        Self {
            id,
            channel_id,
            place,
            author,
            content,
            created_ms,
            edited_ms: None,
            kind: 0,
            flags: 0,
            tts: false,
            mention_everyone: false,
            mentions: Vec::new(),
            mention_roles: Vec::new(),
            attachments: Vec::new(),
            embeds: Vec::new(),
            components: Vec::new(),
            poll: None,
            nonce: None,
            reference: None,
            referenced: None,
            reactions: Vec::new(),
            webhook_id: None,
            interaction: None,
        }
    }

    /// Whether only one user and the bot can see it.
    pub(crate) fn is_ephemeral(&self) -> bool {
        self.flags & EPHEMERAL != 0
    }

    /// Whether the bot may read it without the `MESSAGE_CONTENT` intent.
    /// <https://docs.discord.com/developers/events/gateway#message-content-intent>
    pub(crate) fn is_open_to(&self, bot: Snowflake) -> bool {
        self.author == bot || self.place.guild().is_none() || self.mentions.contains(&bot)
    }

    /// The message as JSON.
    pub(crate) fn json(&self, world: &World, live: &GuildLive, form: Form) -> String {
        to_json(&self.view(world, live, form))
    }

    fn view<'a>(&'a self, world: &World, live: &GuildLive, form: Form) -> View<'a> {
        let blank = form == Form::BlankEvent;
        let event = form != Form::Rest;
        let guild = self.place.guild().filter(|_| event && !self.is_ephemeral());
        let member = |user| {
            let guild = guild?;
            world.member_index(guild, user).map(|index| world.partial_member(guild, index, live))
        };
        let mention = |&user: &Snowflake| {
            world.user(user).map(|object| Mention { user: object, member: member(user) })
        };
        let channel_type = match self.place {
            Place::Guild { index, .. } => world.channel_type(index),
            Place::Direct { .. } => channel_type::DM,
        };
        let referenced = self.referenced.as_ref().map(|message| {
            let form = if event { Form::Event } else { Form::Rest };
            let form =
                if blank && !message.is_open_to(world.bot) { Form::BlankEvent } else { form };
            let mut view = message.view(world, live, form);
            view.member = None;
            view.guild_id = None;
            view.channel_type = None;
            // One level deep, as Discord does.
            view.referenced_message = None;
            serde_json::to_value(view).unwrap_or_default()
        });
        let list = |values: &'a [Value]| if blank { &[][..] } else { values };
        View {
            webhook_id: self.webhook_id,
            kind: self.kind,
            tts: self.tts,
            timestamp: iso8601(self.created_ms),
            reactions: self.reaction_counts(world.bot),
            referenced_message: (self.kind == REPLY).then_some(referenced),
            poll: self.poll.as_ref().filter(|_| !blank),
            pinned: false,
            nonce: self.nonce.as_ref(),
            message_reference: self.reference.as_ref(),
            mentions: self.mentions.iter().filter_map(mention).collect(),
            mention_roles: &self.mention_roles,
            mention_everyone: self.mention_everyone,
            member: if self.webhook_id.is_none() { member(self.author) } else { None },
            interaction_metadata: self.interaction.as_ref(),
            id: self.id,
            flags: self.flags,
            embeds: list(&self.embeds),
            edited_timestamp: self.edited_ms.map(iso8601),
            content: if blank { "" } else { &self.content },
            components: list(&self.components),
            channel_type: event.then_some(channel_type),
            channel_id: self.channel_id,
            author: world.user(self.author).unwrap_or_else(|| world.bot_user()),
            attachments: list(&self.attachments),
            application_id: self.webhook_id,
            guild_id: guild.map(|guild| world.guild_id(guild)),
        }
    }

    fn reaction_counts(&self, bot: Snowflake) -> Vec<Value> {
        let count = |reaction: &Reaction| {
            let count = reaction.users.len();
            json!({
                "me_burst": false, "me": reaction.users.contains(&bot), "emoji": reaction.emoji,
                "count_details": {"normal": count, "burst": 0}, "count": count,
                "burst_me": false, "burst_count": 0, "burst_colors": [],
            })
        };
        self.reactions.iter().map(count).collect()
    }
}

/// The newest messages of every channel, oldest first.
#[derive(Debug)]
pub(crate) struct Messages {
    channels: BTreeMap<Snowflake, VecDeque<Arc<Message>>>,
    /// Channels in the order their messages came, to find the oldest message of all.
    order: VecDeque<Snowflake>,
    per_channel: usize,
}

impl Messages {
    /// An empty store that keeps this many messages of each channel.
    pub(crate) fn new(per_channel: usize) -> Self {
        Self { channels: BTreeMap::new(), order: VecDeque::new(), per_channel }
    }

    /// Keeps a message, dropping the oldest where a bound is reached.
    pub(crate) fn add(&mut self, message: Arc<Message>) {
        let channel = message.channel_id;
        let list = self.channels.entry(channel).or_default();
        list.push_back(message);
        if list.len() > self.per_channel {
            list.pop_front();
        }
        self.order.push_back(channel);
        // An entry of a message that has already left its channel removes one that is a little
        // younger than the oldest; the bound holds all the same.
        if self.order.len() > MAX_MESSAGES
            && let Some(oldest) = self.order.pop_front()
            && let Some(list) = self.channels.get_mut(&oldest)
        {
            list.pop_front();
            if list.is_empty() {
                self.channels.remove(&oldest);
            }
        }
    }

    /// The messages of a channel, oldest first.
    pub(crate) fn of(&self, channel: Snowflake) -> impl DoubleEndedIterator<Item = &Arc<Message>> {
        self.channels.get(&channel).into_iter().flatten()
    }

    /// One message.
    pub(crate) fn get(&self, channel: Snowflake, id: Snowflake) -> Option<&Arc<Message>> {
        self.of(channel).rev().find(|message| message.id == id)
    }

    /// One message, to change.
    pub(crate) fn get_mut(&mut self, channel: Snowflake, id: Snowflake) -> Option<&mut Message> {
        let list = self.channels.get_mut(&channel)?;
        list.iter_mut().rev().find(|message| message.id == id).map(Arc::make_mut)
    }

    /// Takes a message out.
    pub(crate) fn remove(&mut self, channel: Snowflake, id: Snowflake) -> Option<Arc<Message>> {
        let list = self.channels.get_mut(&channel)?;
        let at = list.iter().position(|message| message.id == id)?;
        list.remove(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn message(channel: u64, id: u64) -> Arc<Message> {
        let place = Place::Direct { user: Snowflake(1) };
        let (id, channel) = (Snowflake(id), Snowflake(channel));
        Arc::new(Message::plain(id, channel, place, Snowflake(2), "x".to_owned(), 0))
    }

    #[test]
    fn a_channel_keeps_its_newest() {
        let mut messages = Messages::new(3);
        for id in 0..10 {
            messages.add(message(1, id));
        }
        let ids: Vec<u64> = messages.of(Snowflake(1)).map(|message| message.id.0).collect();
        assert_eq!(ids, [7, 8, 9]);
        assert!(messages.remove(Snowflake(1), Snowflake(8)).is_some());
        assert!(messages.get(Snowflake(1), Snowflake(8)).is_none());
    }

    #[test]
    fn the_store_is_bounded_over_all_channels() {
        let mut messages = Messages::new(3);
        for id in 0..(MAX_MESSAGES as u64 + 500) {
            messages.add(message(id, id));
        }
        assert_eq!(messages.channels.len(), MAX_MESSAGES);
        assert!(messages.get(Snowflake(0), Snowflake(0)).is_none());
    }

    #[test]
    fn content_is_blank_without_the_intent_but_not_all_of_it() {
        let world = World::new(&Options::default());
        let live = GuildLive::default();
        let place = Place::Guild { guild: 0, index: 1 };
        let author = world.member_id(0, 2);
        let channel = world.channel_id(0, 1);
        let mut message =
            Message::plain(Snowflake(9), channel, place, author, "secret".to_owned(), 0);
        message.embeds.push(json!({"title": "secret"}));
        message.poll = Some(json!({"question": "secret"}));
        assert!(!message.is_open_to(world.bot));
        let blank = message.json(&world, &live, Form::BlankEvent);
        assert!(!blank.contains("secret"), "{blank}");
        assert!(blank.contains("\"content\":\"\""));
        assert!(blank.ends_with(&format!("\"guild_id\":\"{}\"}}", world.guild_id(0))));
        message.mentions.push(world.bot);
        assert!(message.is_open_to(world.bot));
    }
}
