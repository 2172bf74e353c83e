//! Payloads of clients: the checks that come before any opcode, and the way to each opcode.

use std::time::Duration;

use serde_json::Value;

use super::close::Close;
use crate::control::Stage;
use crate::ledger::{CommandRecord, IdentifyRecord, Outcome, ResumeRecord, Rule};
use crate::state::State;

/// Largest payload a client may send.
/// <https://docs.discord.com/developers/events/gateway#sending-events>
const MAX_PAYLOAD: usize = 4096;

/// Payloads a connection may send in [`WINDOW`].
/// <https://docs.discord.com/developers/events/gateway#rate-limiting>
const MAX_IN_WINDOW: usize = 120;

/// The window of [`MAX_IN_WINDOW`].
const WINDOW: Duration = Duration::from_mins(1);

impl State {
    /// Takes in a message of a client.
    pub(crate) fn receive(&mut self, id: u64, message: &[u8]) {
        let Some(conn) = self.gateway.connections.get(&id) else { return };
        if conn.closing {
            return;
        }
        if let Err(close) = self.handle(id, message) {
            self.refuse(id, &close);
        }
    }

    fn handle(&mut self, id: u64, message: &[u8]) -> Result<(), Close> {
        self.count_payload(id)?;
        if self.gateway.connections.get(&id).is_some_and(|conn| !conn.greeted) {
            self.violation(Some(id), Rule::BeforeHello, "a payload before HELLO was sent");
        }
        if message.len() > MAX_PAYLOAD {
            let length = message.len();
            return Err(Close::TOO_LARGE.because(format!(
                "Error while decoding payload: {length} bytes, {MAX_PAYLOAD} are allowed."
            )));
        }
        let payload: Value = serde_json::from_slice(message).map_err(|_| Close::DECODE_ERROR)?;
        let op = payload.get("op").and_then(Value::as_u64).ok_or(Close::DECODE_ERROR)?;
        let d = payload.get("d").unwrap_or(&Value::Null);
        match op {
            1 => self.heartbeat(id, d),
            2 | 6 if self.ends_on_identify(id, op, d) => Ok(()),
            2 => self.identify(id, d),
            6 => self.resume(id, d),
            _ => self.command(id, op, d, message.len()),
        }
    }

    /// The limit of 120 payloads a minute, over a window that slides.
    fn count_payload(&mut self, id: u64) -> Result<(), Close> {
        let now = self.clock.now();
        let slack = Duration::from_millis(self.options.timing_slack_ms);
        let Some(conn) = self.gateway.connections.get_mut(&id) else { return Ok(()) };
        conn.received.push_back(now);
        while conn.received.front().is_some_and(|at| *at + WINDOW <= now + slack) {
            conn.received.pop_front();
        }
        if conn.received.len() > MAX_IN_WINDOW { Err(Close::RATE_LIMITED) } else { Ok(()) }
    }

    /// Carries out a planned end at IDENTIFY or RESUME.
    fn ends_on_identify(&mut self, id: u64, op: u64, d: &Value) -> bool {
        let Some(conn) = self.gateway.connections.get(&id) else { return false };
        let Some(end) = conn.end.clone().filter(|end| end.stage == Stage::OnIdentify) else {
            return false;
        };
        if op == 2 {
            self.seen.counts.identifies += 1;
            let record = self.identify_record(id, d, Outcome::Cut);
            self.seen.identify(record);
        } else {
            self.seen.counts.resumes += 1;
            self.seen.resume(ResumeRecord {
                at: self.clock.now(),
                connection: id,
                session: d["session_id"].as_str().unwrap_or_default().to_owned(),
                shard: None,
                seq: d["seq"].as_u64().unwrap_or_default(),
                outcome: Outcome::Cut,
            });
        }
        self.end_connection(id, &end.how);
        true
    }

    /// What an IDENTIFY asks for, as far as it can be read.
    pub(super) fn identify_record(&self, id: u64, d: &Value, outcome: Outcome) -> IdentifyRecord {
        let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        let shard = match d["shard"].as_array().map(Vec::as_slice) {
            Some([shard, total]) => [number(shard).unwrap_or(0), number(total).unwrap_or(0)],
            _ => [0, 1],
        };
        IdentifyRecord {
            at: self.clock.now(),
            connection: id,
            shard,
            key: shard[0] % self.options.max_concurrency,
            intents: d["intents"].as_u64().unwrap_or_default(),
            presence: d.get("presence").filter(|presence| !presence.is_null()).cloned(),
            compress: d["compress"].as_bool().unwrap_or_default(),
            large_threshold: number(&d["large_threshold"]).unwrap_or(50),
            properties: d["properties"].clone(),
            outcome,
        }
    }

    /// Every other opcode.
    fn command(&mut self, id: u64, op: u64, d: &Value, bytes: usize) -> Result<(), Close> {
        self.seen.counts.commands += 1;
        self.seen.command(CommandRecord {
            at: self.clock.now(),
            connection: id,
            shard: self.shard_of(id),
            op,
            d: d.clone(),
            bytes,
        });
        if !matches!(op, 3 | 4 | 8 | 31 | 43) {
            return Err(Close::UNKNOWN_OPCODE.because(format!("Unknown opcode {op}.")));
        }
        let key = self.gateway.session_of(id).ok_or(Close::NOT_AUTHENTICATED)?;
        if self.gateway.sessions.get(key).is_none() {
            return Err(Close::NOT_AUTHENTICATED);
        }
        if self.gateway.connections.get(&id).is_some_and(|conn| conn.ready.is_none()) {
            let detail = format!("op {op} before READY or RESUMED");
            self.violation(Some(id), Rule::CommandBeforeReady, detail);
        }
        match op {
            3 => self.update_presence(id, key, d),
            4 => self.update_voice_state(id, key, d),
            8 => self.request_members(id, key, d),
            31 => self.request_sounds(id, key, d),
            _ => self.request_channel_info(id, key, d),
        }
    }
}
