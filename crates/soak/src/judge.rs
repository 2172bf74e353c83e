//! What must hold after a world, checked against what the simulator sent and saw.
//!
//! The numbers are those of the promises in the crate's documentation. Number 6 (nothing crashes) is
//! checked where panics are caught, number 5 (every shard back) by the recovery itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use shardwright_sim::{By, DispatchRecord, Outcome, Rule, Seen, Simulator, ViolationRecord};

use crate::at::At;
use crate::came::Came;
use crate::host::Host;
use crate::life::Freeze;
use crate::network::Weather;
use crate::numbers::Charges;
use crate::world::World;

/// Session starts that the client keeps in reserve, by default.
const RESERVE: u32 = 50;

/// What a queue may hold over its bounds: one batch of each shard, a batch having at most so many
/// events and so many bytes (or one payload), and what the engine itself has to say.
const BATCH_EVENTS: usize = 256;
const BATCH_BYTES: usize = 64 << 10;
const LARGEST_PAYLOAD: usize = 512 << 10;
const SMALLEST_PAYLOAD: usize = 200;
const NOTICES: usize = 4_096;
const NOTICE_BYTES: usize = 2 << 10;

/// Close codes after which Discord has forgotten the session, or the client must not go on with it.
const ENDS_SESSION: [u16; 7] = [3000, 4003, 4006, 4007, 4009, 4014, 4004];

/// Fruitless resumes after which a client gives a session up; one is enough after 1000 and 1001.
const MANY_RESUMES: usize = 5;

/// How long a lost answer can matter for a limit of REST.
const LIMIT_MEMORY: Duration = Duration::from_secs(60);

/// How long it matters for one what the host used up before it was started anew.
const RESTART_MEMORY: Duration = Duration::from_secs(5);

/// Samples below which chance proves nothing.
const MANY: usize = 60;

/// Notes what was broken as problems of the host.
pub(crate) fn judge(host: &mut Host<'_>, world: &World, simulator: &Simulator, weather: &Weather) {
    let mut problems = Vec::new();
    simulator.look(|seen| {
        if world.reshards.is_some() {
            let died = host.died.last().copied().unwrap_or_default();
            let charges = Charges::new(seen, &host.restarts, &host.first_totals, &host.switches);
            problems.extend(host.numbers.missing(seen, &charges, died));
        }
        nothing_lost(host, world, seen, &mut problems);
        no_needless_identify(host, seen, &mut problems);
        budget_kept(world, host, seen, &mut problems);
        first_beats_spread(seen, &mut problems);
        for violation in &seen.violations {
            if !excused(violation, world, seen, &host.freezes, &host.restarts) {
                problems.push(describe(violation));
            }
        }
    });
    queue_bounded(host, world, &mut problems);
    attempts_spread(world, weather, &mut problems);
    for problem in problems {
        host.problem(&problem);
    }
}

