//! What the host asks its client for.

use serde_json::{Value, json};
use shardwright::queue::Event;

use crate::host::{self, Host};

impl Host<'_> {
    /// Sends a command of some kind.
    pub(crate) fn command(&mut self) {
        let guilds = self.simulator.guilds();
        let Some(guild) = guilds.get(self.rng.usize(..guilds.len().max(1))) else { return };
        let guild_id = guild.0.to_string();
        let command = match self.rng.u8(..8) {
            0 => json!({"type": "update_presence", "status": "dnd"}),
            1..3 => json!({"type": "request_guild_members", "guild_id": guild_id, "query": "a",
                "limit": 5, "nonce": self.rng.u32(..).to_string()}),
            3 => json!({"type": "update_voice_state", "guild_id": guild_id, "channel_id": null}),
            4 => json!({"type": "gateway_info"}),
            5 => json!({"type": "rest", "method": "GET", "path": "/users/@me"}),
            _ => {
                let channel = self.simulator.text_channels(*guild)[0].0;
                json!({"type": "rest", "method": "POST", "path": format!("/channels/{channel}/messages"),
                    "body": {"content": "hello"}})
            }
        };
        self.send(&command);
    }

    /// Sends a command to the gateway, which has the narrower limits.
    pub(crate) fn gateway_command(&mut self) {
        let guilds = self.simulator.guilds();
        let Some(guild) = guilds.get(self.rng.usize(..guilds.len().max(1))) else { return };
        let self_deaf = self.rng.bool();
        self.send(&json!({"type": "update_voice_state", "guild_id": guild.0.to_string(),
            "channel_id": null, "self_deaf": self_deaf}));
    }

    /// Restarts a shard.
    pub(crate) fn restart_shard(&mut self, shard: u32, resume: bool) {
        if !resume {
            self.gave_up.insert(shard);
        }
        self.send(&json!({"type": "restart_shard", "shard": shard, "resume": resume}));
    }

    /// Asks for another number of shards.
    pub(crate) fn reshard(&mut self, shards: u32) {
        // Both sets may first get through at the same time, and then only the client can tell which is which.
        if let Some(total) = self.shard_total() {
            self.first_totals.entry(self.restarts.len()).or_insert(total);
        }
        if let Some(id) = self.send(&json!({"type": "reshard", "shards": shards})) {
            self.resharding.insert(id);
        }
    }

    /// Takes note of a reply, if it is that to a reshard.
    pub(crate) fn resharded(&mut self, reply: &Event) {
        if !self.resharding.remove(&reply.command_id) {
            return;
        }
        if reply.status == 0 {
            self.resharded += 1;
            return;
        }
        let why = String::from_utf8_lossy(reply.data()).into_owned();
        if why.contains("bug in the engine") {
            self.problem(&why);
        }
        if self.stopping.is_some() {
            self.numbers.cut_short.insert(self.restarts.len());
        }
        self.failed.push(why);
    }

    /// How many shards the bot has now, once it has any.
    pub(crate) fn shard_total(&self) -> Option<u32> {
        let total = host::json(self.client.status_json().as_bytes())["shard_total"].as_u64();
        total.and_then(|total| u32::try_from(total).ok())
    }

    /// Sends a command; refusals that can be helped are problems.
    pub(crate) fn send(&mut self, command: &Value) -> Option<u64> {
        if self.stopping.is_some() {
            return None;
        }
        match self.client.send_command(&command.to_string()) {
            Ok(id) => {
                self.open.insert(id);
                return Some(id);
            }
            Err(error) if error.kind() == shardwright::ErrorKind::QueueFull => {}
            Err(error) => self.problem(&format!("{command} was refused: {error}")),
        }
        None
    }
}
