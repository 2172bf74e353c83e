//! What a client with a session can ask of the gateway.
//!
//! <https://docs.discord.com/developers/events/gateway-events#send-events>

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::close::Close;
use super::dispatch::{Body, ChunkRequest, Event, Scope};
use super::session::SessionKey;
use crate::control::Chunks;
use crate::intents;
use crate::ledger::Rule;
use crate::state::State;
use crate::world::channel::channel_type;
use crate::world::live::VoiceState;
use crate::world::snowflake::Snowflake;

/// How long a guild's full member list may not be requested again.
/// <https://docs.discord.com/developers/change-log#introducing-rate-limit-when-requesting-all-guild-members>
const FULL_REQUEST_WINDOW: Duration = Duration::from_secs(30);

/// Most members found by a prefix, and most user ids answered.
const MAX_FOUND: usize = 100;

/// Longest nonce that is sent back; longer ones are ignored.
const MAX_NONCE: usize = 32;

/// Presence updates allowed in [`PRESENCE_WINDOW`].
const MAX_PRESENCES: usize = 5;

/// The window of [`MAX_PRESENCES`].
const PRESENCE_WINDOW: Duration = Duration::from_secs(20);

/// Ids below this are written as numbers when they are sent back.
/// <https://docs.discord.com/developers/reference#id-serialization>
const BIGINT: u64 = 1 << 53;

/// Checks the structure of a presence update.
/// <https://docs.discord.com/developers/events/gateway-events#update-presence>
pub(super) fn check_presence(presence: &Value) -> Result<(), &'static str> {
    if !matches!(presence.get("since"), Some(Value::Null | Value::Number(_))) {
        return Err("A presence needs `since`: an integer or null.");
    }
    let named = |activity: &Value| activity["name"].is_string();
    let good = match (presence.get("activities"), presence.get("game")) {
        (Some(Value::Array(activities)), _) => activities.iter().all(named),
        // Undocumented, but Discord takes the one `game` of its early days, and hikari sends it.
        (None, Some(game)) => game.is_null() || named(game),
        _ => false,
    };
    if !good {
        return Err("A presence needs `activities`: an array of activities with names.");
    }
    let status = presence["status"].as_str().unwrap_or_default();
    if !["online", "dnd", "idle", "invisible", "offline"].contains(&status) {
        return Err("A presence needs `status`: online, dnd, idle, invisible or offline.");
    }
    Ok(())
}

/// An id given as a string or a number.
fn snowflake(value: &Value) -> Option<Snowflake> {
    serde_json::from_value(value.clone()).ok()
}

fn invalid(reason: &'static str) -> Close {
    Close::INVALID_PAYLOAD.because(reason)
}

impl State {
    /// Op 3.
    pub(super) fn update_presence(
        &mut self,
        id: u64,
        key: SessionKey,
        d: &Value,
    ) -> Result<(), Close> {
        check_presence(d).map_err(invalid)?;
        let now = self.clock.now();
        let Some(session) = self.gateway.sessions.get_mut(key) else { return Ok(()) };
        session.presence = Some(d.clone());
        session.updated_presence.push_back(now);
        while session.updated_presence.front().is_some_and(|at| *at + PRESENCE_WINDOW <= now) {
            session.updated_presence.pop_front();
        }
        if session.updated_presence.len() > MAX_PRESENCES {
            let detail = format!("more than {MAX_PRESENCES} in {} s", PRESENCE_WINDOW.as_secs());
            self.violation(Some(id), Rule::PresenceTooOften, detail);
        }
        Ok(())
    }

    /// The number of a guild that a command names, if it is on the session's shard.
    fn commanded_guild(
        &mut self,
        id: u64,
        key: SessionKey,
        guild_id: &Value,
    ) -> Result<Option<u32>, Close> {
        let guild_id = snowflake(guild_id).ok_or(invalid("`guild_id` must be a snowflake."))?;
        let Some(session) = self.gateway.sessions.get(key) else { return Ok(None) };
        let [shard, total] = [session.shard, session.total];
        if guild_id.shard(total) != shard {
            let owner = guild_id.shard(total);
            let detail = format!("guild {guild_id} is on shard {owner}, asked on shard {shard}");
            self.violation(Some(id), Rule::WrongShard, detail);
            return Ok(None);
        }
        Ok(self.guild_number(guild_id))
    }

