//! Channels, their messages and reactions.
//!
//! <https://docs.discord.com/developers/resources/message>

use std::sync::Arc;

use serde_json::{Value, json};

use super::call::Call;
use super::guilds::limit;
use super::reply::{ApiError, Reply, Result};
use super::route::Route;
use crate::gateway::dispatch::Event;
use crate::state::State;
use crate::world::message::{Message, Place};
use crate::world::snowflake::Snowflake;

/// Most different emojis under a message.
const MAX_REACTIONS: usize = 20;

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
                let found = self.messages.get(channel, *message);
                let reactions = found.map(|found| found.reactions.as_slice()).unwrap_or_default();
                let is_new = reactions.iter().all(|reaction| reaction.emoji != emoji);
                if is_new && reactions.len() >= MAX_REACTIONS {
                    let text = "Maximum number of reactions reached (20)";
                    return Err(ApiError::new(400, 30_010, text));
                }
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
