//! Messages as bodies describe them: made, changed, and checked.
//!
//! <https://docs.discord.com/developers/resources/message#create-message>

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};

use super::call::{Body, Call};
use super::reply::{ApiError, Reply, Result};
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
    /// The message that `enforce_nonce` asks to be given instead of a second one.
    pub(super) fn same_nonce(&self, channel: Snowflake, call: &Call) -> Option<Arc<Message>> {
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
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
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
