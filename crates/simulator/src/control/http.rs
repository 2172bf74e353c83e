//! Control over HTTP: `/sim/…`.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /sim` | this list |
//! | `GET /sim/state` | time, options, sessions, connections |
//! | `GET /sim/seen?only=identifies,resumes&limit=10&after_ms=5000` | the ledger, or parts of it |
//! | `GET /sim/counts` | the ledger's totals |
//! | `GET /sim/violations` | rules that clients broke |
//! | `GET /sim/guilds?limit=5` | guilds with their channels |
//! | `GET /sim/messages?channel=123&limit=20` | newest messages of a channel, oldest first |
//! | `POST /sim/do` `{"do":"drop","how":"fin"}` | what the action answers |
//! | `POST /sim/drop` `{"how":"fin"}` | the same |
//! | `POST /sim/script` `{"step":[{"at_ms":100,"do":"join_guild"}]}` | 202; the steps follow |
//! | `POST /sim/wait` `{"counts":{"readies":4},"timeout_ms":10000}` | when totals are reached |
//!
//! A mistake is answered with 400 and `{"error": "…"}`.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, Uri};
use serde_json::{Map, Value, json};

use super::script::{Script, parse_action};
use crate::rest::Reply;
use crate::state::{Shared, State};
use crate::world::snowflake::Snowflake;

/// Most guilds in one answer, and messages too.
const MAX_LISTED: usize = 1_000;

/// Longest time a request may wait.
const MAX_WAIT: Duration = Duration::from_mins(10);

/// Lists of the ledger that can be asked for.
const LISTS: [&str; 9] = [
    "connections",
    "identifies",
    "resumes",
    "heartbeats",
    "commands",
    "rest",
    "dispatches",
    "violations",
    "actions",
];

/// Answers a control request.
pub(crate) async fn handle(shared: &Arc<Shared>, method: &Method, uri: &Uri, body: &[u8]) -> Reply {
    let name = uri.path().trim_start_matches("/sim").trim_matches('/');
    let query = Query(uri.query().unwrap_or_default());
    let result = match (method, name) {
        (&Method::GET, "") => Ok(index()),
        (&Method::GET, "state") => Ok(shared.with(|state| state.overview())),
        (&Method::GET, "seen") => seen(shared, &query),
        (&Method::GET, "counts") => Ok(shared.with(|state| json!(state.seen.counts))),
        (&Method::GET, "violations") => Ok(shared.with(|state| json!(state.seen.violations))),
        (&Method::GET, "guilds") => query
            .number("limit", MAX_LISTED)
            .map(|limit| shared.with(|state| state.guild_list(limit.min(MAX_LISTED)))),
        (&Method::GET, "messages") => messages(shared, &query),
        (&Method::POST, "script") => start_script(shared, body),
        (&Method::POST, "wait") => return wait(shared, body).await,
        (&Method::POST, name) => act(shared, name, body),
        _ => return Reply::json(405, json!({"error": "GET or POST"}).to_string()),
    };
    match result {
        Ok(value) => Reply::ok(&value),
        Err(problem) => Reply::json(400, json!({"error": problem}).to_string()),
    }
}

fn index() -> Value {
    json!({
        "GET": ["/sim/state", "/sim/seen", "/sim/counts", "/sim/violations", "/sim/guilds",
            "/sim/messages?channel=ID"],
        "POST": ["/sim/do", "/sim/<action>", "/sim/script", "/sim/wait"],
    })
}

struct Query<'a>(&'a str);

impl Query<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.0.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    fn number(&self, name: &str, default: usize) -> Result<usize, String> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("`{name}` must be a whole number")),
        }
    }
}

fn seen(shared: &Shared, query: &Query<'_>) -> Result<Value, String> {
    let limit = query.number("limit", usize::MAX)?;
    let after_ms = query.number("after_ms", 0)? as f64;
    let only = query.get("only");
    let only: Vec<&str> = match &only {
        Some(only) => only.split(',').collect(),
        None => LISTS.to_vec(),
    };
    if let Some(unknown) = only.iter().find(|name| !LISTS.contains(name)) {
        return Err(format!("`only` takes {}, not `{unknown}`", LISTS.join(", ")));
    }
    let copy = shared.with(|state| state.seen.clone());
    let now_ms = shared.clock.now().as_secs_f64() * 1000.0;
    let mut all = json!(copy);
    let mut answer = json!({"now_ms": now_ms, "counts": all["counts"].take()});
    for name in only {
        let entries: Vec<Value> = match all[name].take() {
            Value::Array(entries) => entries,
            Value::Object(entries) => {
                let mut entries: Vec<Value> = entries.into_iter().map(|(_, entry)| entry).collect();
                entries.sort_by_key(|entry| entry["connection"].as_u64());
                entries
            }
            _ => Vec::new(),
        };
        let late = |entry: &Value| {
            let at = entry.get("at_ms").or_else(|| entry.get("opened_ms"));
            at.and_then(Value::as_f64).is_none_or(|at| at >= after_ms)
        };
        let mut entries: Vec<Value> = entries.into_iter().filter(late).collect();
        entries.drain(..entries.len().saturating_sub(limit));
        answer[name] = Value::Array(entries);
    }
    Ok(answer)
}

