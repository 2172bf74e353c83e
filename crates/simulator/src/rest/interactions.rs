//! Interactions: firing them, and what the bot may answer.
//!
//! <https://docs.discord.com/developers/interactions/receiving-and-responding>

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::call::Call;
use super::reply::{ApiError, Reply, Result};
use super::route::Route;
use crate::gateway::dispatch::Event;
use crate::state::State;
use crate::world::message::{CHAT_INPUT_COMMAND, EPHEMERAL, LOADING, Place};
use crate::world::snowflake::Snowflake;

/// How long follow-ups are taken.
const TOKEN_LIFE: Duration = Duration::from_mins(15);

/// Most interactions remembered.
const MAX_INTERACTIONS: usize = 10_000;

/// An interaction to be fired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewInteraction {
    /// The channel it happens in; a direct channel or one of a guild.
    pub channel: Snowflake,
    /// Who does it; without it the guild's owner, or the other side of the direct channel.
    #[serde(default)]
    pub user: Option<Snowflake>,
    /// The slash command's name.
    #[serde(default)]
    pub command: String,
    /// The command's options: `[{"name":"city","type":3,"value":"Oslo"}]`.
    #[serde(default)]
    pub options: Vec<Value>,
    /// The interaction type, 2 (a command) unless named. For other types than commands give
    /// `data`.
    #[serde(default = "command_type")]
    pub kind: u8,
    /// The whole `data`, instead of one made from the command and its options.
    #[serde(default)]
    pub data: Option<Value>,
}

fn command_type() -> u8 {
    2
}

impl NewInteraction {
    /// A slash command without options.
    pub fn command(channel: Snowflake, name: impl Into<String>) -> Self {
        Self {
            channel,
            user: None,
            command: name.into(),
            options: Vec::new(),
            kind: command_type(),
            data: None,
        }
    }
}

/// An interaction that was fired.
#[derive(Debug)]
struct Interaction {
    token: String,
    at: Duration,
    kind: u8,
    channel: Snowflake,
    place: Place,
    user: Snowflake,
    name: String,
    /// Whether the first answer has come.
    answered: bool,
    /// The message that answer made.
    original: Option<Snowflake>,
}

/// Interactions that can still be answered.
#[derive(Debug, Default)]
pub(crate) struct Interactions {
    all: BTreeMap<Snowflake, Interaction>,
}

impl State {
    /// Fires an interaction. `None` if the channel or the user do not exist.
    pub(crate) fn interact(&mut self, new: &NewInteraction) -> Option<(Snowflake, String)> {
        let place = self.place(new.channel)?;
        let user = new.user.unwrap_or_else(|| match place {
            Place::Guild { guild, .. } => self.world.owner_id(guild),
            Place::Direct { user } => user,
        });
        let object = self.world.user(user)?;
        let id = self.next_id();
        let token = self.next_hex(64);
        let number = self.next_number();
        let guild_id = place.guild().map(|guild| self.world.guild_id(guild));
        let data = new.data.clone().unwrap_or_else(|| {
            let known = self.rest.commands.find(guild_id, &new.command);
            let command = known.map(|command| command["id"].clone());
            json!({
                "id": command.unwrap_or_else(|| json!(self.world.application)),
                "name": new.command, "type": 1, "options": new.options,
            })
        });
        let mut d = json!({
            "version": 1, "type": new.kind, "token": token, "locale": "en-US", "id": id,
            "entitlements": [], "data": data, "channel_id": new.channel,
            "channel": {"id": new.channel, "type": i32::from(guild_id.is_none())},
            "authorizing_integration_owners": {"0": guild_id.unwrap_or(Snowflake(0))},
            "attachment_size_limit": 10_485_760, "application_id": self.world.application,
            "app_permissions": "2248473465835073", "context": i32::from(guild_id.is_none()),
            "nonce": number.to_string(),
        });
        match place.guild() {
            Some(guild) => {
                let index = self.world.member_index(guild, user)?;
                let member = self.world.member(guild, index, &self.live.guild(guild));
                d["member"] = json!(member);
                d["member"]["permissions"] = json!("2248473465835073");
                let features = ["NEWS", "SOUNDBOARD"];
                d["guild"] = json!({"id": guild_id, "locale": "en-US", "features": features});
                d["guild_locale"] = json!("en-US");
                d["guild_id"] = json!(guild_id);
            }
            None => d["user"] = json!(object),
        }
        if self.rest.interactions.all.len() >= MAX_INTERACTIONS {
            self.rest.interactions.all.pop_first();
        }
        let interaction = Interaction {
            token: token.clone(),
            at: self.clock.now(),
            kind: new.kind,
            channel: new.channel,
            place,
            user,
            name: new.command.clone(),
            answered: false,
            original: None,
        };
        self.rest.interactions.all.insert(id, interaction);
        let mut event = Event::new("INTERACTION_CREATE", self.scope(place), d.to_string());
        event.number = Some(number);
        self.dispatch(&event);
        Some((id, token))
    }