    /// Op 4.
    pub(super) fn update_voice_state(
        &mut self,
        id: u64,
        key: SessionKey,
        d: &Value,
    ) -> Result<(), Close> {
        let flag = |name: &str| d[name].as_bool();
        let (Some(self_mute), Some(self_deaf)) = (flag("self_mute"), flag("self_deaf")) else {
            return Err(invalid("`self_mute` and `self_deaf` must be booleans."));
        };
        let channel = match &d["channel_id"] {
            Value::Null => None,
            id => Some(snowflake(id).ok_or(invalid("`channel_id` must be a snowflake or null."))?),
        };
        let Some(guild) = self.commanded_guild(id, key, &d["guild_id"])? else { return Ok(()) };
        let guild_id = self.world.guild_id(guild);
        if let Some(channel_id) = channel {
            let joinable = self.world.channel_number(channel_id).is_some_and(|(owner, index)| {
                owner == guild && self.world.channel_type(index) == channel_type::VOICE
            });
            // Discord answers nothing when the channel is not one the bot could join.
            if !joinable {
                return Ok(());
            }
            let session_id = self.next_hex(32);
            let state = VoiceState { channel_id, self_mute, self_deaf, session_id };
            self.live.edit(guild).voice.insert(0, state);
        }
        let live = self.live.guild(guild);
        let Some(state) = live.voice.get(&0).cloned() else { return Ok(()) };
        let mut event = self.world.voice_state_object(guild, 0, &state, &live, true);
        if channel.is_none() {
            self.live.edit(guild).voice.remove(&0);
            event["channel_id"] = Value::Null;
        }
        let scope = Scope::Guild(guild_id);
        self.dispatch(&Event::new("VOICE_STATE_UPDATE", scope, event.to_string()));
        if channel.is_some() {
            let token = self.next_hex(16);
            let d = json!({
                "token": token, "guild_id": guild_id, "endpoint": "voice.example.com:443",
            });
            // The server allocation answers this session only.
            let event = Event::new("VOICE_SERVER_UPDATE", scope, d.to_string());
            self.dispatch_to(key, &event);
        }
        Ok(())
    }

    /// Op 8.
    /// <https://docs.discord.com/developers/events/gateway-events#request-guild-members>
    pub(super) fn request_members(
        &mut self,
        id: u64,
        key: SessionKey,
        d: &Value,
    ) -> Result<(), Close> {
        let guild_id = match &d["guild_id"] {
            Value::Array(ids) => match ids.as_slice() {
                [one] => one,
                _ => return Err(invalid("Members of one guild can be requested at a time.")),
            },
            one => one,
        };
        let user_ids = match d.get("user_ids").filter(|ids| !ids.is_null()) {
            None => None,
            Some(Value::Array(ids)) => Some(ids.clone()),
            Some(one) => Some(vec![one.clone()]),
        };
        let query = d.get("query").filter(|query| !query.is_null());
        let query = match query {
            None => None,
            Some(query) => Some(query.as_str().ok_or(invalid("`query` must be a string."))?),
        };
        let limit = match d.get("limit").filter(|limit| !limit.is_null()) {
            None => None,
            Some(limit) => Some(limit.as_u64().ok_or(invalid("`limit` must be an integer."))?),
        };
        if user_ids.is_none() && query.is_none() {
            return Err(invalid("One of `query` and `user_ids` is required."));
        }
        if user_ids.is_none() && limit.is_none() {
            return Err(invalid("`limit` is required with `query`."));
        }
        let Some(guild) = self.commanded_guild(id, key, guild_id)? else { return Ok(()) };
        let nonce = d["nonce"].as_str().filter(|nonce| nonce.len() <= MAX_NONCE);
        let nonce = nonce.map(str::to_owned);
        let Some(session) = self.gateway.sessions.get(key) else { return Ok(()) };
        let granted = session.viewer.intents;
        let presences =
            d["presences"].as_bool().unwrap_or_default() && granted & intents::GUILD_PRESENCES != 0;

        let mut not_found = Vec::new();
        let members = if let Some(ids) = user_ids {
            self.members_by_id(guild, &ids, &mut not_found)
        } else {
            let (query, limit) = (query.unwrap_or_default(), limit.unwrap_or_default());
            if query.is_empty() {
                if granted & intents::GUILD_MEMBERS == 0 {
                    let detail = "the full member list needs the GUILD_MEMBERS intent";
                    self.violation(Some(id), Rule::MemberRequest, detail);
                    return Ok(());
                }
                if limit == 0 && self.limited_request(id, key, guild, nonce.as_deref()) {
                    return Ok(());
                }
                let most = if limit == 0 { u64::MAX } else { limit };
                let count = u64::from(self.world.members_per_guild).min(most);
                (0..count as u32).collect()
            } else {
                let most = if limit == 0 { MAX_FOUND } else { MAX_FOUND.min(limit as usize) };
                self.search_members(guild, query, most)
            }
        };
        let request = Arc::new(ChunkRequest { guild, members, not_found, presences, nonce });
        let count = request.count();
        let order: Vec<usize> = match self.gateway.chunks {
            Chunks::Normal => (0..count).collect(),
            Chunks::Reversed => (0..count).rev().collect(),
            Chunks::Shuffled => {
                let mut order: Vec<usize> = (0..count).collect();
                self.rng.shuffle(&mut order);
                order
            }
            Chunks::WithoutLast => (0..count - 1).collect(),
            Chunks::None => Vec::new(),
        };
        for index in order {
            let body = Body::Chunk { request: request.clone(), index };
            self.append(key, "GUILD_MEMBERS_CHUNK".into(), body, None);
        }
        Ok(())
    }

