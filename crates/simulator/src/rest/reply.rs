//! Answers of the REST API, good and bad.
//!
//! <https://docs.discord.com/developers/reference#error-messages>

use serde::Serialize;
use serde_json::{Value, json};

use crate::world::to_json;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// JSON; empty with 204.
    pub(crate) body: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Reply {
    /// 200 with a value.
    pub(crate) fn ok(value: &impl Serialize) -> Self {
        Self::json(200, to_json(value))
    }

    /// Some status with a JSON text.
    pub(crate) fn json(status: u16, body: String) -> Self {
        Self { status, body, headers: Vec::new() }
    }

    /// 204.
    pub(crate) fn empty() -> Self {
        Self::json(204, String::new())
    }
}

/// An error with Discord's JSON code.
/// <https://docs.discord.com/developers/topics/opcodes-and-status-codes#json-json-error-codes>
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: u32,
    pub(crate) message: String,
    /// The problems of single fields.
    pub(crate) errors: Option<Value>,
}

macro_rules! errors {
    ($($name:ident = $status:literal, $code:literal, $message:literal;)*) => {
        impl ApiError {
            $(pub(crate) fn $name() -> Self { Self::new($status, $code, $message) })*
        }
    };
}

errors! {
    unauthorized = 401, 0, "401: Unauthorized";
    not_found = 404, 0, "404: Not Found";
    method_not_allowed = 405, 0, "405: Method Not Allowed";
    unknown_application = 404, 10_002, "Unknown Application";
    unknown_channel = 404, 10_003, "Unknown Channel";
    unknown_guild = 404, 10_004, "Unknown Guild";
    unknown_member = 404, 10_007, "Unknown Member";
    unknown_message = 404, 10_008, "Unknown Message";
    unknown_role = 404, 10_011, "Unknown Role";
    unknown_user = 404, 10_013, "Unknown User";
    unknown_webhook = 404, 10_015, "Unknown Webhook";
    unknown_interaction = 404, 10_062, "Unknown interaction";
    unknown_command = 404, 10_063, "Unknown application command";
    too_large = 413, 40_005, "Request entity too large";
    already_acknowledged = 400, 40_060, "Interaction has already been acknowledged.";
    missing_access = 403, 50_001, "Missing Access";
    not_author = 403, 50_005, "Cannot edit a message authored by another user";
    empty_message = 400, 50_006, "Cannot send an empty message";
    not_text = 400, 50_008, "Cannot send messages in a non-text channel";
    bulk_delete_count = 400, 50_016,
        "Provided too few or too many messages to delete. Must provide at least 2 and at most 100 messages to delete.";
    bad_webhook_token = 401, 50_027, "Invalid Webhook Token";
    bad_version = 400, 50_041, "Invalid API version: this API speaks v9 and v10";
    bad_json = 400, 50_109, "The request body contains invalid JSON.";
}

impl ApiError {
    /// An error without field problems.
    pub(crate) fn new(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), errors: None }
    }

    /// 50035 for one field, given as a path such as `embeds.0.title`.
    pub(crate) fn form(field: &str, code: &str, message: &str) -> Self {
        let mut errors = json!({"_errors": [{"code": code, "message": message}]});
        for name in field.rsplit('.').filter(|name| !name.is_empty()) {
            errors = json!({name: errors});
        }
        Self { errors: Some(errors), ..Self::new(400, 50_035, "Invalid Form Body") }
    }

    /// The answer it makes.
    pub(crate) fn reply(&self) -> Reply {
        let mut body = json!({"message": self.message, "code": self.code});
        if let Some(errors) = &self.errors {
            body["errors"] = errors.clone();
        }
        Reply::json(self.status, body.to_string())
    }
}

/// What a route answers.
pub(crate) type Result = std::result::Result<Reply, ApiError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_problems_nest() {
        let reply = ApiError::form("embeds.0.title", "BASE_TYPE_MAX_LENGTH", "Too long").reply();
        let body: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(reply.status, 400);
        assert_eq!(body["code"], 50_035);
        assert_eq!(body["errors"]["embeds"]["0"]["title"]["_errors"][0]["message"], "Too long");
    }
}
