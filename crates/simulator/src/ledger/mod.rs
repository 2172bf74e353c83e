//! The ledger: what the simulator saw and did, for tests to ask.
//!
//! Every list is bounded by [`Options::ledger_entries`](crate::Options::ledger_entries) and loses
//! its oldest entries; [`Counts`] never forget. Tokens are never written down.

mod record;
mod violation;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

pub use record::{
    ActionRecord, By, Closed, CommandRecord, ConnectionRecord, DispatchRecord, Handshake,
    HeartbeatRecord, IdentifyRecord, Outcome, RestRecord, ResumeRecord,
};
pub use violation::{Rule, ViolationRecord};

/// Totals since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Gateway handshakes asked for, refused ones included.
    pub handshakes: u64,
    /// Gateway handshakes answered with 101.
    pub connections: u64,
    /// Gateway connections that have ended.
    pub closed: u64,
    /// IDENTIFYs received.
    pub identifies: u64,
    /// IDENTIFYs that got a session.
    pub identified: u64,
    /// READY events handed to a connection.
    pub readies: u64,
    /// RESUMEs received.
    pub resumes: u64,
    /// RESUMEs that were granted.
    pub resumed: u64,
    /// Heartbeats received.
    pub heartbeats: u64,
    /// Heartbeats acknowledged.
    pub acks: u64,
    /// Commands received (ops 3, 4, 8, 31, 43 and anything unknown).
    pub commands: u64,
    /// REST calls received.
    pub rest: u64,
    /// REST calls answered with 429.
    pub rest_limited: u64,
    /// REST calls answered with 401, 403 or 429 (not of a shared limit): enough of them get an
    /// address banned.
    pub rest_invalid: u64,
    /// Dispatches appended to sessions, `READY` and `RESUMED` included.
    pub dispatches: u64,
    /// Dispatches sent again in replays.
    pub replayed: u64,
    /// World events that happened, which is also the number of the last one.
    pub events: u64,
    /// Rules broken by clients.
    pub violations: u64,
    /// Payloads sent to clients on all connections.
    pub payloads_out: u64,
    /// Bytes sent to gateway clients inside websocket frames, as compressed.
    pub bytes_out: u64,
}

/// Everything seen so far. Get a copy with [`Simulator::seen`](crate::Simulator::seen), a look
/// without copying with [`Simulator::look`](crate::Simulator::look), or wait for something with
/// [`Simulator::wait_until`](crate::Simulator::wait_until).
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Seen {
    /// Totals, which outlast the lists.
    pub counts: Counts,
    /// Gateway connections and refused handshakes, by number.
    pub connections: BTreeMap<u64, ConnectionRecord>,
    /// IDENTIFYs.
    pub identifies: VecDeque<IdentifyRecord>,
    /// RESUMEs.
    pub resumes: VecDeque<ResumeRecord>,
    /// Heartbeats.
    pub heartbeats: VecDeque<HeartbeatRecord>,
    /// Commands.
    pub commands: VecDeque<CommandRecord>,
    /// REST calls, with their answers.
    pub rest: VecDeque<RestRecord>,
    /// Dispatches, in the order they were appended to sessions. A replay adds none.
    pub dispatches: VecDeque<DispatchRecord>,
    /// Rules clients have broken.
    pub violations: VecDeque<ViolationRecord>,
    /// Control actions carried out, by method, HTTP or script.
    pub actions: VecDeque<ActionRecord>,
    #[serde(skip)]
    limit: usize,
    /// Set by every change, to wake those who wait.
    #[serde(skip)]
    pub(crate) changed: bool,
}

macro_rules! recorders {
    ($($name:ident => $list:ident: $record:ty;)*) => {
        $(pub(crate) fn $name(&mut self, record: $record) {
            if self.$list.len() >= self.limit {
                self.$list.pop_front();
            }
            self.$list.push_back(record);
            self.changed = true;
        })*
    };
}

