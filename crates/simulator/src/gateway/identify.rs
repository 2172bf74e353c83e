//! IDENTIFY: every check Discord makes, then READY and the guilds.
//!
//! <https://docs.discord.com/developers/events/gateway-events#identify>

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::close::Close;
use super::dispatch::{Body, Event, Scope};
use super::session::{NewSession, SessionKey};
use crate::intents;
use crate::ledger::{Outcome, Rule};
use crate::options::Exhausted;
use crate::state::State;
use crate::world::guild::Viewer;
use crate::world::snowflake::{STRIDE, Snowflake};
use crate::world::to_json;
use crate::world::user::CurrentUser;

/// Flags of an application with limited (unverified) privileged intents, by intent.
/// <https://docs.discord.com/developers/resources/application#application-object-application-flags>
const APPLICATION_FLAGS: [(u64, u64); 3] = [
    (intents::GUILD_PRESENCES, 1 << 13),
    (intents::GUILD_MEMBERS, 1 << 15),
    (intents::MESSAGE_CONTENT, 1 << 19),
];

/// What a well-formed IDENTIFY says.
struct Request {
    shard: [u32; 2],
    intents: u64,
    large_threshold: u32,
    compress: bool,
    presence: Option<Value>,
}

/// Why an IDENTIFY gets no session.
enum Refusal {
    /// The connection is closed.
    Close(Close),
    /// Op 9 `false`; the client may try again on the same connection.
    InvalidSession(Rule, String),
}

