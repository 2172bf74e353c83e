//! What went wrong, for people to read later: lost connections with what became of them, refusals, and
//! what the engine warns of.
//!
//! What befalls many shards within a few seconds is one incident. There are never more than an allowance
//! grows back for: a storm is told as a storm, and not shard by shard. Knows no clock: time is an argument.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::config::{
    INCIDENT_WINDOW, INCIDENTS_AT_ONCE, INCIDENTS_PER_HOUR, LONG_OUTAGE, MAX_INCIDENT_SHARDS,
};
use crate::shard::{Cause, ShardState, StateChange};

/// What kind of incident it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::client) enum Kind {
    /// A connection was lost and is there again.
    Reconnected,
    /// A connection is away for long.
    Away,
    /// Discord refuses a shard, or the client, until a person changes something.
    Fatal,
    /// Identifies wait for the session start limit.
    Budget,
    /// Identifies are slowed down, for they lead to nothing.
    Slowed,
    /// Identifies wait for the backplane.
    Turns,
    /// Guilds that READY listed have not come.
    GuildsMissing,
    /// The number of shards changes, has changed, or could not be changed.
    Reshard,
    /// A shard met a bug in the engine and was started anew.
    Bug,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub(in crate::client) struct News {
    /// What kind it is.
    pub(in crate::client) kind: Kind,
    /// The shard, if it is about one.
    pub(in crate::client) shard: Option<u32>,
    /// For people, without the shard.
    pub(in crate::client) text: String,
    /// The close code that caused it.
    pub(in crate::client) close_code: Option<u16>,
}

/// An incident as it is stored.
#[derive(Debug)]
pub(super) struct Incident {
    /// When it began, in ms since 1970.
    pub(super) at_ms: i64,
    /// What is to know of it.
    pub(super) value: Value,
}

/// A shard without a connection.
#[derive(Debug)]
struct Outage {
    since_ms: i64,
    cause: Option<Cause>,
    close_code: Option<u16>,
    reason: String,
    attempts: u32,
    /// Whether the last attempt was to resume.
    resumes: bool,
    is_told: bool,
}

/// Like things that happened at about the same time.
#[derive(Debug)]
struct Group {
    kind: Kind,
    cause: Option<Cause>,
    close_code: Option<u16>,
    resumed: Option<bool>,
    /// When the first of it happened.
    at_ms: i64,
    /// When it was first heard of.
    heard_at_ms: i64,
    /// Of the first.
    text: String,
    shards: BTreeSet<u32>,
    count: u64,
    /// The shortest and the longest.
    took_ms: Option<(i64, i64)>,
    attempts: u32,
}

/// What has happened and is not stored yet.
#[derive(Debug)]
pub(super) struct Incidents {
    outages: BTreeMap<u32, Outage>,
    open: Vec<Group>,
    /// Incidents that may be begun.
    allowance: f64,
    allowed_at_ms: i64,
    /// What was left out since the last one.
    left_out: u64,
}