impl Seen {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    recorders! {
        identify => identifies: IdentifyRecord;
        resume => resumes: ResumeRecord;
        heartbeat => heartbeats: HeartbeatRecord;
        command => commands: CommandRecord;
        rest => rest: RestRecord;
        dispatch => dispatches: DispatchRecord;
        violation => violations: ViolationRecord;
        action => actions: ActionRecord;
    }

    /// Adds a connection.
    pub(crate) fn connection(&mut self, record: ConnectionRecord) {
        if self.connections.len() >= self.limit {
            self.connections.pop_first();
        }
        self.connections.insert(record.connection, record);
        self.changed = true;
    }

    /// Changes a connection's record, if it is still there.
    pub(crate) fn update(&mut self, connection: u64, change: impl FnOnce(&mut ConnectionRecord)) {
        self.update_quietly(connection, change);
        self.changed = true;
    }

    /// As [`update`](Self::update), but nobody waits for it.
    pub(crate) fn update_quietly(
        &mut self,
        connection: u64,
        change: impl FnOnce(&mut ConnectionRecord),
    ) {
        if let Some(record) = self.connections.get_mut(&connection) {
            change(record);
        }
    }

    /// Names of the lists, as [`list`](Self::list) takes them.
    pub(crate) const LISTS: [&'static str; 9] = [
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

    /// The newest `limit` entries of a list since `after`, as JSON.
    pub(crate) fn list(&self, name: &str, after: Duration, limit: usize) -> Value {
        macro_rules! newest {
            ($entries:expr, $at:ident) => {{
                let entries = $entries.filter(|entry| entry.$at >= after);
                let entries: Vec<_> = entries.collect();
                json!(entries[entries.len().saturating_sub(limit)..])
            }};
        }
        match name {
            "connections" => newest!(self.connections.values(), opened),
            "identifies" => newest!(self.identifies.iter(), at),
            "resumes" => newest!(self.resumes.iter(), at),
            "heartbeats" => newest!(self.heartbeats.iter(), at),
            "commands" => newest!(self.commands.iter(), at),
            "rest" => newest!(self.rest.iter(), at),
            "dispatches" => newest!(self.dispatches.iter(), at),
            "violations" => newest!(self.violations.iter(), at),
            "actions" => newest!(self.actions.iter(), at),
            _ => Value::Null,
        }
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> impl Iterator<Item = &ConnectionRecord> {
        self.connections.values().filter(|record| record.is_open())
    }

    /// Numbers of the world events that were dispatched to a session, in order.
    pub fn numbers(&self, session: &str) -> Vec<u64> {
        let of_session = self.dispatches.iter().filter(|record| record.session == session);
        of_session.filter_map(|record| record.number).collect()
    }

    /// Numbers of the world events that were dispatched to any session of shard `shard`, in the
    /// order they happened.
    pub fn numbers_of_shard(&self, shard: u32) -> Vec<u64> {
        let of_shard = self.dispatches.iter().filter(|record| record.shard[0] == shard);
        of_shard.filter_map(|record| record.number).collect()
    }

    /// When the accepted IDENTIFYs of one `max_concurrency` key came.
    pub fn identify_times(&self, key: u32) -> Vec<Duration> {
        let accepted = |record: &&IdentifyRecord| record.key == key && record.outcome.is_accepted();
        self.identifies.iter().filter(accepted).map(|record| record.at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_bounded_and_counts_are_not() {
        let mut seen = Seen::new(3);
        for number in 0..10 {
            seen.counts.heartbeats += 1;
            seen.heartbeat(HeartbeatRecord {
                at: Duration::from_millis(number),
                connection: 1,
                shard: None,
                d: Some(number),
                requested: false,
                acked: true,
            });
        }
        assert_eq!(seen.heartbeats.len(), 3);
        assert_eq!(seen.heartbeats[0].d, Some(7));
        assert_eq!(seen.counts.heartbeats, 10);
        let json = serde_json::to_value(&seen).unwrap();
        assert_eq!(json["heartbeats"][0]["at_ms"], 7.0);
    }
}