impl From<Close> for Refusal {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

/// The `d` of READY, keys as Discord orders them.
/// <https://docs.discord.com/developers/events/gateway-events#ready>
#[derive(Serialize)]
struct Ready {
    v: u8,
    user_settings: Value,
    user: CurrentUser,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<[u32; 2]>,
    session_type: &'static str,
    session_id: String,
    resume_gateway_url: String,
    relationships: [(); 0],
    private_channels: [(); 0],
    presences: [(); 0],
    guilds: Vec<UnavailableGuild>,
    guild_join_requests: [(); 0],
    geo_ordered_rtc_regions: [&'static str; 3],
    auth: Value,
    application: Value,
    _trace: [&'static str; 1],
}

#[derive(Serialize)]
struct UnavailableGuild {
    unavailable: bool,
    id: Snowflake,
}

impl State {
    /// Takes in an op 2.
    pub(super) fn identify(&mut self, id: u64, d: &Value) -> Result<(), Close> {
        self.seen.counts.identifies += 1;
        let result = self.try_identify(id, d);
        let outcome = match &result {
            Ok(session) => Outcome::Accepted { session: session.clone(), replayed: 0 },
            Err(Refusal::Close(close)) => {
                Outcome::Closed { code: close.code, why: close.reason.clone().into_owned() }
            }
            Err(Refusal::InvalidSession(_, why)) => Outcome::InvalidSession { why: why.clone() },
        };
        let record = self.identify_record(id, d, outcome);
        self.seen.identify(record);
        match result {
            Ok(_) => {
                self.seen.counts.identified += 1;
                Ok(())
            }
            Err(Refusal::Close(close)) => Err(close),
            Err(Refusal::InvalidSession(rule, why)) => {
                self.violation(Some(id), rule, why);
                self.send_control(id, 9, &json!(false));
                Ok(())
            }
        }
    }

    fn try_identify(&mut self, id: u64, d: &Value) -> Result<String, Refusal> {
        let token = d["token"].as_str().ok_or(Close::DECODE_ERROR)?;
        if !d["properties"].is_object() {
            return Err(Close::DECODE_ERROR.because("IDENTIFY needs `properties`.").into());
        }
        if self.gateway.session_of(id).is_some() {
            return Err(Close::ALREADY_AUTHENTICATED.into());
        }
        if !self.is_token(token) {
            return Err(Close::AUTHENTICATION_FAILED.into());
        }
        self.spend_start()?;
        let request = self.check_identify(id, d)?;
        let [shard, total] = request.shard;
        let key = shard % self.options.max_concurrency;
        let window = Duration::from_millis(self.options.identify_window_ms);
        let slack = Duration::from_millis(self.options.timing_slack_ms);
        let now = self.clock.now();
        if let Err(left) = self.gateway.starts.enter(key, now, window, slack) {
            let why = format!(
                "shard {shard} of {total}: key {key} is taken for another {} ms",
                left.as_millis()
            );
            return Err(Refusal::InvalidSession(Rule::IdentifyTooSoon, why));
        }
        let session = self.start_session(id, &request, d.get("shard").is_some());
        Ok(session)
    }

    /// Draws on the session start limit.
    fn spend_start(&mut self) -> Result<(), Refusal> {
        if self.gateway.starts.spend(self.clock.now()) {
            return Ok(());
        }
        let why = format!("all {} session starts of the day are used", self.gateway.starts.total);
        match self.options.session_starts.when_exhausted {
            Exhausted::InvalidSession => {
                Err(Refusal::InvalidSession(Rule::SessionStartsExhausted, why))
            }
            Exhausted::ResetToken => {
                self.reset_token(&why);
                let mut close = Close::AUTHENTICATION_FAILED.because(why);
                close.rule = Rule::SessionStartsExhausted;
                Err(close.into())
            }
        }
    }

    /// What Discord does to a bot that used up its session starts: all sessions end, and the
    /// token is worth nothing any more.
    pub(crate) fn reset_token(&mut self, why: &str) {
        self.token = None;
        let sessions: Vec<SessionKey> = self.gateway.sessions.iter().map(|(key, _)| key).collect();
        for key in sessions {
            if let Some(session) = self.gateway.sessions.remove(key)
                && let Some(connection) = session.connection
            {
                self.begin_close(connection, Some(4004), why);
            }
        }
    }

    /// Shard, intents and the rest.
    fn check_identify(&mut self, id: u64, d: &Value) -> Result<Request, Close> {
        let shard = check_shard(d.get("shard"))?;
        let multiple = self.options.large_bot_multiple;
        if !shard[1].is_multiple_of(multiple) {
            let reason = format!("Invalid shard: the total must be a multiple of {multiple}.");
            return Err(Close::INVALID_SHARD.because(reason));
        }
        let most = self.options.max_guilds_per_shard;
        let guilds = self.guilds_of(shard).len();
        if guilds > most as usize {
            let reason = format!("Sharding required: {guilds} guilds, a shard may carry {most}.");
            return Err(Close::SHARDING_REQUIRED.because(reason));
        }
        let wanted = d["intents"].as_u64().ok_or(Close::INVALID_INTENTS)?;
        if wanted & !intents::ALL != 0 {
            let unknown = wanted & !intents::ALL;
            return Err(Close::INVALID_INTENTS.because(format!("Unknown intents {unknown:#x}.")));
        }
        let refused = wanted & intents::PRIVILEGED & !self.options.privileged_intents;
        if refused != 0 {
            let reason = format!("Disallowed intents {refused:#x}: not granted.");
            return Err(Close::DISALLOWED_INTENTS.because(reason));
        }
        let large_threshold = match d.get("large_threshold") {
            None | Some(Value::Null) => 50,
            Some(value) => value.as_u64().ok_or(Close::DECODE_ERROR)?,
        };
        if !(50..=250).contains(&large_threshold) {
            let detail = format!("large_threshold is 50 to 250, not {large_threshold}");
            self.violation(Some(id), Rule::InvalidPayload, detail);
        }
        let presence = d.get("presence").filter(|presence| !presence.is_null());
        if let Some(presence) = presence {
            super::commands::check_presence(presence)
                .map_err(|problem| Close::DECODE_ERROR.because(problem))?;
        }
        Ok(Request {
            shard,
            intents: wanted,
            large_threshold: large_threshold.clamp(50, 250) as u32,
            compress: d["compress"].as_bool().unwrap_or_default(),
            presence: presence.cloned(),
        })
    }

    /// Numbers of the guilds on a shard.
    pub(crate) fn guilds_of(&self, [shard, total]: [u32; 2]) -> Vec<u32> {
        if STRIDE.is_multiple_of(u64::from(total)) {
            // World ids are made so that no id needs to be computed here.
            return self.guilds().filter(|guild| guild % total == shard).collect();
        }
        self.guilds().filter(|guild| self.world.guild_id(*guild).shard(total) == shard).collect()
    }

    /// How many guilds each shard of a total has.
    pub(crate) fn guild_counts(&self, total: u32) -> BTreeMap<u32, u32> {
        let mut counts = BTreeMap::new();
        for guild in self.guilds() {
            *counts.entry(self.world.guild_id(guild).shard(total)).or_default() += 1;
        }
        counts
    }

    fn start_session(&mut self, id: u64, request: &Request, sharded: bool) -> String {
        let session_id = self.next_hex(32);
        let Some(conn) = self.gateway.connections.get(&id) else { return session_id };
        let (version, transport) = (conn.version, conn.transport);
        let resume_gateway_url = self.resume_url(conn.host.clone().as_deref());
        let gate = self.first_gate(request.shard[0], conn.ready_plan);
        let viewer = Viewer { intents: request.intents, large_threshold: request.large_threshold };
        let key = self.gateway.sessions.add(NewSession {
            id: session_id.clone(),
            shard: request.shard,
            viewer,
            version,
            transport,
            payload_compression: request.compress,
            presence: request.presence.clone(),
            max_events: self.options.replay_events,
            max_bytes: self.options.replay_bytes,
        });
        self.attach(id, key, 0);
        if let Some(conn) = self.gateway.connections.get_mut(&id) {
            conn.gate = gate;
        }
        let guilds = self.guilds_of(request.shard);
        let shard = sharded.then_some(request.shard);
        let d = self.ready(version, session_id.clone(), resume_gateway_url, shard, &guilds).into();
        let padding = self.options.ready_padding_bytes;
        self.append(key, "READY".into(), Body::Ready { d, padding }, None);
        if request.intents & intents::GUILDS != 0 {
            for guild in guilds {
                self.introduce_guild(key, guild);
            }
        }
        session_id
    }

    /// The `d` of READY.
    pub(super) fn ready(
        &self,
        v: u8,
        session_id: String,
        resume_gateway_url: String,
        shard: Option<[u32; 2]>,
        guilds: &[u32],
    ) -> String {
        to_json(&Ready {
            v,
            user_settings: json!({}),
            user: self.world.current_user(),
            shard,
            session_type: "normal",
            session_id,
            resume_gateway_url,
            relationships: [],
            private_channels: [],
            presences: [],
            guilds: guilds
                .iter()
                .map(|guild| UnavailableGuild {
                    unavailable: true,
                    id: self.world.guild_id(*guild),
                })
                .collect(),
            guild_join_requests: [],
            geo_ordered_rtc_regions: ["rotterdam", "us-east", "singapore"],
            auth: json!({}),
            application: json!({"id": self.world.application, "flags": self.application_flags()}),
            _trace: ["[\"gateway-sim-1\",{\"micros\":0}]"],
        })
    }

    /// Tells a new session of a guild: its state, its outage, or nothing yet.
    fn introduce_guild(&mut self, key: SessionKey, guild: u32) {
        if self.live.down.contains(&guild) {
            let id = self.world.guild_id(guild);
            let d = to_json(&UnavailableGuild { unavailable: true, id });
            self.dispatch_to(key, &Event::new("GUILD_DELETE", Scope::Guild(id), d));
        } else if !self.live.withheld.contains(&guild) {
            self.append(key, "GUILD_CREATE".into(), Body::GuildCreate(guild), None);
        }
    }

    /// Puts a session on a connection, which has everything up to `cursor`.
    pub(super) fn attach(&mut self, id: u64, key: SessionKey, cursor: u64) {
        self.gateway.sessions.attach(key, id);
        let Some(session) = self.gateway.sessions.get(key) else { return };
        if let Some(conn) = self.gateway.connections.get_mut(&id) {
            conn.session = Some(key);
            conn.cursor = cursor;
            conn.link.notify.notify_one();
        }
        let (session_id, shard) = (session.id.clone(), [session.shard, session.total]);
        self.seen.update(id, |record| {
            record.session = Some(session_id);
            record.shard = Some(shard);
        });
    }

    /// The flags of the bot's application, as READY and `/applications/@me` have them.
    pub(crate) fn application_flags(&self) -> u64 {
        APPLICATION_FLAGS
            .iter()
            .filter(|(intent, _)| self.options.privileged_intents & intent != 0)
            .map(|(_, flag)| flag)
            .sum()
    }
}

fn check_shard(shard: Option<&Value>) -> Result<[u32; 2], Close> {
    let Some(shard) = shard.filter(|shard| !shard.is_null()) else { return Ok([0, 1]) };
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let Some([id, total]) = shard.as_array().map(Vec::as_slice) else {
        return Err(Close::INVALID_SHARD.because("Invalid shard: it is [id, total]."));
    };
    match (number(id), number(total)) {
        (Some(id), Some(total)) if id < total => Ok([id, total]),
        _ => {
            Err(Close::INVALID_SHARD.because("Invalid shard: the id must be less than the total."))
        }
    }
}
