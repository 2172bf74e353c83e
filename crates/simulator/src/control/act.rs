//! Carrying actions out.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{
    Action, ConnectPlan, ControlError, EndPlan, Ending, HandshakePlan, Posted, Ready, Result,
    Target,
};
use crate::gateway::dispatch::{Event, Scope, control_text};
use crate::gateway::frame::opcode;
use crate::gateway::{Conn, Out};
use crate::ledger::ActionRecord;
use crate::options::Options;
use crate::rest::fault::{RestFault, RestFaultKind};
use crate::state::State;
use crate::wire::Pace;
use crate::world::message::{Message, Place};
use crate::world::snowflake::Snowflake;

/// Most zeros [`Action::Bomb`] sends.
const MAX_BOMB: usize = 512 * 1024 * 1024;

impl State {
    /// Carries an action out and writes it into the ledger.
    pub(crate) fn act(&mut self, action: &Action) -> Result<Value> {
        let result = self.carry_out(action);
        let mut record = ActionRecord {
            at: self.clock.now(),
            action: json!(action),
            result: match &result {
                Ok(value) => value.clone(),
                Err(error) => json!({"error": error.to_string()}),
            },
        };
        for value in [&mut record.action, &mut record.result] {
            if let Some(token) = value.get_mut("token") {
                *token = json!("*");
            }
        }
        self.seen.action(record);
        result
    }