impl Incidents {
    /// None yet.
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            outages: BTreeMap::new(),
            open: Vec::new(),
            allowance: f64::from(INCIDENTS_AT_ONCE),
            allowed_at_ms: now_ms,
            left_out: 0,
        }
    }

    /// A shard changed its state. Whether [`Incidents::due_at_ms`] is sooner for it: in a storm nobody is to
    /// look at all shards for each of them.
    pub(super) fn changed(&mut self, now_ms: i64, shard: u32, change: &StateChange) -> bool {
        let (open, was_calm) = (self.open.len(), self.outages.is_empty());
        match change.to {
            ShardState::Disconnected => {
                let outage = self.outages.entry(shard).or_insert_with(|| Outage {
                    since_ms: now_ms,
                    cause: change.lost,
                    close_code: change.close_code,
                    reason: change.reason.to_string(),
                    attempts: 0,
                    resumes: false,
                    is_told: false,
                });
                outage.attempts += 1;
            }
            ShardState::Resuming | ShardState::Identifying => {
                if let Some(outage) = self.outages.get_mut(&shard) {
                    outage.resumes = change.to == ShardState::Resuming;
                }
            }
            ShardState::Ready => {
                if let Some(outage) = self.outages.remove(&shard) {
                    self.is_back(now_ms, shard, outage);
                }
            }
            ShardState::Fatal | ShardState::Stopped => drop(self.outages.remove(&shard)),
            ShardState::Idle | ShardState::Queued | ShardState::Connecting => {}
        }
        self.open.len() > open || was_calm && !self.outages.is_empty()
    }

    /// Other shards take over: what befell the old ones is over.
    pub(super) fn forget_outages(&mut self) {
        self.outages.clear();
    }

    /// Something happened.
    pub(super) fn add(&mut self, now_ms: i64, news: News) {
        let News { kind, shard, text, close_code } = news;
        self.group(now_ms, Group { close_code, ..Group::new(kind, shard, now_ms, text) });
    }

    /// What can be stored by now.
    pub(super) fn due(&mut self, now_ms: i64) -> Vec<Incident> {
        self.look_for_long_outages(now_ms);
        let window = millis(INCIDENT_WINDOW);
        // A clock that was set back must not keep them.
        let is_over =
            |group: &mut Group| !(group.heard_at_ms..group.heard_at_ms + window).contains(&now_ms);
        let over: Vec<Group> = self.open.extract_if(.., is_over).collect();
        self.finish(over)
    }

    /// All there is, at the end.
    pub(super) fn rest(&mut self) -> Vec<Incident> {
        let open = std::mem::take(&mut self.open);
        self.finish(open)
    }

    /// When there will be something to store, if nothing else happens.
    pub(super) fn due_at_ms(&self) -> Option<i64> {
        let groups = self.open.iter().map(|group| group.heard_at_ms + millis(INCIDENT_WINDOW));
        let untold = self.outages.values().filter(|outage| !outage.is_told);
        groups.chain(untold.map(|outage| outage.since_ms + millis(LONG_OUTAGE))).min()
    }

    fn finish(&mut self, groups: Vec<Group>) -> Vec<Incident> {
        let finish = |group: Group| group.into_incident(std::mem::take(&mut self.left_out));
        groups.into_iter().map(finish).collect()
    }

    fn is_back(&mut self, now_ms: i64, shard: u32, outage: Outage) {
        let Outage { since_ms, cause, close_code, reason, attempts, resumes, .. } = outage;
        let took_ms = (now_ms - since_ms).max(0);
        self.group(
            now_ms,
            Group {
                cause,
                close_code,
                resumed: Some(resumes),
                at_ms: since_ms,
                took_ms: Some((took_ms, took_ms)),
                attempts,
                ..Group::new(Kind::Reconnected, Some(shard), now_ms, reason)
            },
        );
    }

    fn look_for_long_outages(&mut self, now_ms: i64) {
        let long = millis(LONG_OUTAGE);
        let mut away = Vec::new();
        for (shard, outage) in &mut self.outages {
            if !outage.is_told && outage.since_ms + long <= now_ms {
                outage.is_told = true;
                away.push(Group {
                    cause: outage.cause,
                    close_code: outage.close_code,
                    at_ms: outage.since_ms,
                    attempts: outage.attempts,
                    ..Group::new(Kind::Away, Some(*shard), now_ms, outage.reason.clone())
                });
            }
        }
        for group in away {
            self.group(now_ms, group);
        }
    }

    /// Adds to what happened just now, or begins an incident if that is still allowed.
    fn group(&mut self, now_ms: i64, new: Group) {
        // Texts of what is about the client differ where that matters: a reshard begins and ends.
        let is_like = |group: &&mut Group| {
            group.kind == new.kind
                && group.cause == new.cause
                && group.close_code == new.close_code
                && group.resumed == new.resumed
                && (!new.shards.is_empty() || group.text == new.text)
        };
        if let Some(group) = self.open.iter_mut().find(is_like) {
            group.count += 1;
            group.attempts = group.attempts.max(new.attempts);
            for shard in new.shards {
                if group.shards.len() < MAX_INCIDENT_SHARDS {
                    group.shards.insert(shard);
                }
            }
            group.took_ms = match (group.took_ms, new.took_ms) {
                (Some((least, most)), Some((took, _))) => Some((least.min(took), most.max(took))),
                (took, other) => took.or(other),
            };
            group.at_ms = group.at_ms.min(new.at_ms);
            return;
        }
        let passed_h = (now_ms - self.allowed_at_ms).max(0) as f64 / 3_600_000.0;
        let most = f64::from(INCIDENTS_AT_ONCE);
        self.allowance = (self.allowance + passed_h * f64::from(INCIDENTS_PER_HOUR)).min(most);
        self.allowed_at_ms = now_ms;
        if self.allowance < 1.0 {
            self.left_out += new.count;
            return;
        }
        self.allowance -= 1.0;
        self.open.push(new);
    }
}