fn messages(shared: &Shared, query: &Query<'_>) -> Result<Value, String> {
    let channel = query.get("channel").ok_or("`channel` is missing")?;
    let channel: Snowflake =
        channel.parse().map_err(|_| format!("`channel` is no id: {channel}"))?;
    let limit = query.number("limit", MAX_LISTED)?;
    shared.with(|state| {
        state.place(channel).ok_or_else(|| format!("there is no channel {channel}"))?;
        Ok(Value::Array(state.recent_messages(channel, limit)))
    })
}

fn object(body: &[u8]) -> Result<Map<String, Value>, String> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("the body must be a JSON object".to_owned()),
        Err(error) => Err(format!("the body is not JSON: {error}")),
    }
}

fn act(shared: &Shared, name: &str, body: &[u8]) -> Result<Value, String> {
    let mut fields = object(body)?;
    if name != "do" {
        fields.insert("do".to_owned(), json!(name));
    }
    let action = parse_action(fields)?;
    let result = shared.with(|state| state.act(&action)).map_err(|error| error.to_string());
    shared.traffic.notify_one();
    result
}

fn start_script(shared: &Arc<Shared>, body: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
    let script = Script::from_json(text).map_err(|error| error.to_string())?;
    let steps = script.steps().len();
    tokio::spawn(crate::drive::play(shared.clone(), script));
    Ok(json!({"steps": steps}))
}

async fn wait(shared: &Shared, body: &[u8]) -> Reply {
    let bad = |problem: String| Reply::json(400, json!({"error": problem}).to_string());
    let body = match object(body) {
        Ok(body) => body,
        Err(problem) => return bad(problem),
    };
    let wanted = body.get("counts").and_then(Value::as_object).cloned().unwrap_or_default();
    let known = shared.with(|state| json!(state.seen.counts));
    if let Some((name, _)) =
        wanted.iter().find(|(name, value)| known[name.as_str()].is_null() || !value.is_u64())
    {
        return bad(format!("`counts.{name}` is no total of the ledger, or no whole number"));
    }
    let timeout = body.get("timeout_ms").and_then(Value::as_u64).map(Duration::from_millis);
    let timeout = timeout.unwrap_or(MAX_WAIT).min(MAX_WAIT);
    let reached = crate::drive::wait_for(shared, |seen| {
        let counts = json!(seen.counts);
        let enough =
            |(name, least): (&String, &Value)| counts[name.as_str()].as_u64() >= least.as_u64();
        wanted.iter().all(enough).then_some(counts)
    });
    if let Ok(counts) = tokio::time::timeout(timeout, reached).await {
        return Reply::ok(&json!({"counts": counts}));
    }
    let counts = shared.with(|state| json!(state.seen.counts));
    let body = json!({"error": "not reached in time", "counts": counts});
    Reply::json(408, body.to_string())
}

impl State {
    /// Time, options, sessions and connections.
    pub(crate) fn overview(&self) -> Value {
        let sessions: Vec<Value> = self
            .gateway
            .sessions
            .iter()
            .map(|(_, session)| {
                json!({
                    "session": session.id, "shard": [session.shard, session.total],
                    "intents": session.viewer.intents, "seq": session.log.last(),
                    "connection": session.connection, "presence": session.presence,
                    "detached_ms": session.detached.map(|at| at.as_secs_f64() * 1000.0),
                    "guilds": self.guilds_of([session.shard, session.total]).len(),
                })
            })
            .collect();
        let connections: Vec<Value> =
            self.seen.open_connections().map(|record| json!(record)).collect();
        let mut options = json!(self.options);
        options["token"] = json!("*");
        json!({
            "now_ms": self.clock.now().as_secs_f64() * 1000.0,
            "options": options, "guilds": self.guilds().count(),
            "guilds_down": self.live.down.len(), "sessions": sessions,
            "connections": connections, "session_starts": {
                "total": self.gateway.starts.total, "remaining": self.gateway.starts.remaining,
            },
        })
    }

    /// The first guilds with their channels.
    fn guild_list(&self, limit: usize) -> Value {
        let guild = |guild: u32| {
            let id = |index| self.world.channel_id(guild, index);
            json!({
                "id": self.world.guild_id(guild), "name": json!(self.world.guild(guild))["name"],
                "owner_id": self.world.owner_id(guild), "members": self.world.members_per_guild,
                "text_channels": self.world.text_channels().map(id).collect::<Vec<_>>(),
                "voice_channels": self.world.voice_channels().map(id).collect::<Vec<_>>(),
                "down": self.live.down.contains(&guild),
            })
        };
        Value::Array(self.guilds().take(limit).map(guild).collect())
    }

    /// The newest messages of a channel, oldest first.
    pub(crate) fn recent_messages(&self, channel: Snowflake, limit: usize) -> Vec<Value> {
        let mut newest: Vec<Value> = self
            .messages
            .of(channel)
            .rev()
            .take(limit)
            .map(|message| self.message_value(message))
            .collect();
        newest.reverse();
        newest
    }
}
