//! A simulated Discord to play with, where the bot talks to one: people type as users of it, and break things.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use shardwright::Config;
use shardwright::protocol::shard_for_guild;
use shardwright::rest::{Request, Rest};
use shardwright::transport::{Dialer, Tcp};
use tokio::time::sleep;

/// The variable that points bots at a simulator.
pub(crate) const API_URL: &str = "SHARDWRIGHT_API_URL";

/// Time between two looks whether a simulator is there. It doubles while none is, up to the longest: something else
/// that stands there is not to be asked all the time.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOK_SELDOM: Duration = Duration::from_secs(300);

/// Guilds that people can choose from.
const MAX_GUILDS: usize = 50;

/// Messages of a channel that are shown.
const MAX_MESSAGES: usize = 50;

/// Connections that an outage refuses for each shard: with their waits, some ten seconds.
const REFUSED: u64 = 3;

/// The way to a simulator.
pub(crate) struct Playground {
    rest: Rest,
    is_there: AtomicBool,
}

/// Something that goes wrong.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trouble {
    what: What,
    /// Which, or all.
    shard: Option<u32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    /// The socket is reset.
    Drop,
    /// The connection is half open: nothing comes any more.
    Silence,
    /// Discord asks to reconnect.
    Op7,
    /// The session is over.
    InvalidSession,
    /// All sockets are reset, and nobody gets in for a while.
    Outage,
}

impl Playground {
    /// Of the server that a config's `api_url` names; `None` where that is Discord itself.
    pub(crate) fn new(config: &Config, env: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let url = env(API_URL).filter(|url| !url.contains("discord.com"))?;
        let origin = url.find("://").and_then(|scheme| {
            let end = url[scheme + 3..].find('/').map_or(url.len(), |path| scheme + 3 + path);
            url.get(..end)
        })?;
        let control = json!({"intents": 0, "api_url": format!("{origin}/sim")}).to_string();
        let control =
            Config::from_json(&control, |name| env(name).filter(|_| name == "DISCORD_TOKEN"));
        let dialer = Dialer::new(config, Arc::new(Tcp)).ok()?;
        let rest = Rest::new(&control.ok()?, dialer);
        Some(Self { rest, is_there: AtomicBool::new(false) })
    }

    /// Whether a simulator answers there.
    pub(crate) fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Relaxed)
    }

    /// Looks whether one does, for ever.
    pub(crate) async fn look(&self) {
        let mut wait = LOOK_EVERY;
        loop {
            let guilds = self.get("/guilds", &[("limit", "1")]).await;
            let is_there = guilds.is_ok_and(|guilds| guilds.is_array());
            self.is_there.store(is_there, Ordering::Relaxed);
            sleep(wait).await;
            wait = if is_there { LOOK_EVERY } else { (wait * 2).min(LOOK_SELDOM) };
        }
    }

    /// Guilds with their channels, and the shards that carry them.
    ///
    /// # Errors
    /// When the simulator does not answer.
    pub(crate) async fn guilds(&self, shard_total: Option<u32>) -> Result<Value, String> {
        let limit = MAX_GUILDS.to_string();
        let guilds = self.get("/guilds", &[("limit", &limit)]).await?;
        let total = shard_total.and_then(std::num::NonZeroU32::new);
        let guild = |guild: &Value| {
            let id = guild["id"].as_str().unwrap_or_default();
            let channels = guild["text_channels"].as_array().into_iter().flatten();
            let channel = |id: &Value| {
                let name = &guild["channel_names"][id.as_str().unwrap_or_default()];
                json!({"id": id, "name": name})
            };
            let shard = total.and_then(|total| Some(shard_for_guild(id.parse().ok()?, total)));
            json!({
                "id": id, "name": guild["name"], "shard": shard,
                "channels": channels.map(channel).collect::<Value>(),
            })
        };
        let guilds: Value = guilds.as_array().into_iter().flatten().map(guild).collect();
        Ok(json!({"guilds": guilds, "shard_total": shard_total}))
    }

    /// The newest messages of a channel, oldest first.
    ///
    /// # Errors
    /// When there is no such channel.
    pub(crate) async fn messages(&self, channel: &str) -> Result<Value, String> {
        let limit = MAX_MESSAGES.to_string();
        let messages = self.get("/messages", &[("channel", channel), ("limit", &limit)]).await?;
        Ok(json!({"messages": messages}))
    }

    /// A user writes something.
    ///
    /// # Errors
    /// When the simulator does not take it.
    pub(crate) async fn say(&self, channel: &str, content: &str) -> Result<Value, String> {
        self.act(&json!({"do": "message", "channel": channel, "content": content})).await
    }

    /// Something goes wrong; what, for people.
    ///
    /// # Errors
    /// When the simulator does not do it.
    pub(crate) async fn upset(
        &self,
        trouble: &Trouble,
        shard_total: Option<u32>,
    ) -> Result<Value, String> {
        let target = trouble.shard.map_or(json!("all"), |shard| json!({"shard": shard}));
        let who = trouble.shard.map_or("all shards".to_owned(), |shard| format!("shard {shard}"));
        let text = match trouble.what {
            What::Drop => {
                self.act(&json!({"do": "drop", "target": target, "how": "reset"})).await?;
                format!(
                    "The network cut {who} off. The session lives, so a resume brings what was missed."
                )
            }
            What::Silence => {
                self.act(&json!({"do": "drop", "target": target, "how": "silence"})).await?;
                format!(
                    "Nothing reaches {who} any more, though the connection seems to stand. It is found out when \
                     a heartbeat is not answered."
                )
            }
            What::Op7 => {
                self.act(&json!({"do": "reconnect", "target": target})).await?;
                format!("Discord asked {who} to reconnect (op 7), as it does many times a day.")
            }
            What::InvalidSession => {
                self.act(&json!({"do": "invalid_session", "target": target, "resumable": false}))
                    .await?;
                format!("The session of {who} is invalid (op 9): only a new identify helps.")
            }
            What::Outage => {
                let connections = u64::from(shard_total.unwrap_or(1)) * REFUSED;
                let refuse = json!({"handshake": {"refuse": {"status": 502}}});
                self.act(&json!({"do": "plan", "count": connections, "plan": refuse})).await?;
                self.act(&json!({"do": "drop", "target": "all", "how": "reset"})).await?;
                format!(
                    "The gateway is down: all sockets are cut, and the next {connections} connections get a 502."
                )
            }
        };
        Ok(json!({"text": text}))
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let mut command = json!({"method": "GET", "path": path, "query": {}});
        for (name, value) in query {
            command["query"][name] = json!(value);
        }
        self.ask(&command).await
    }

    async fn act(&self, action: &Value) -> Result<Value, String> {
        self.ask(&json!({"method": "POST", "path": "/do", "body": action})).await
    }

    async fn ask(&self, command: &Value) -> Result<Value, String> {
        let request =
            Request::from_json(&command.to_string()).map_err(|error| error.to_string())?;
        let response = self.rest.request(request).await;
        let response =
            response.map_err(|error| format!("the simulator does not answer: {error}"))?;
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        if response.status >= 400 {
            let why = body["error"].as_str().unwrap_or("it says no").to_owned();
            return Err(why);
        }
        Ok(body)
    }
}

impl std::fmt::Debug for Playground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Playground").field("is_there", &self.is_there()).finish_non_exhaustive()
    }
}