impl Group {
    /// One thing that happened now.
    fn new(kind: Kind, shard: Option<u32>, now_ms: i64, text: String) -> Self {
        Self {
            kind,
            cause: None,
            close_code: None,
            resumed: None,
            at_ms: now_ms,
            heard_at_ms: now_ms,
            text,
            shards: shard.into_iter().collect(),
            count: 1,
            took_ms: None,
            attempts: 0,
        }
    }

    fn into_incident(self, left_out: u64) -> Incident {
        let text = self.words();
        let shards: Vec<u32> = self.shards.into_iter().collect();
        let value = json!({
            "at_ms": self.at_ms,
            "kind": self.kind,
            "text": text,
            "shards": shards,
            "count": self.count,
            "cause": self.cause.map(Cause::name),
            "close_code": self.close_code,
            "resumed": self.resumed,
            "took_ms": self.took_ms.map(|(_, longest)| longest),
            "left_out": left_out,
        });
        Incident { at_ms: self.at_ms, value }
    }

    /// For people.
    fn words(&self) -> String {
        let who = match (self.shards.first(), self.shards.len(), self.count) {
            (None, ..) => String::new(),
            (Some(shard), 1, 1) => format!("shard {shard}: "),
            (Some(shard), 1, count) => format!("shard {shard}, {count} times: "),
            (Some(_), MAX_INCIDENT_SHARDS, _) => format!("{MAX_INCIDENT_SHARDS} shards or more: "),
            (Some(_), shards, _) => format!("{shards} shards: "),
        };
        let seconds = |ms: i64| ms as f64 / 1_000.0;
        let then = match (self.kind, self.resumed, self.took_ms) {
            (Kind::Away, ..) => format!("; away for more than {} s", LONG_OUTAGE.as_secs()),
            (_, Some(resumed), Some((least, most))) => {
                let how = if resumed { "resumed" } else { "identified anew" };
                if self.count > 1 {
                    format!("; {how} in {:.1} to {:.1} s", seconds(least), seconds(most))
                } else {
                    format!("; {how} in {:.1} s", seconds(most))
                }
            }
            _ => String::new(),
        };
        let attempts = match self.attempts {
            0 | 1 => String::new(),
            attempts => format!(", at attempt {attempts}"),
        };
        format!("{who}{}{then}{attempts}", self.text)
    }
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: u32 = 7;

    /// A change to this state, with this reason.
    fn change(to: ShardState, reason: &'static str) -> StateChange {
        let lost = (to == ShardState::Disconnected).then_some(Cause::ConnectionLost);
        StateChange { from: ShardState::Ready, to, reason: reason.into(), close_code: None, lost }
    }

