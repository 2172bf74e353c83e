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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, Uri};
use serde_json::{Map, Value, json};

use super::script::{Script, parse_action};
use crate::ledger::Seen;
use crate::rest::Reply;
use crate::state::{Shared, State};
use crate::world::snowflake::Snowflake;

/// Most guilds in one answer, and messages too.
const MAX_LISTED: usize = 1_000;

/// Longest time a request may wait.
const MAX_WAIT: Duration = Duration::from_mins(10);

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
    let after = Duration::from_millis(query.number("after_ms", 0)? as u64);
    let only = query.get("only");
    let only: Vec<&str> = match &only {
        Some(only) => only.split(',').collect(),
        None => Seen::LISTS.to_vec(),
    };
    if let Some(unknown) = only.iter().find(|name| !Seen::LISTS.contains(name)) {
        return Err(format!("`only` takes {}, not `{unknown}`", Seen::LISTS.join(", ")));
    }
    let now_ms = shared.clock.now().as_secs_f64() * 1000.0;
    Ok(shared.with(|state| {
        let mut answer = json!({"now_ms": now_ms, "counts": state.seen.counts});
        for name in only {
            answer[name] = state.seen.list(name, after, limit);
        }
        answer
    }))
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
        let mut guilds: BTreeMap<u32, BTreeMap<u32, u32>> = BTreeMap::new();
        for (_, session) in self.gateway.sessions.iter() {
            let total = session.total;
            guilds.entry(total).or_insert_with(|| self.guild_counts(total));
        }
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
                    "guilds": guilds[&session.total].get(&session.shard).copied().unwrap_or(0),
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
                "channel_names": (0..self.world.channels_per_guild)
                    .map(|index| (id(index).to_string(), self.channel_name(guild, index)))
                    .collect::<Map<_, _>>(),
                "down": self.live.down.contains(&guild),
            })
        };
        Value::Array(self.guilds().take(limit).map(guild).collect())
    }

    fn channel_name(&self, guild: u32, index: u16) -> Value {
        json!(self.world.channel_in_guild(guild, index, &self.live.guild(guild)))["name"].take()
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