/// Promise 1: of each session a part from its start came, each event once, in order and as it was
/// sent; of those that are alive, everything. With a queue that drops, what is missing was counted.
fn nothing_lost(host: &Host<'_>, world: &World, seen: &Seen, problems: &mut Vec<String>) {
    let mut sent: BTreeMap<&str, Vec<&DispatchRecord>> = BTreeMap::new();
    for record in &seen.dispatches {
        sent.entry(&record.session).or_default().push(record);
    }
    let mut newest: BTreeMap<u32, &str> = BTreeMap::new();
    for identify in &seen.identifies {
        if let Outcome::Accepted { session, .. } = &identify.outcome {
            newest.insert(identify.shard[0], session);
        }
    }
    // A READY that was dropped tells the host nothing of the session that began.
    let is_alive = |(id, session): &(u32, &str)| {
        !world.drops_oldest() || newest.get(id).is_some_and(|newest| newest == session)
    };
    let alive: BTreeSet<&str> =
        host.current_sessions().filter(is_alive).map(|(_, id)| id).collect();
    let mut missing = 0;
    'sessions: for (id, log) in &host.sessions {
        let mut sent = sent.remove(id.as_str()).unwrap_or_default().into_iter();
        let mut gaps = Vec::new();
        for came in &log.came {
            let passed = sent.by_ref().inspect(|sent| {
                if sent.s != came.seq {
                    lost(sent, world, &mut gaps);
                }
            });
            match passed.into_iter().find(|sent| sent.s == came.seq) {
                Some(sent) if is_same(sent, came) => {}
                // After a READY that was dropped it cannot be told whose events these are, nor what is missing.
                _ if world.drops_oldest() => continue 'sessions,
                other => {
                    let problem = format!("{came:?} came of session {id}, {other:?} was sent");
                    problems.push(format!("shard {}: {problem}", log.shard_id));
                    return;
                }
            }
        }
        if alive.contains(id.as_str()) {
            sent.for_each(|sent| lost(sent, world, &mut gaps));
        }
        if let Some(first) = gaps.first().filter(|_| !world.drops_oldest()) {
            problems.push(format!("shard {}: never came: {first}", log.shard_id));
        }
        missing += gaps.len() as u64;
    }
    if missing > host.dropped {
        problems.push(format!("{missing} events are missing, {} are said to be", host.dropped));
    }
}

/// Notes an event that did not come. One that says that a session was resumed may be missing: it is for
/// the connection that resumed, and that may have ended before. So may a READY that a host had not
/// finished when it died: it is not repeated, for it would begin another session.
fn lost(sent: &DispatchRecord, world: &World, gaps: &mut Vec<String>) {
    if sent.t != "RESUMED" && !(sent.t == "READY" && world.keeps.is_some()) {
        gaps.push(format!("{} {} of session {}", sent.t, sent.s, sent.session));
    }
}

/// Whether what came is what was sent.
fn is_same(sent: &DispatchRecord, came: &Came) -> bool {
    sent.t == came.name && (came.number.is_none() || sent.number == came.number)
}

/// Promise 3: a session is given up only when Discord has.
fn no_needless_identify(host: &Host<'_>, seen: &Seen, problems: &mut Vec<String>) {
    let lives: Vec<&str> = host.current_sessions().map(|(_, id)| id).collect();
    for (id, log) in &host.sessions {
        let began = seen.dispatches.iter().find(|sent| sent.session == *id).map(|sent| sent.at);
        if lives.contains(&id.as_str())
            || log.given_up
            || host.gave_up.contains(&log.shard_id)
            || seen.actions.iter().any(|action| {
                Some(action.at) >= began && ends_session(&action.action, log.shard_id)
            })
        {
            continue;
        }
        // What came since shows that the resumes before it bore fruit.
        let newest = log.came.last().map_or(0, |came| came.seq);
        let came = |sent: &&DispatchRecord| sent.session == *id && sent.s == newest;
        let newest_at = seen.dispatches.iter().find(came).map(|sent| sent.at);
        let resumes: Vec<_> = seen.resumes.iter().filter(|resume| resume.session == *id).collect();
        let fruitless = resumes.iter().filter(|resume| Some(resume.at) > newest_at).count();
        let refused = resumes.iter().any(|resume| {
            matches!(resume.outcome, Outcome::InvalidSession { .. } | Outcome::Closed { .. })
        });
        let mut closes = seen.connections.values().filter(|c| c.session.as_deref() == Some(id));
        let closed = closes.clone().any(|connection| {
            let closed = connection.closed.as_ref().filter(|closed| closed.by == By::Server);
            closed.and_then(|closed| closed.code).is_some_and(|code| ENDS_SESSION.contains(&code))
        });
        let normal = closes.any(|connection| {
            let closed = connection.closed.as_ref().filter(|closed| closed.by == By::Server);
            matches!(closed.and_then(|closed| closed.code), Some(1000 | 1001))
        });
        let enough = if normal { 1 } else { MANY_RESUMES };
        // Connections that ended before their RESUME was looked at may have been for this session.
        let unknown = seen.connections.values().filter(|connection| {
            connection.session.is_none() && Some(connection.opened) >= newest_at
        });
        if !refused && !closed && fruitless + unknown.count() < enough {
            problems.push(format!(
                "shard {}: session {id} was given up after {fruitless} fruitless resumes, though Discord \
                 kept it",
                log.shard_id
            ));
        }
    }
}