    /// Answers a full request that comes too soon after the last.
    fn limited_request(
        &mut self,
        id: u64,
        key: SessionKey,
        guild: u32,
        nonce: Option<&str>,
    ) -> bool {
        let now = self.clock.now();
        let last = self.gateway.full_requests.get(&guild).copied();
        let Some(left) = last.and_then(|last| (last + FULL_REQUEST_WINDOW).checked_sub(now)) else {
            self.gateway.full_requests.insert(guild, now);
            return false;
        };
        if left.is_zero() {
            self.gateway.full_requests.insert(guild, now);
            return false;
        }
        let guild_id = self.world.guild_id(guild);
        let mut meta = json!({"guild_id": guild_id});
        if let Some(nonce) = nonce {
            meta["nonce"] = json!(nonce);
        }
        let d = json!({"retry_after": left.as_secs_f64(), "opcode": 8, "meta": meta});
        self.append(key, "RATE_LIMITED".into(), Body::Json(d.to_string().into()), None);
        let detail = format!("all members of guild {guild_id} twice within 30 s");
        self.violation(Some(id), Rule::MemberRequest, detail);
        true
    }

    fn members_by_id(&self, guild: u32, ids: &[Value], not_found: &mut Vec<Value>) -> Vec<u32> {
        let mut members = Vec::new();
        for value in ids.iter().take(MAX_FOUND) {
            let id = snowflake(value);
            match id.and_then(|id| self.world.member_index(guild, id)) {
                Some(index) => members.push(index),
                None => not_found.push(match id {
                    Some(id) if id.0 < BIGINT => json!(id.0),
                    Some(id) => json!(id),
                    None => value.clone(),
                }),
            }
        }
        members
    }

    /// Members whose user name or nickname begins with `query`, whatever its case.
    pub(crate) fn search_members(&self, guild: u32, query: &str, most: usize) -> Vec<u32> {
        let query = query.to_lowercase();
        let live = self.live.guild(guild);
        let starts = |name: Option<&String>| {
            name.is_some_and(|name| name.to_lowercase().starts_with(&query))
        };
        (0..self.world.members_per_guild)
            .filter(|&index| {
                let member = self.world.member(guild, index, &live);
                let user = member.user.as_ref();
                starts(user.map(|user| &user.username))
                    || starts(user.and_then(|user| user.global_name.as_ref()))
                    || starts(member.nick.as_ref())
            })
            .take(most)
            .collect()
    }

    /// Op 31.
    pub(super) fn request_sounds(
        &mut self,
        id: u64,
        key: SessionKey,
        d: &Value,
    ) -> Result<(), Close> {
        let ids = d["guild_ids"].as_array().ok_or(invalid("`guild_ids` must be an array."))?;
        for guild_id in ids {
            let Some(guild) = self.commanded_guild(id, key, guild_id)? else { continue };
            let d = json!({
                "soundboard_sounds": self.world.sounds(guild),
                "guild_id": self.world.guild_id(guild),
            });
            self.append(key, "SOUNDBOARD_SOUNDS".into(), Body::Json(d.to_string().into()), None);
        }
        Ok(())
    }

    /// Op 43.
    /// <https://docs.discord.com/developers/events/gateway-events#request-channel-info>
    pub(super) fn request_channel_info(
        &mut self,
        id: u64,
        key: SessionKey,
        d: &Value,
    ) -> Result<(), Close> {
        let fields = d["fields"].as_array().ok_or(invalid("`fields` must be an array."))?;
        let wants = |name: &str| fields.iter().any(|field| field == name);
        let known = |field: &Value| field == "status" || field == "voice_start_time";
        if !fields.iter().all(known) {
            return Err(invalid("`fields` may hold status and voice_start_time."));
        }
        let Some(guild) = self.commanded_guild(id, key, &d["guild_id"])? else { return Ok(()) };
        let live = self.live.guild(guild);
        let started = self.clock.unix_ms() / 1000;
        let channel = |index| {
            let channel_id = self.world.channel_id(guild, index);
            let mut info = json!({"id": channel_id});
            if wants("status") {
                info["status"] = Value::Null;
            }
            if wants("voice_start_time") {
                let used = live.voice.values().any(|state| state.channel_id == channel_id);
                info["voice_start_time"] = if used { json!(started) } else { Value::Null };
            }
            info
        };
        let channels: Vec<Value> = self.world.voice_channels().map(channel).collect();
        let d = json!({"guild_id": self.world.guild_id(guild), "channels": channels});
        self.append(key, "CHANNEL_INFO".into(), Body::Json(d.to_string().into()), None);
        Ok(())
    }
}