    #[expect(clippy::too_many_lines, reason = "one short arm for each action")]
    fn carry_out(&mut self, action: &Action) -> Result<Value> {
        match action {
            Action::Message { channel, user, content } => {
                self.post(*channel, *user, content).map(|posted| json!(posted))
            }
            Action::DirectMessage { user, content } => self.post_direct(*user, content),
            Action::Interaction(new) => {
                let fired = self.interact(new).ok_or(ControlError::UnknownChannel(new.channel));
                fired.map(|(id, token)| json!({"id": id, "token": token}))
            }
            Action::Dispatch { target, t, d, ignore_intents } => {
                Ok(self.inject(target, t, d, *ignore_intents))
            }
            Action::Send { target, text } => {
                Ok(self.send_each(target, &Out::Payload(text.clone())))
            }
            Action::SendFrame { target, text, base64 } => {
                let (code, data) = match (text, base64) {
                    (Some(text), None) => (opcode::TEXT, text.clone().into_bytes()),
                    (None, Some(base64)) => (opcode::BINARY, decode(base64)?),
                    _ => return Err(invalid("give either `text` or `base64`")),
                };
                Ok(self.send_each(target, &Out::Frame { code, data }))
            }
            Action::SendBytes { target, base64 } => {
                Ok(self.send_each(target, &Out::Bytes(decode(base64)?)))
            }
            Action::Bomb { target, bytes } => {
                if *bytes > MAX_BOMB {
                    return Err(invalid("a bomb has at most 512 MiB"));
                }
                let text = control_text(0, &json!("0".repeat(*bytes)));
                let text = text.replacen("\"t\":null", "\"t\":\"BOMB\"", 1);
                Ok(self.send_each(target, &Out::Payload(text)))
            }
            Action::Drop { target, how } => {
                Ok(self.each(target, |state, id| state.drop_socket(id, *how)))
            }
            Action::Close { target, code, reason } => {
                code.map_or(Ok(()), check_code)?;
                Ok(self.each(target, |state, id| state.begin_close(id, *code, reason)))
            }
            Action::Reconnect { target, close_after_ms } => {
                let at = close_after_ms.map(|ms| self.clock.now() + Duration::from_millis(ms));
                let close = Ending::Close { code: None, reason: String::new() };
                self.each(target, |state, id| state.send_control(id, 7, &Value::Null));
                Ok(self.change_each(target, |conn| {
                    if let Some(at) = at {
                        conn.push_at(at, Out::End(close.clone()));
                    }
                }))
            }
            Action::InvalidSession { target, resumable } => {
                Ok(self.each(target, |state, id| state.invalidate(id, *resumable)))
            }
            Action::RequestHeartbeat { target } => Ok(self.each(target, State::request_heartbeat)),
            Action::Acks { target, acks } => {
                Ok(self.each(target, |state, id| state.set_acks(id, *acks)))
            }
            Action::Corrupt { target, count } => {
                Ok(self.change_each(target, |conn| conn.corrupt = *count))
            }
            Action::Split { target, split } => {
                Ok(self.change_each(target, |conn| conn.split = Some(*split)))
            }
            Action::Slow { target, bytes_per_second } => {
                let pace = bytes_per_second.map(Pace::per_second);
                Ok(self.change_each(target, |conn| conn.link.wire.set_pace(pace)))
            }
            Action::IgnoreClose { target, ignore } => {
                Ok(self.change_each(target, |conn| conn.ignore_close = *ignore))
            }
            Action::Plan { count, plan } => {
                check_plan(plan)?;
                self.gateway.plans.add(plan.clone(), *count);
                Ok(Value::Null)
            }
            Action::Accept { count, plan } => {
                self.gateway.accepts.add(*plan, *count);
                Ok(Value::Null)
            }
            Action::Ready { shard, ready } => Ok(affected(self.set_ready(*shard, *ready))),
            Action::Stall { target, stall } => Ok(self.change_each(target, |conn| {
                conn.halted = *stall;
                conn.link.notify.notify_one();
            })),
            Action::MemberChunks { chunks } => {
                self.gateway.chunks = *chunks;
                Ok(Value::Null)
            }
            Action::RestFault { fault } => {
                check_fault(fault)?;
                Ok(json!({"rest_fault": self.rest.faults.add(fault.clone())}))
            }
            Action::ClearFaults { rest_fault } => {
                self.rest.faults.clear(*rest_fault);
                if rest_fault.is_none() {
                    self.gateway.clear_plans();
                    self.set_ready(None, Ready::AtOnce);
                }
                Ok(Value::Null)
            }
            Action::Expire { target } => Ok(self.expire(target)),
            Action::Withhold { .. }
            | Action::Release { .. }
            | Action::GuildDown { .. }
            | Action::GuildUp { .. }
            | Action::JoinGuild {}
            | Action::LeaveGuild { .. } => self.change_guild(action),
            Action::Traffic { events_per_second } => {
                let rate = json!(events_per_second);
                self.configure(&Map::from_iter([("events_per_second".to_owned(), rate)]))
            }
            Action::Configure { options } => self.configure(options),
            Action::SessionStarts { remaining } => {
                let starts = &mut self.gateway.starts;
                starts.remaining = *remaining;
                starts.total = starts.total.max(*remaining);
                Ok(Value::Null)
            }
            Action::ResetToken { token } => {
                self.reset_token("The token was reset.");
                self.token.clone_from(token);
                Ok(Value::Null)
            }
        }
    }

    /// Does something with each connection that is meant.
    fn each(&mut self, target: &Target, mut act: impl FnMut(&mut Self, u64)) -> Value {
        let connections = self.target_connections(target);
        for id in &connections {
            act(self, *id);
        }
        affected(connections.len())
    }

    /// Changes each connection that is meant.
    fn change_each(&mut self, target: &Target, mut change: impl FnMut(&mut Conn)) -> Value {
        self.each(target, |state, id| {
            if let Some(conn) = state.gateway.connections.get_mut(&id) {
                change(conn);
            }
        })
    }

    /// Sends something on each connection that is meant.
    fn send_each(&mut self, target: &Target, out: &Out) -> Value {
        self.each(target, |state, id| state.push(id, out.clone()))
    }

    /// Dispatches an event as it stands.
    fn inject(&mut self, target: &Target, t: &str, d: &Value, ignore_intents: bool) -> Value {
        let guild = match target {
            Target::Guild(guild) => Some(*guild),
            _ => d["guild_id"].as_str().and_then(|id| id.parse().ok()),
        };
        let scope = guild.map_or(Scope::Direct, Scope::Guild);
        let mut event = Event::new(t.to_owned(), scope, d.to_string());
        event.ignore_intents = ignore_intents;
        let sessions = self.target_sessions(target);
        affected(sessions.into_iter().filter(|key| self.dispatch_to(*key, &event)).count())
    }