    /// What is stored after so long, as people read it.
    fn texts(incidents: &mut Incidents, now_ms: i64) -> Vec<String> {
        let text = |it: Incident| it.value["text"].as_str().expect("a text").to_owned();
        incidents.due(now_ms).into_iter().map(text).collect()
    }

    #[test]
    fn a_shard_that_stays_away_is_told_of_before_it_is_back_and_after() {
        let mut incidents = Incidents::new(0);
        incidents.changed(1_000, SHARD, &change(ShardState::Disconnected, "lost the connection"));
        assert_eq!(incidents.due_at_ms(), Some(61_000));
        incidents.changed(2_000, SHARD, &change(ShardState::Connecting, ""));
        incidents.changed(3_000, SHARD, &change(ShardState::Disconnected, "connection refused"));
        assert!(texts(&mut incidents, 60_999).is_empty());
        assert!(texts(&mut incidents, 61_000).is_empty());
        assert_eq!(incidents.due_at_ms(), Some(66_000));
        let away = "shard 7: lost the connection; away for more than 60 s, at attempt 2";
        assert_eq!(texts(&mut incidents, 66_000), [away]);
        assert_eq!(incidents.due_at_ms(), None);
        incidents.changed(70_000, SHARD, &change(ShardState::Resuming, ""));
        incidents.changed(71_000, SHARD, &change(ShardState::Ready, ""));
        let back = "shard 7: lost the connection; resumed in 70.0 s, at attempt 2";
        assert_eq!(texts(&mut incidents, 76_000), [back]);
    }

    #[test]
    fn a_start_a_stop_and_a_refusal_are_no_outages() {
        let mut incidents = Incidents::new(0);
        for state in [ShardState::Queued, ShardState::Identifying, ShardState::Ready] {
            incidents.changed(0, SHARD, &change(state, ""));
        }
        for end in [ShardState::Stopped, ShardState::Fatal] {
            incidents.changed(0, SHARD, &change(ShardState::Disconnected, "lost"));
            incidents.changed(0, SHARD, &change(end, ""));
        }
        assert_eq!((incidents.due_at_ms(), incidents.rest().len()), (None, 0));
    }

    #[test]
    fn what_happens_in_two_ways_is_two_incidents_and_a_clock_may_be_set_back() {
        let mut incidents = Incidents::new(0);
        let add = |incidents: &mut Incidents, shard, code| {
            let news = News {
                kind: Kind::Fatal,
                shard: Some(shard),
                text: format!("closed with {code}"),
                close_code: Some(code),
            };
            incidents.add(10_000, news);
        };
        for (shard, code) in [(0, 4014), (1, 4014), (1, 4014), (2, 4004), (2, 4004)] {
            add(&mut incidents, shard, code);
        }
        assert!(texts(&mut incidents, 14_999).is_empty());
        let told = ["2 shards: closed with 4014", "shard 2, 2 times: closed with 4004"];
        assert_eq!(texts(&mut incidents, 9_000), told);
    }

    #[test]
    fn the_allowance_grows_back() {
        let mut incidents = Incidents::new(0);
        let mut storm = |now_ms: i64, count: u16| {
            for code in 0..count {
                let news = News {
                    kind: Kind::Fatal,
                    shard: None,
                    text: code.to_string(),
                    close_code: Some(code),
                };
                incidents.add(now_ms, news);
            }
            let due = incidents.due(now_ms + 5_000);
            let left_out: Vec<_> = due.iter().map(|it| it.value["left_out"].clone()).collect();
            (due.len(), left_out.first().cloned())
        };
        assert_eq!(storm(0, 130), (100, Some(json!(30))));
        assert_eq!(storm(10_000, 5), (0, None));
        let hour_ms = 3_600_000;
        assert_eq!(storm(hour_ms + 1_000, 70), (60, Some(json!(15))));
        assert_eq!(storm(100 * hour_ms, 200), (100, Some(json!(100))));
    }
}
