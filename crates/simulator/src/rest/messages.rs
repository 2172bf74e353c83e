//! Channels, their messages and reactions.
//!
//! <https://docs.discord.com/developers/resources/message>

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::call::{Body, Call};
use super::guilds::limit;
use super::reply::{ApiError, Reply, Result};
use super::route::Route;
use crate::gateway::dispatch::Event;
use crate::state::State;
use crate::world::channel::channel_type;
use crate::world::message::{Message, Place, REPLY};
use crate::world::snowflake::Snowflake;

/// Longest content of a message, in characters.
const MAX_CONTENT: usize = 2_000;

/// Most embeds of a message.
const MAX_EMBEDS: usize = 10;

/// Most attachments of a message.
const MAX_ATTACHMENTS: usize = 10;

/// Longest nonce.
const MAX_NONCE: usize = 25;

impl State {
    pub(super) fn channel_route(&mut self, route: &Route, call: &Call) -> Result {
        let (Route::Channel(channel)
        | Route::Messages(channel)
        | Route::Message { channel, .. }
        | Route::BulkDelete(channel)
        | Route::Reactions { channel, .. }
        | Route::Reaction { channel, .. }
        | Route::Typing(channel)) = route
        else {
            return Err(ApiError::not_found());
        };
        let channel = *channel;
        let place = self.place(channel).ok_or_else(ApiError::unknown_channel)?;
        match (route, call.method.as_str()) {
            (Route::Channel(_), "GET") => Ok(Reply::ok(&self.channel_object(channel, place))),
            (Route::Channel(_), "PATCH") => self.edit_channel(channel, place, call),
            (Route::Messages(_), "GET") => self.list_messages(channel, call),
            (Route::Messages(_), "POST") => {
                if let Some(message) = self.same_nonce(channel, call) {
                    return Ok(Reply::ok(&self.message_value(&message)));
                }
                let message = self.new_message(channel, place, call.object_or_files()?, call)?;
                let message = self.publish(message, None);
                Ok(Reply::ok(&self.message_value(&message)))
            }
            (Route::Message { message, .. }, "GET") => {
                let message = self.messages.get(channel, *message).cloned();
                let message = message.ok_or_else(ApiError::unknown_message)?;
                Ok(Reply::ok(&self.message_value(&message)))
            }
            (Route::Message { message, .. }, "PATCH") => {
                let found = self.messages.get(channel, *message);
                let found = found.ok_or_else(ApiError::unknown_message)?;
                if found.author != self.world.bot {
                    return Err(ApiError::not_author());
                }
                self.edit_message(channel, *message, call)
            }
            (Route::Message { message, .. }, "DELETE") => {
                match self.delete_messages(channel, &[*message], false) {
                    0 => Err(ApiError::unknown_message()),
                    _ => Ok(Reply::empty()),
                }
            }
            (Route::BulkDelete(_), "POST") => self.bulk_delete(channel, call),
            (Route::Reactions { message, emoji, .. }, "GET") => {
                let emoji = emoji.as_deref().ok_or_else(ApiError::method_not_allowed)?;
                self.list_reactions(channel, *message, emoji, call)
            }
            (Route::Reactions { message, emoji, .. }, "DELETE") => {
                let emoji = emoji.as_deref().map(parse_emoji).transpose()?;
                self.remove_reactions(channel, *message, emoji.as_ref(), None)
                    .ok_or_else(ApiError::unknown_message)?;
                Ok(Reply::empty())
            }
            (Route::Reaction { message, emoji, user: None, .. }, "PUT") => {
                let emoji = parse_emoji(emoji)?;
                self.add_reaction(channel, *message, self.world.bot, &emoji)
                    .ok_or_else(ApiError::unknown_message)?;
                Ok(Reply::empty())
            }
            (Route::Reaction { message, emoji, user, .. }, "DELETE") => {
                let emoji = parse_emoji(emoji)?;
                let user = user.unwrap_or(self.world.bot);
                self.remove_reactions(channel, *message, Some(&emoji), Some(user))
                    .ok_or_else(ApiError::unknown_message)?;
                Ok(Reply::empty())
            }
            (Route::Typing(_), "POST") => {
                self.start_typing(channel, self.world.bot).ok_or_else(ApiError::unknown_channel)?;
                Ok(Reply::empty())
            }
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    fn channel_object(&self, channel: Snowflake, place: Place) -> Value {
        match place {
            Place::Direct { user } => self.direct_object(channel, user),
            Place::Guild { guild, index } => {
                json!(self.world.channel(guild, index, &self.live.guild(guild)))
            }
        }
    }

    /// <https://docs.discord.com/developers/resources/channel#modify-channel>
    fn edit_channel(&mut self, channel: Snowflake, place: Place, call: &Call) -> Result {
        let Place::Guild { guild, index } = place else {
            return Err(ApiError::new(403, 50_003, "Cannot execute action on a DM channel"));
        };
        let body = call.object()?;
        let name = match body.get("name") {
            None => None,
            Some(Value::String(name)) if (1..=100).contains(&name.chars().count()) => {
                Some(name.clone())
            }
            Some(_) => {
                let message = "Must be between 1 and 100 in length.";
                return Err(ApiError::form("name", "BASE_TYPE_BAD_LENGTH", message));
            }
        };
        let topic = match body.get("topic") {
            None => None,
            Some(Value::Null) => Some(None),
            Some(Value::String(topic)) if topic.chars().count() <= 1024 => {
                Some(Some(topic.clone()))
            }
            Some(_) => {
                let message = "Must be 1024 or fewer in length.";
                return Err(ApiError::form("topic", "BASE_TYPE_BAD_LENGTH", message));
            }
        };
        let edit = self.live.edit(guild).channels.entry(index).or_default();
        if name.is_some() {
            edit.name = name;
        }
        if topic.is_some() {
            edit.topic = topic;
        }
        let object = self.channel_object(channel, place);
        self.dispatch(&Event::new("CHANNEL_UPDATE", self.scope(place), object.to_string()));
        Ok(Reply::ok(&object))
    }

    fn list_messages(&self, channel: Snowflake, call: &Call) -> Result {
        let limit = limit(call, 50, 100)?;
        let id = |name: &str| call.parameter(name).and_then(|id| id.parse::<Snowflake>().ok());
        let all = || self.messages.of(channel);
        // Newest first, as Discord answers.
        let mut page: Vec<&Arc<Message>> = if let Some(after) = id("after") {
            let mut page: Vec<_> = all().filter(|message| message.id > after).take(limit).collect();
            page.reverse();
            page
        } else if let Some(around) = id("around") {
            let half = limit / 2;
            let mut page: Vec<_> =
                all().rev().filter(|message| message.id <= around).take(half + 1).collect();
            let newer = all().filter(|message| message.id > around).take(half);
            page.extend(newer);
            page.sort_unstable_by_key(|message| std::cmp::Reverse(message.id));
            page
        } else {
            let before = id("before").unwrap_or(Snowflake(u64::MAX));
            all().rev().filter(|message| message.id < before).take(limit).collect()
        };
        page.truncate(limit);
        let seen = page.into_iter().map(|message| self.readable(message));
        Ok(Reply::ok(&seen.collect::<Vec<_>>()))
    }

    /// A message as REST shows it to a bot that may not have the message content intent.
    fn readable(&self, message: &Message) -> Value {
        let mut value = self.message_value(message);
        if !self.sees_content() && !message.is_open_to(self.world.bot) {
            value["content"] = json!("");
            for list in ["embeds", "attachments", "components"] {
                value[list] = json!([]);
            }
        }
        value
    }

    fn bulk_delete(&mut self, channel: Snowflake, call: &Call) -> Result {
        let ids = call.object()?.get("messages").cloned().unwrap_or_default();
        let ids: Vec<Snowflake> = serde_json::from_value(ids).map_err(|_| {
            ApiError::form("messages", "BASE_TYPE_REQUIRED", "This field is required")
        })?;
        if !(2..=100).contains(&ids.len()) {
            return Err(ApiError::bulk_delete_count());
        }
        self.delete_messages(channel, &ids, true);
        Ok(Reply::empty())
    }

    fn list_reactions(
        &self,
        channel: Snowflake,
        message: Snowflake,
        emoji: &str,
        call: &Call,
    ) -> Result {
        let emoji = parse_emoji(emoji)?;
        let limit = limit(call, 25, 100)?;
        let message = self.messages.get(channel, message).ok_or_else(ApiError::unknown_message)?;
        let reaction = message.reactions.iter().find(|reaction| reaction.emoji == emoji);
        let users = reaction.map(|reaction| reaction.users.as_slice()).unwrap_or_default();
        let users: Vec<_> =
            users.iter().take(limit).filter_map(|user| self.world.user(*user)).collect();
        Ok(Reply::ok(&users))
    }

    /// The message that `enforce_nonce` asks to be given instead of a second one.
    fn same_nonce(&self, channel: Snowflake, call: &Call) -> Option<Arc<Message>> {
        let body = call.object().ok()?;
        if body.get("enforce_nonce") != Some(&json!(true)) {
            return None;
        }
        let nonce = body.get("nonce").filter(|nonce| !nonce.is_null())?;
        let same = |message: &&Arc<Message>| {
            message.author == self.world.bot && message.nonce.as_ref() == Some(nonce)
        };
        self.messages.of(channel).rev().find(same).cloned()
    }

    /// Makes the message that a body describes, and checks all of it.
    pub(super) fn new_message(
        &mut self,
        channel: Snowflake,
        place: Place,
        body: &Map<String, Value>,
        call: &Call,
    ) -> std::result::Result<Message, ApiError> {
        if let Place::Guild { index, .. } = place
            && self.world.channel_type(index) == channel_type::CATEGORY
        {
            return Err(ApiError::not_text());
        }
        let id = self.next_id();
        let unix_ms = self.clock.unix_ms();
        let author = self.world.bot;
        let mut message = Message::plain(id, channel, place, author, String::new(), unix_ms);
        fill(&mut message, body)?;
        message.nonce = nonce(body)?;
        message.tts = flag(body, "tts");
        self.refer(&mut message, body)?;
        self.attach_files(&mut message, body, call)?;
        self.find_mentions(&mut message, body.get("allowed_mentions"));
        let stickers = body.get("sticker_ids").and_then(Value::as_array);
        let empty = message.content.is_empty()
            && message.embeds.is_empty()
            && message.components.is_empty()
            && message.attachments.is_empty()
            && message.poll.is_none()
            && stickers.is_none_or(Vec::is_empty);
        if empty { Err(ApiError::empty_message()) } else { Ok(message) }
    }

    /// The message that another answers.
    fn refer(
        &self,
        message: &mut Message,
        body: &Map<String, Value>,
    ) -> std::result::Result<(), ApiError> {
        let Some(reference) = body.get("message_reference").filter(|value| !value.is_null()) else {
            return Ok(());
        };
        let id: Snowflake =
            serde_json::from_value(reference["message_id"].clone()).map_err(|_| {
                let field = "message_reference.message_id";
                ApiError::form(field, "BASE_TYPE_REQUIRED", "This field is required")
            })?;
        let strict = reference["fail_if_not_exists"] != json!(false);
        match self.messages.get(message.channel_id, id) {
            Some(found) => {
                message.kind = REPLY;
                message.referenced = Some(found.clone());
                let mut reference =
                    json!({"type": 0, "message_id": id, "channel_id": message.channel_id});
                if let Some(guild) = message.place.guild() {
                    reference["guild_id"] = json!(self.world.guild_id(guild));
                }
                message.reference = Some(reference);
                Ok(())
            }
            None if strict => {
                let code = "MESSAGE_REFERENCE_UNKNOWN_MESSAGE";
                Err(ApiError::form("message_reference", code, "Unknown message"))
            }
            None => Ok(()),
        }
    }

    fn attach_files(
        &mut self,
        message: &mut Message,
        body: &Map<String, Value>,
        call: &Call,
    ) -> std::result::Result<(), ApiError> {
        if call.files.len() > MAX_ATTACHMENTS {
            return Err(ApiError::new(400, 30_015, "Maximum number of attachments reached (10)"));
        }
        for file in &call.files {
            let id = self.next_id();
            let number = file.field.trim_start_matches("files[").trim_end_matches(']');
            let described = body.get("attachments").and_then(Value::as_array).and_then(|all| {
                all.iter().find(|one| match &one["id"] {
                    Value::String(id) => id == number,
                    id => id.as_u64().is_some_and(|id| number.parse() == Ok(id)),
                })
            });
            let path = format!("attachments/{}/{id}/{}", message.channel_id, file.name);
            let mut attachment = json!({
                "id": id, "filename": file.name, "size": file.bytes,
                "url": format!("https://cdn.example.com/{path}"),
                "proxy_url": format!("https://media.example.com/{path}"),
            });
            if let Some(kind) = &file.content_type {
                attachment["content_type"] = json!(kind);
            }
            if let Some(description) = described.and_then(|one| one.get("description")) {
                attachment["description"] = description.clone();
            }
            message.attachments.push(attachment);
        }
        Ok(())
    }

    /// Changes the bot's own message as the body says.
    pub(super) fn edit_message(
        &mut self,
        channel: Snowflake,
        id: Snowflake,
        call: &Call,
    ) -> Result {
        let body = call.object_or_files()?;
        let mut changed =
            self.messages.get(channel, id).ok_or_else(ApiError::unknown_message)?.as_ref().clone();
        fill(&mut changed, body)?;
        if body.contains_key("content") {
            self.find_mentions(&mut changed, body.get("allowed_mentions"));
        }
        if let Some(Value::Array(kept)) = body.get("attachments") {
            let stays = |attachment: &Value| kept.iter().any(|one| one["id"] == attachment["id"]);
            changed.attachments.retain(stays);
        }
        self.attach_files(&mut changed, body, call)?;
        let message = self.revise(channel, id, |message| *message = changed);
        let message = message.ok_or_else(ApiError::unknown_message)?;
        Ok(Reply::ok(&self.message_value(&message)))
    }
}

impl Call {
    /// The body of a message: a file alone is enough.
    pub(super) fn object_or_files(&self) -> std::result::Result<&Map<String, Value>, ApiError> {
        static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        match &self.body {
            Body::Empty if !self.files.is_empty() => Ok(&NONE),
            Body::Empty => Err(ApiError::empty_message()),
            _ => self.object(),
        }
    }
}

/// Takes over the fields that creating and editing have in common.
fn fill(message: &mut Message, body: &Map<String, Value>) -> std::result::Result<(), ApiError> {
    match body.get("content") {
        None => {}
        Some(Value::Null) => message.content.clear(),
        Some(Value::String(content)) if content.chars().count() > MAX_CONTENT => {
            let text = format!("Must be {MAX_CONTENT} or fewer in length.");
            return Err(ApiError::form("content", "BASE_TYPE_MAX_LENGTH", &text));
        }
        Some(Value::String(content)) => message.content.clone_from(content),
        // Discord takes numbers too and writes them out.
        Some(number @ Value::Number(_)) => message.content = number.to_string(),
        Some(_) => {
            let text = "Could not interpret the value as string.";
            return Err(ApiError::form("content", "STRING_TYPE_CONVERT", text));
        }
    }
    for (name, list) in [("embeds", &mut message.embeds), ("components", &mut message.components)] {
        match body.get(name) {
            None => {}
            Some(Value::Null) => list.clear(),
            Some(Value::Array(values)) => list.clone_from(values),
            Some(_) => return Err(ApiError::form(name, "BASE_TYPE_LIST", "Must be a list.")),
        }
    }
    if message.embeds.len() > MAX_EMBEDS {
        let text = format!("Must be {MAX_EMBEDS} or fewer in length.");
        return Err(ApiError::form("embeds", "BASE_TYPE_MAX_LENGTH", &text));
    }
    for embed in &mut message.embeds {
        let Value::Object(embed) = embed else {
            let text = "Only dictionaries may be used.";
            return Err(ApiError::form("embeds", "MODEL_TYPE_CONVERT", text));
        };
        embed.insert("type".to_owned(), json!("rich"));
    }
    if let Some(flags) = body.get("flags").and_then(Value::as_u64) {
        message.flags = flags;
    }
    if let Some(poll) = body.get("poll").filter(|poll| !poll.is_null()) {
        message.poll = Some(poll.clone());
    }
    Ok(())
}

fn nonce(body: &Map<String, Value>) -> std::result::Result<Option<Value>, ApiError> {
    match body.get("nonce") {
        None | Some(Value::Null) => Ok(None),
        Some(nonce @ Value::Number(number)) if number.is_i64() || number.is_u64() => {
            Ok(Some(nonce.clone()))
        }
        Some(nonce @ Value::String(text)) if text.chars().count() <= MAX_NONCE => {
            Ok(Some(nonce.clone()))
        }
        Some(_) => {
            let text = format!("Must be {MAX_NONCE} or fewer in length.");
            Err(ApiError::form("nonce", "BASE_TYPE_MAX_LENGTH", &text))
        }
    }
}

fn flag(body: &Map<String, Value>, name: &str) -> bool {
    match body.get(name) {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(text)) => text == "true",
        _ => false,
    }
}

/// An emoji of a path: a character, or `name:id`.
fn parse_emoji(text: &str) -> std::result::Result<Value, ApiError> {
    match text.rsplit_once(':') {
        Some((name, id)) => {
            let id: Snowflake =
                id.parse().map_err(|_| ApiError::new(400, 10_014, "Unknown Emoji"))?;
            Ok(json!({"id": id, "name": name.trim_start_matches("a:")}))
        }
        None if text.is_ascii() => Err(ApiError::new(400, 10_014, "Unknown Emoji")),
        None => Ok(json!({"id": null, "name": text})),
    }
}