/// Whether an action of the world ends the session of this shard.
fn ends_session(action: &Value, shard_id: u32) -> bool {
    let target = &action["target"];
    let ends = action["do"] == "expire"
        || action["do"] == "invalid_session" && action["resumable"] == false;
    ends && (target == "all" || target["shard"] == shard_id)
}

/// Promise 3: the reserve of the day's session starts is not touched before the reset.
fn budget_kept(world: &World, host: &Host<'_>, seen: &Seen, problems: &mut Vec<String>) {
    let starts = world.options.session_starts;
    let reset = Duration::from_millis(starts.reset_after_ms);
    let remaining = starts.remaining.unwrap_or(starts.total);
    // One that a fault cut off before it had an effect was not spent.
    let spent = seen
        .identifies
        .iter()
        .filter(|identify| identify.at < reset && identify.outcome != Outcome::Cut)
        .count();
    let usable = remaining.saturating_sub(RESERVE) as usize;
    if spent > usable {
        let restarts = host.restarts.len();
        problems.push(format!(
            "{spent} identifies before the reset, {usable} could be used ({restarts} restarts)"
        ));
    }
}

/// Promise 2, and scenario 11: the first heartbeats do not come all at the same part of the interval.
fn first_beats_spread(seen: &Seen, problems: &mut Vec<String>) {
    let mut parts = Vec::new();
    let mut known = BTreeSet::new();
    for beat in &seen.heartbeats {
        if !known.insert(beat.connection) || beat.requested {
            continue;
        }
        let connection = seen.connections.get(&beat.connection);
        if let Some(hello) = connection.and_then(|connection| connection.hello) {
            parts.push(beat.at.saturating_sub(hello));
        }
    }
    let longest = parts.iter().max().copied().unwrap_or_default();
    let early = parts.iter().filter(|part| **part < longest / 2).count();
    if parts.len() >= MANY && early < parts.len() / 10 {
        problems.push(format!("{early} of {} first heartbeats were early", parts.len()));
    }
}

/// Promise 5: those who lost Discord at the same moment do not come back in step.
fn attempts_spread(world: &World, weather: &Weather, problems: &mut Vec<String>) {
    let attempts = weather.attempts();
    let in_step = attempts.crowded * 2 > attempts.failed;
    // More buckets let more shards set out together to identify.
    if world.options.max_concurrency == 1 && attempts.failed >= MANY as u64 && in_step {
        problems.push(format!(
            "{} of {} attempts to connect were made in step",
            attempts.crowded, attempts.failed
        ));
    }
}

/// Promise 8: the queue keeps its bounds.
fn queue_bounded(host: &Host<'_>, world: &World, problems: &mut Vec<String>) {
    let queue = &world.config["queue"];
    let bound = |key: &str| usize::try_from(queue[key].as_u64().unwrap_or(0)).unwrap_or(0);
    // Two sets of shards, and what the new one holds back.
    let (shards, holds) = match world.reshards {
        Some(_) => (2 * 16, bound("max_bytes")),
        None => (world.shards as usize, 0),
    };
    // Replies of a burst, and notices.
    let own = NOTICES + 4_096;
    let events = bound("max_events") + shards * BATCH_EVENTS + own + holds / SMALLEST_PAYLOAD;
    let bytes =
        bound("max_bytes") + holds + shards * (BATCH_BYTES + LARGEST_PAYLOAD) + own * NOTICE_BYTES;
    if host.events_max > events || host.bytes_max > bytes {
        problems.push(format!(
            "the queue held {} events and {} bytes, and may hold {events} and {bytes}",
            host.events_max, host.bytes_max
        ));
    }
}

