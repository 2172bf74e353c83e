//! A session that is half dead: heartbeats are answered, and no event comes.

use std::time::Duration;

use shardwright::shard::{Cause, Input, Measure, ShardState};

use crate::bench::{Bench, INTERVAL};

const SECOND: Duration = Duration::from_secs(1);

/// Lets time pass second by second: heartbeats are answered at once, and with a `gap` there is an event
/// each such number of seconds. Ends early when the shard leaves its connection.
fn live(bench: &mut Bench, time: Duration, gap: Option<u64>) {
    let mut seq = bench.seq().expect("a session");
    for second in 1..=time.as_secs() {
        let sent = bench.sent.len();
        bench.advance(SECOND);
        if bench.state() != ShardState::Ready {
            return;
        }
        if bench.sent.len() > sent {
            bench.ack();
        }
        if gap.is_some_and(|gap| second.is_multiple_of(gap)) {
            seq += 1;
            bench.dispatch(seq, "MESSAGE_CREATE");
        }
    }
}

/// A shard that has had an event every other second for some hours.
fn talking_shard(seed: u64) -> Bench {
    let mut bench = Bench::ready_shard(seed);
    live(&mut bench, Duration::from_secs(3 * 3_600), Some(2));
    assert_eq!((bench.connects.len(), bench.warnings.len()), (1, 0));
    bench
}

/// Connects again and sends RESUME.
fn come_back(bench: &mut Bench) {
    if bench.state() == ShardState::Disconnected {
        bench.advance_to_connect();
    }
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["op"], 6);
}

/// Scenario 72: a shard that normally talks is silent, while heartbeats are answered: it warns after
/// five minutes and resumes after ten, once.
#[test]
fn a_half_dead_session_is_resumed() {
    for seed in 0..20 {
        let mut bench = talking_shard(seed);
        let silent_since = bench.elapsed();
        live(&mut bench, Duration::from_secs(300), None);
        assert_eq!((bench.state(), bench.warnings.len()), (ShardState::Ready, 0));
        live(&mut bench, INTERVAL, None);
        assert_eq!((bench.state(), bench.warnings.len()), (ShardState::Ready, 1));
        assert!(bench.machine.is_silent());
        let expected = ["29 a minute", "30 a minute"];
        assert!(expected.iter().any(|normal| bench.warnings[0].1.contains(normal)));
        live(&mut bench, Duration::from_secs(3_600), None);
        assert_ne!(bench.state(), ShardState::Ready);
        let silence = bench.elapsed() - silent_since;
        assert!(silence > 600 * SECOND && silence < 600 * SECOND + INTERVAL * 2, "{silence:?}");
        assert_eq!((bench.closes.as_slice(), bench.warnings.len()), (&[4900][..], 2));
        come_back(&mut bench);
        // What was missing comes now.
        for seq in bench.seq().expect("a session") + 1..6_000 {
            bench.dispatch(seq, "MESSAGE_CREATE");
        }
        bench.dispatch(6_000, "RESUMED");
        assert!(!bench.machine.is_silent());
        assert_eq!(bench.machine.counters().reconnects.of(Cause::Silent), 1);
        live(&mut bench, Duration::from_secs(3 * 3_600), Some(2));
        assert_eq!(bench.warnings.len(), 2, "{:?}", bench.warnings);
    }
}

/// Scenario 72: resumes that bring nothing become rare, and the shard that talks again is watched as
/// before.
#[test]
fn resumes_that_bring_nothing_become_rare() {
    let mut bench = talking_shard(1);
    let silent_since = bench.elapsed();
    let mut resumes = Vec::new();
    while bench.elapsed() < silent_since + Duration::from_secs(12 * 3_600) {
        live(&mut bench, Duration::from_secs(60), None);
        if bench.state() != ShardState::Ready {
            resumes.push((bench.elapsed() - silent_since).as_secs());
            come_back(&mut bench);
            let seq = bench.seq().expect("a session") + 1;
            bench.dispatch(seq, "RESUMED");
        }
    }
    assert!((5..=6).contains(&resumes.len()), "{resumes:?}");
    let growing = |r: &[u64]| r[2] - r[1] > (r[1] - r[0]) * 3 / 2;
    assert!(resumes.windows(3).all(growing), "{resumes:?}");
    assert_eq!(bench.sent_with(2).len(), 1, "no session start is spent on a silence");
}

/// A session that is over is replaced by a new one: what comes with it is an end of the silence.
#[test]
fn a_half_dead_session_that_is_over_is_replaced() {
    let mut bench = talking_shard(1);
    live(&mut bench, Duration::from_secs(3_600), None);
    come_back(&mut bench);
    bench.control(9, "false");
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    bench.ready_as("next", 1);
    live(&mut bench, Duration::from_secs(3_600), Some(2));
    assert_eq!((bench.state(), bench.warnings.len()), (ShardState::Ready, 2));
}

