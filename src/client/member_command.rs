//! The command `request_guild_members`.

use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::command::{Command, Id, Route, send, wrong};
use crate::config::{DEFAULT_MEMBERS_TIMEOUT, MAX_MEMBERS_TIMEOUT};
use crate::error::Error;
use crate::protocol::{MAX_NONCE_BYTES, MAX_USER_IDS, OpCode};
use crate::shard::MemberRequest;

/// <https://discord.com/developers/docs/events/gateway-events#request-guild-members>
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestGuildMembers {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    guild_id: Id,
    query: Option<String>,
    limit: Option<u32>,
    user_ids: Option<OneOrMany>,
    #[serde(default)]
    presences: bool,
    nonce: Option<String>,
    #[serde(default)]
    collect: bool,
    timeout_ms: Option<u64>,
}

/// `user_ids` in both forms that Discord takes.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Id),
    Many(Vec<Id>),
}

impl RequestGuildMembers {
    /// The command, if it makes sense.
    pub(super) fn into_command(self) -> Result<Command, Error> {
        let timeout = self.timeout()?;
        let is_full_list = self.query.as_deref() == Some("") && self.limit.unwrap_or(0) == 0;
        let nonce = match self.nonce {
            // Chunks find their request by it.
            None => self.collect.then(|| format!("collect-{:016x}", fastrand::u64(..))),
            Some(nonce) if nonce.is_empty() && self.collect => {
                return Err(wrong("`nonce` is empty; without one the engine makes its own"));
            }
            nonce => nonce,
        };
        let mut d = json!({"guild_id": self.guild_id.text(), "presences": self.presences});
        match (self.query, self.user_ids) {
            (Some(query), None) => {
                d["query"] = query.into();
                d["limit"] = self.limit.unwrap_or(0).into();
            }
            (None, Some(ids)) => {
                let ids = match ids {
                    OneOrMany::One(id) => vec![id.text()],
                    OneOrMany::Many(ids) => ids.into_iter().map(Id::text).collect(),
                };
                if ids.len() > MAX_USER_IDS {
                    let count = ids.len();
                    return Err(wrong(format!(
                        "`user_ids` has {count} ids; one request takes at most {MAX_USER_IDS}"
                    )));
                }
                d["user_ids"] = ids.into();
                d["limit"] = self.limit.unwrap_or(0).into();
            }
            _ => {
                return Err(wrong(
                    "a member request has either `query` (empty for all members) or `user_ids`",
                ));
            }
        }
        if let Some(nonce) = &nonce {
            if nonce.len() > MAX_NONCE_BYTES {
                let bytes = nonce.len();
                return Err(wrong(format!(
                    "`nonce` has {bytes} bytes; Discord ignores one of more than {MAX_NONCE_BYTES}"
                )));
            }
            d["nonce"] = nonce.as_str().into();
        }
        let command = send(Route::Guild(self.guild_id.0), OpCode::RequestGuildMembers, &d)?;
        match (command, nonce) {
            (Command::Send { payload, .. }, Some(nonce)) if self.collect => {
                Ok(Command::CollectMembers(Box::new(MemberRequest {
                    guild_id: self.guild_id.0,
                    nonce,
                    payload,
                    is_full_list,
                    presences: self.presences,
                    timeout,
                })))
            }
            (command, _) => Ok(command),
        }
    }

    /// How long collecting may take.
    fn timeout(&self) -> Result<Duration, Error> {
        let longest = MAX_MEMBERS_TIMEOUT.as_millis() as u64;
        match self.timeout_ms {
            None => Ok(DEFAULT_MEMBERS_TIMEOUT),
            Some(_) if !self.collect => Err(wrong("`timeout_ms` is for `\"collect\": true`")),
            Some(timeout_ms) if (1..=longest).contains(&timeout_ms) => {
                Ok(Duration::from_millis(timeout_ms))
            }
            Some(timeout_ms) => {
                Err(wrong(format!("`timeout_ms` is {timeout_ms}; it is 1 to {longest}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_are_collected_have_a_nonce() {
        let collect = |keys: &str| {
            let text = format!(
                r#"{{"type":"request_guild_members","guild_id":"1","collect":true,{keys}}}"#
            );
            match Command::from_json(&text).expect(keys) {
                Command::CollectMembers(request) => *request,
                other => panic!("{text} is {other:?}"),
            }
        };
        let request = collect(r#""query":"","nonce":"mine","presences":true,"timeout_ms":5"#);
        assert_eq!((request.guild_id, &*request.nonce), (1, "mine"));
        assert_eq!((request.timeout, request.presences), (Duration::from_millis(5), true));
        assert_eq!(
            request.payload.as_str(),
            r#"{"op":8,"d":{"guild_id":"1","limit":0,"nonce":"mine","presences":true,"query":""}}"#
        );
        let [one, other] = [collect(r#""user_ids":["2"]"#), collect(r#""user_ids":["2"]"#)];
        assert_ne!(one.nonce, other.nonce);
        assert!(one.nonce.len() <= MAX_NONCE_BYTES);
        assert!(one.payload.as_str().contains(&one.nonce));
        assert_eq!(one.timeout, DEFAULT_MEMBERS_TIMEOUT);
        let is_full = |keys| collect(keys).is_full_list;
        assert!(is_full(r#""query":"""#) && is_full(r#""query":"","limit":0"#));
        assert!(!is_full(r#""query":"a""#) && !is_full(r#""query":"","limit":1"#));
        assert!(!is_full(r#""user_ids":[]"#));
    }
}