/// Whether the world itself made the client break a rule.
fn excused(
    violation: &ViolationRecord,
    world: &World,
    seen: &Seen,
    freezes: &[Freeze],
    restarts: &[Duration],
) -> bool {
    let interval = Duration::from_millis(world.options.heartbeat_interval_ms);
    let frozen = || {
        freezes
            .iter()
            .any(|freeze| violation.at >= freeze.from && violation.at <= freeze.to + interval)
    };
    match violation.rule {
        // A machine that stands still sends nothing; and what the host says goes out before what came meanwhile
        // was read, that the session has ended too.
        Rule::HeartbeatLate
        | Rule::HeartbeatMissed
        | Rule::HeartbeatRequestIgnored
        | Rule::NotAuthenticated
            if frozen() =>
        {
            true
        }
        // An answer that was lost took along what it said of the limit; and a new process does not know what
        // the last one used up.
        Rule::RestLimitExceeded => {
            let lost = seen.rest.iter().filter(|call| call.status == 0).map(|call| call.at);
            let mut forgot = lost
                .map(|at| (at, LIMIT_MEMORY))
                .chain(restarts.iter().map(|at| (*at, RESTART_MEMORY)));
            forgot.any(|(at, memory)| at <= violation.at && violation.at <= at + memory)
        }
        // A host that does not keep up leaves the socket unread, and with it what Discord asks or says.
        Rule::HeartbeatRequestIgnored | Rule::HeartbeatSeq | Rule::NotAuthenticated => {
            world.may_block()
        }
        _ => false,
    }
}

fn describe(violation: &ViolationRecord) -> String {
    let shard = violation.shard.map_or_else(|| "-".to_owned(), |shard| shard[0].to_string());
    let ViolationRecord { rule, detail, .. } = violation;
    format!("at {} shard {shard} broke {rule:?}: {detail}", At(violation.at))
}

/// What the simulator saw of the shard that a problem names, up to now.
pub(crate) fn history(simulator: &Simulator, problem: &str) -> Vec<String> {
    const LINES: usize = 24;
    let shard = problem
        .split("shard ")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok());
    let mut lines: Vec<(Duration, String)> = Vec::new();
    simulator.look(|seen| {
        let of = |of: Option<[u32; 2]>| shard.is_none() || of.map(|of| of[0]) == shard;
        for connection in seen.connections.values().filter(|c| of(c.shard)) {
            let number = connection.connection;
            let host = connection.host.as_deref().unwrap_or("-");
            lines.push((connection.opened, format!("connection {number} to {host}")));
            if let Some(closed) = &connection.closed {
                let text = format!(
                    "connection {number} ended by {:?}, {:?}: {}",
                    closed.by, closed.code, closed.reason
                );
                lines.push((closed.at, text));
            }
        }
        for identify in seen.identifies.iter().filter(|i| of(Some(i.shard))) {
            let (connection, outcome) = (identify.connection, &identify.outcome);
            lines.push((identify.at, format!("connection {connection} IDENTIFY: {outcome:?}")));
        }
        for resume in seen.resumes.iter().filter(|r| of(r.shard)) {
            let (connection, seq) = (resume.connection, resume.seq);
            let text = format!("connection {connection} RESUME from {seq}: {:?}", resume.outcome);
            lines.push((resume.at, text));
        }
        for action in &seen.actions {
            lines.push((action.at, action.action.to_string()));
        }
    });
    lines.sort_by_key(|(at, _)| *at);
    let newest = lines.len().saturating_sub(LINES);
    let line = |(at, text): &(Duration, String)| format!("{:>17}  {text}", At(*at));
    lines[newest..].iter().map(line).collect()
}