/// Scenario 72: a shard that has few events, or has them all at once, is left alone for ever.
#[test]
fn a_quiet_shard_is_left_alone() {
    let mut bench = Bench::ready_shard(1);
    live(&mut bench, Duration::from_secs(6 * 3_600), None);
    for _ in 0..20 {
        live(&mut bench, Duration::from_secs(600), Some(1));
        live(&mut bench, Duration::from_secs(3_600), None);
    }
    live(&mut bench, Duration::from_secs(12 * 3_600), Some(170));
    live(&mut bench, Duration::from_secs(6 * 3_600), None);
    assert_eq!((bench.connects.len(), bench.warnings.len()), (1, 0), "{:?}", bench.warnings);
}

/// Scenario 72: events that are not read are not missing.
#[test]
fn a_slow_host_is_not_a_silent_gateway() {
    let mut bench = talking_shard(1);
    bench.handle(Input::ReadsPaused(true));
    live(&mut bench, Duration::from_secs(2 * 3_600), None);
    bench.handle(Input::ReadsPaused(false));
    live(&mut bench, Duration::from_secs(299), None);
    assert_eq!((bench.connects.len(), bench.warnings.len()), (1, 0), "{:?}", bench.warnings);
    live(&mut bench, Duration::from_secs(3_600), None);
    assert_ne!(bench.state(), ShardState::Ready, "and now it is silent");
}

/// Scenarios 72 and 84: a machine that was suspended finds no silence and no missing ACK when it
/// wakes: what came meanwhile is still in the socket.
#[test]
fn a_suspension_is_not_a_silence() {
    let mut bench = talking_shard(1);
    let beats = bench.times_of(1).len();
    while bench.times_of(1).len() == beats {
        bench.advance(SECOND);
    }
    // Suspended between a beat and its ACK, until long after the next one was due.
    bench.sleep_through(Duration::from_secs(3_600));
    assert_eq!((bench.state(), bench.warnings.len()), (ShardState::Ready, 0));
    assert_eq!(bench.times_of(1).len(), beats + 2);
    bench.ack();
    live(&mut bench, Duration::from_secs(600), Some(2));
    assert_eq!((bench.connects.len(), bench.warnings.len()), (1, 0));

    // The same again, and nobody answers any more.
    bench.sleep_through(Duration::from_secs(3_600));
    bench.advance(INTERVAL);
    assert_eq!(bench.state(), ShardState::Disconnected);
    assert_eq!(bench.machine.counters().reconnects.total(), 0);
    bench.advance_to_connect();
    assert_eq!(bench.machine.counters().reconnects.of(Cause::Zombie), 1);
}

/// What takes time is measured: heartbeats, the line at the gate, and commands until they are gone.
#[test]
fn times_are_measured() {
    let mut bench = Bench::new(1);
    bench.command(1, 4, r#"{"guild_id":"1"}"#);
    bench.advance_ms(900);
    bench.connected();
    bench.hello();
    bench.advance_ms(100);
    bench.ready();
    bench.control(1, "null");
    bench.advance_ms(80);
    bench.ack();
    let ms = Duration::from_millis;
    let expected = [
        (Measure::IdentifyWait, ms(900)),
        (Measure::OutboundWait, ms(1_000)),
        (Measure::HeartbeatLatency, ms(80)),
    ];
    assert_eq!(bench.measured, expected);

    // A command that had not left when the connection was lost is measured once, when it has.
    bench.flushes = false;
    bench.command(2, 4, r#"{"guild_id":"1"}"#);
    bench.dropped();
    let waited = bench.advance_to_connect();
    bench.flushes = true;
    bench.connected();
    bench.hello();
    bench.advance_ms(50);
    bench.dispatch(2, "RESUMED");
    assert_eq!(bench.measured[3..], [(Measure::OutboundWait, waited + ms(50))]);
}

/// Each reconnect is counted by what ended the connection before it.
#[test]
fn reconnects_are_counted_by_cause() {
    let mut bench = Bench::ready_shard(1);
    let back = |bench: &mut Bench| {
        bench.advance_to_connect();
        bench.connected();
        bench.hello();
        if bench.last_sent()["op"] == 2 {
            bench.ready();
        } else {
            let seq = bench.seq().expect("a session") + 1;
            bench.dispatch(seq, "RESUMED");
        }
    };
    let mut expected = Vec::new();
    let mut after = |bench: &mut Bench, cause: Cause| {
        expected.push(cause);
        back(bench);
        let reconnects = bench.machine.counters().reconnects;
        let count = |cause| expected.iter().filter(|c| **c == cause).count() as u64;
        for cause in Cause::ALL {
            assert_eq!(reconnects.of(cause), count(cause), "{}", cause.name());
        }
    };
    bench.closed(4000);
    after(&mut bench, Cause::ClosedByServer);
    bench.dropped();
    after(&mut bench, Cause::ConnectionLost);
    bench.control(7, "null");
    after(&mut bench, Cause::Op7);
    bench.control(9, "false");
    after(&mut bench, Cause::InvalidSession);
    bench.handle(Input::BadCompression { reason: "noise".into() });
    after(&mut bench, Cause::BadData);
    bench.handle(Input::Restart { resume: true });
    after(&mut bench, Cause::Restart);
    while bench.state() == ShardState::Ready {
        bench.advance(SECOND);
    }
    after(&mut bench, Cause::Zombie);
    bench.closed(4004);
    bench.handle(Input::Restart { resume: true });
    assert_eq!(bench.machine.counters().reconnects.of(Cause::Restart), 2);
}
