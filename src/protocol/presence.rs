//! A presence, as Discord takes it: a wrong one costs a session, so it is checked here.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// Every value of `status`.
const STATUSES: [&str; 5] = ["online", "dnd", "idle", "invisible", "offline"];

/// <https://discord.com/developers/docs/events/gateway-events#update-presence>
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Presence {
    #[serde(default)]
    since: Option<u64>,
    #[serde(default)]
    activities: Vec<Map<String, Value>>,
    #[serde(default = "online")]
    status: String,
    #[serde(default)]
    afk: bool,
}

fn online() -> String {
    STATUSES[0].to_owned()
}

/// The complete `d` of op 3 for a presence; what is left out gets Discord's usual value.
///
/// # Errors
/// What is wrong with it, for people.
pub fn presence(object: Value) -> Result<Box<RawValue>, String> {
    if !object.is_object() {
        return Err("is not a JSON object".to_owned());
    }
    let presence: Presence =
        serde_path_to_error::deserialize(object).map_err(|error| error.to_string())?;
    if !STATUSES.contains(&presence.status.as_str()) {
        let statuses = STATUSES.join(", ");
        return Err(format!("`status` is {:?}; there are {statuses}", presence.status));
    }
    to_raw_value(&presence).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_is_added() {
        let complete = presence(json!({"status": "idle"})).expect("a presence");
        assert_eq!(complete.get(), r#"{"since":null,"activities":[],"status":"idle","afk":false}"#);
    }

    #[test]
    fn what_discord_would_refuse_is_refused_here() {
        for (object, part) in [
            (json!([]), "object"),
            (json!({"status": "busy"}), "invisible"),
            (json!({"status": 1}), "status"),
            (json!({"activities": ["chess"]}), "activities[0]"),
            (json!({"since": "now"}), "since"),
            (json!({"state": "x"}), "`state`"),
        ] {
            let error = presence(object).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }
}