    /// Ends sessions, with their connections.
    fn expire(&mut self, target: &Target) -> Value {
        let sessions = self.target_sessions(target);
        for key in &sessions {
            let session = self.gateway.sessions.remove(*key);
            if let Some(connection) = session.and_then(|session| session.connection) {
                self.begin_close(connection, Some(4009), "Session timed out.");
            }
        }
        affected(sessions.len())
    }

    /// A user writes to the bot.
    fn post_direct(&mut self, user: Option<Snowflake>, content: &str) -> Result<Value> {
        let user = user.unwrap_or_else(|| self.world.user_id(0));
        self.world.user_number(user).ok_or(ControlError::UnknownUser(user))?;
        let channel = self.direct_channel(user);
        self.post(channel, Some(user), content).map(|posted| json!(posted))
    }

    /// A user writes a message.
    fn post(
        &mut self,
        channel: Snowflake,
        user: Option<Snowflake>,
        content: &str,
    ) -> Result<Posted> {
        let place = self.place(channel).ok_or(ControlError::UnknownChannel(channel))?;
        let user = user.unwrap_or_else(|| match place {
            Place::Guild { guild, .. } => self.world.owner_id(guild),
            Place::Direct { user } => user,
        });
        self.world.user(user).ok_or(ControlError::UnknownUser(user))?;
        let number = self.next_number();
        let id = self.next_id();
        let unix_ms = self.clock.unix_ms();
        let mut message = Message::plain(id, channel, place, user, content.to_owned(), unix_ms);
        message.nonce = Some(json!(number.to_string()));
        self.find_mentions(&mut message, None);
        self.publish(message, Some(number));
        Ok(Posted { id, channel, number })
    }

    /// Changes options while the simulator runs.
    fn configure(&mut self, changes: &Map<String, Value>) -> Result<Value> {
        const FIXED: [&str; 16] = [
            "seed",
            "token",
            "bot_id",
            "application_id",
            "bot_name",
            "guilds",
            "members_per_guild",
            "channels_per_guild",
            "roles_per_guild",
            "listen",
            "tls",
            "ca_file",
            "ledger_entries",
            "messages_per_channel",
            "started_at_unix_ms",
            "session_starts",
        ];
        if let Some(name) = changes.keys().find(|name| FIXED.contains(&name.as_str())) {
            return Err(invalid(format!("option `{name}` cannot change while it runs")));
        }
        let mut all = json!(self.options);
        for (name, value) in changes {
            all[name] = value.clone();
        }
        let options: Options =
            serde_json::from_value(all).map_err(|error| invalid(error.to_string()))?;
        options.check().map_err(|error| invalid(error.to_string()))?;
        self.options = options;
        Ok(Value::Null)
    }
}

fn affected(count: usize) -> Value {
    json!({"affected": count})
}

pub(super) fn invalid(problem: impl Into<String>) -> ControlError {
    ControlError::Invalid(problem.into())
}

fn decode(text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|error| invalid(format!("`base64`: {error}")))
}

fn check_status(status: u16) -> Result<()> {
    let good = (200..=599).contains(&status);
    if good { Ok(()) } else { Err(invalid("a status is 200 to 599")) }
}

fn check_code(code: u16) -> Result<()> {
    let good = (1000..5000).contains(&code);
    if good { Ok(()) } else { Err(invalid("a close code is 1000 to 4999")) }
}

fn check_fault(fault: &RestFault) -> Result<()> {
    match &fault.what {
        RestFaultKind::Status { status, .. } => check_status(*status),
        _ => Ok(()),
    }
}

fn check_plan(plan: &ConnectPlan) -> Result<()> {
    if let HandshakePlan::Refuse { status, .. } = &plan.handshake {
        check_status(*status)?;
    }
    match &plan.end {
        Some(EndPlan { how: Ending::Close { code: Some(code), .. }, .. }) => check_code(*code),
        _ => Ok(()),
    }
}