    pub(super) fn interaction_route(&mut self, route: &Route, call: &Call) -> Result {
        match (route, call.method.as_str()) {
            (Route::Callback { interaction, token }, "POST") => {
                self.callback(*interaction, token, call)
            }
            (Route::Webhook { application, token }, "POST") => {
                let id = self.by_token(*application, token)?;
                self.follow_up(id, call)
            }
            (Route::WebhookMessage { application, token, message }, method) => {
                let id = self.by_token(*application, token)?;
                let interaction = self.rest.interactions.all.get(&id);
                let interaction = interaction.ok_or_else(ApiError::unknown_webhook)?;
                let channel = interaction.channel;
                let message = message.or(interaction.original);
                let message = message.ok_or_else(ApiError::unknown_message)?;
                let found = self.messages.get(channel, message);
                let found = found.ok_or_else(ApiError::unknown_message)?.clone();
                if found.webhook_id.is_none() {
                    return Err(ApiError::unknown_message());
                }
                match method {
                    "GET" => Ok(Reply::ok(&self.message_value(&found))),
                    "PATCH" => {
                        if let Some(stored) = self.messages.get_mut(channel, message) {
                            stored.flags &= !LOADING;
                        }
                        self.edit_message(channel, message, call)
                    }
                    "DELETE" => {
                        self.delete_messages(channel, &[message], false);
                        Ok(Reply::empty())
                    }
                    _ => Err(ApiError::method_not_allowed()),
                }
            }
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    /// The interaction a webhook token belongs to.
    fn by_token(
        &self,
        application: Snowflake,
        token: &str,
    ) -> std::result::Result<Snowflake, ApiError> {
        let all = &self.rest.interactions.all;
        let found = all.iter().find(|(_, interaction)| interaction.token == token);
        let (id, interaction) = found.ok_or_else(ApiError::unknown_webhook)?;
        if application != self.world.application {
            return Err(ApiError::unknown_webhook());
        }
        if self.clock.now() > interaction.at + TOKEN_LIFE || !interaction.answered {
            return Err(ApiError::bad_webhook_token());
        }
        Ok(*id)
    }

    /// The first answer.
    fn callback(&mut self, id: Snowflake, token: &str, call: &Call) -> Result {
        let now = self.clock.now();
        let within = Duration::from_millis(self.options.rest.interaction_ms);
        let interaction = self.rest.interactions.all.get_mut(&id);
        let interaction = interaction.ok_or_else(ApiError::unknown_interaction)?;
        if interaction.token != token || (!interaction.answered && now > interaction.at + within) {
            return Err(ApiError::unknown_interaction());
        }
        if interaction.answered {
            return Err(ApiError::already_acknowledged());
        }
        let body = call.object()?;
        let kind = body.get("type").and_then(Value::as_u64).unwrap_or_default();
        if !matches!(kind, 1 | 4..=10 | 12) {
            let text = "Value must be one of {1, 4, 5, 6, 7, 8, 9, 10, 12}.";
            return Err(ApiError::form("type", "BASE_TYPE_CHOICES", text));
        }
        let interaction_kind = interaction.kind;
        let mut made = None;
        if matches!(kind, 4 | 5) {
            let message = self.answer_message(id, kind == 5, body.get("data"), call)?;
            made = Some(message);
        }
        if let Some(interaction) = self.rest.interactions.all.get_mut(&id) {
            interaction.answered = true;
            interaction.original = made;
        }
        let response = call.parameter("with_response").unwrap_or_default();
        if !matches!(response.to_ascii_lowercase().as_str(), "true" | "1") {
            return Ok(Reply::empty());
        }
        let message = made.and_then(|made| {
            let channel = self.rest.interactions.all.get(&id)?.channel;
            self.messages.get(channel, made).cloned()
        });
        let mut callback = json!({"id": id, "type": interaction_kind});
        let mut resource = json!({"type": kind});
        if let Some(message) = message {
            callback["response_message_id"] = json!(message.id);
            callback["response_message_loading"] = json!(kind == 5);
            callback["response_message_ephemeral"] = json!(message.is_ephemeral());
            resource["message"] = self.message_value(&message);
        }
        Ok(Reply::ok(&json!({"interaction": callback, "resource": resource})))
    }

    /// Makes the message of an answer or a follow-up.
    fn answer_message(
        &mut self,
        id: Snowflake,
        deferred: bool,
        data: Option<&Value>,
        call: &Call,
    ) -> std::result::Result<Snowflake, ApiError> {
        let interaction = self.rest.interactions.all.get(&id);
        let interaction = interaction.ok_or_else(ApiError::unknown_interaction)?;
        let (channel, place) = (interaction.channel, interaction.place);
        let (user, name, kind) = (interaction.user, interaction.name.clone(), interaction.kind);
        let first = !interaction.answered;
        let empty = serde_json::Map::new();
        let data = data.and_then(Value::as_object).unwrap_or(&empty);
        let mut message = if deferred {
            let id = self.next_id();
            let (bot, now) = (self.world.bot, self.clock.unix_ms());
            let mut message =
                crate::world::message::Message::plain(id, channel, place, bot, String::new(), now);
            let flags = data.get("flags").and_then(Value::as_u64).unwrap_or_default();
            message.flags = LOADING | (flags & EPHEMERAL);
            message
        } else {
            self.new_message(channel, place, data, call)?
        };
        message.webhook_id = Some(self.world.application);
        if first {
            message.kind = CHAT_INPUT_COMMAND;
            message.interaction = Some(json!({
                "user": self.world.user(user), "type": kind, "name": name, "id": id,
                "authorizing_integration_owners": {},
            }));
        }
        Ok(self.publish(message, None).id)
    }

    /// A message after the first answer.
    fn follow_up(&mut self, id: Snowflake, call: &Call) -> Result {
        let body = Value::Object(call.object_or_files()?.clone());
        let interaction = self.rest.interactions.all.get(&id);
        let interaction = interaction.ok_or_else(ApiError::unknown_webhook)?;
        let channel = interaction.channel;
        // The first follow-up to a deferred answer fills that answer in.
        let original = interaction.original.and_then(|original| {
            let message = self.messages.get(channel, original)?;
            (message.flags & LOADING != 0).then_some(original)
        });
        let made = if let Some(original) = original {
            if let Some(stored) = self.messages.get_mut(channel, original) {
                stored.flags &= !LOADING;
            }
            self.edit_message(channel, original, call)?;
            original
        } else {
            self.answer_message(id, false, Some(&body), call)?
        };
        let message = self.messages.get(channel, made).cloned();
        let message = message.ok_or_else(ApiError::unknown_message)?;
        Ok(Reply::ok(&self.message_value(&message)))
    }
}
