//! Resume, replay and sequence numbers.

use std::time::Duration;

use shardwright::shard::{Delivery, Input, Session, ShardState, StopMode};

use crate::bench::{Bench, GATEWAY, INTERVAL};

/// Drops the connection and brings it back up to RESUME.
fn drop_and_resume(bench: &mut Bench) {
    bench.dropped();
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    assert_eq!((bench.state(), &bench.last_sent()["op"]), (ShardState::Resuming, &6.into()));
}

/// Scenario 34: a connection that ends without a code is resumed where it ended.
#[test]
fn a_lost_connection_is_resumed() {
    let mut bench = Bench::ready_shard(1);
    bench.dispatch(41, "MESSAGE_CREATE");
    drop_and_resume(&mut bench);
    assert_eq!(bench.last_sent()["d"]["seq"], 41);
    assert_eq!(bench.last_sent()["d"]["session_id"], "s");
    assert_eq!(bench.last_sent()["d"]["token"], "test.token");
    assert_eq!(bench.sent_with(2).len(), 1);
}

/// Scenario 35: 1000 and 1001 from the server are answered with one resume, not with many.
#[test]
fn a_normal_closure_is_resumed_once() {
    for code in [1000, 1001] {
        let mut bench = Bench::ready_shard(1);
        bench.closed(code);
        bench.advance_to_connect();
        bench.connected();
        bench.hello();
        assert_eq!(bench.last_sent()["op"], 6);
        bench.closed(code);
        bench.advance_to_connect();
        assert_eq!(bench.last_url(), GATEWAY);
        bench.connected();
        bench.hello();
        assert_eq!(bench.last_sent()["op"], 2, "{code}");
    }
}

/// Scenario 36: our own restart keeps the session, a stop for good ends it.
#[test]
fn stops_close_with_the_code_they_mean() {
    for (mode, code) in [(StopMode::Resumable, 4900), (StopMode::Close, 1000)] {
        let mut bench = Bench::ready_shard(1);
        bench.handle(Input::Stop(mode));
        assert_eq!(bench.closes, [code]);
        assert_eq!(bench.machine.session().is_some(), mode == StopMode::Resumable);
    }
    let mut bench = Bench::ready_shard(1);
    bench.handle(Input::Restart { resume: true });
    assert_eq!(bench.closes, [4900]);
}

/// Scenario 37: three thousand replayed events come once each, in order, with heartbeats between.
#[test]
fn a_long_replay_comes_whole() {
    let mut bench = Bench::ready_shard(1);
    drop_and_resume(&mut bench);
    for seq in 2..=3_001 {
        bench.advance_ms(100);
        bench.ack();
        assert_eq!(bench.dispatch(seq, "MESSAGE_CREATE"), Delivery::Replayed);
        assert_eq!(bench.seq(), Some(seq));
    }
    assert_eq!(bench.dispatch(3_002, "RESUMED"), Delivery::New);
    assert_eq!(bench.state(), ShardState::Ready);
    assert_eq!(bench.dispatch(3_003, "MESSAGE_CREATE"), Delivery::New);
    assert!(bench.times_of(1).len() >= 6);
}

/// Scenario 38: what came before is dropped, and the sequence never goes back within a session.
#[test]
fn duplicates_are_dropped() {
    let mut bench = Bench::ready_shard(1);
    assert_eq!(bench.dispatch(5, "A"), Delivery::New);
    assert_eq!(bench.dispatch(5, "A"), Delivery::Drop);
    assert_eq!(bench.dispatch(3, "B"), Delivery::Drop);
    assert_eq!(bench.seq(), Some(5));
    assert_eq!(bench.machine.counters().duplicates, 2);
    bench.closed(4009);
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    bench.ready_as("next", 1);
    assert_eq!(bench.seq(), Some(1), "a new session has its own count");
    assert_eq!(bench.dispatch(2, "A"), Delivery::New);
}

/// Scenario 39: what has no sequence number leaves it alone.
#[test]
fn events_without_sequence_leave_it_alone() {
    let mut bench = Bench::ready_shard(1);
    bench.dispatch(5, "A");
    assert_eq!(bench.dispatch_data(None, "B", "{}"), Delivery::New);
    bench.ack();
    bench.control(1, "null");
    assert_eq!((bench.seq(), &bench.last_sent()["d"]), (Some(5), &5.into()));
}

/// Scenario 41: 4007 and 4009 to RESUME mean identify, not another resume.
#[test]
fn a_session_that_is_over_is_not_resumed_again() {
    for code in [4007, 4009] {
        let mut bench = Bench::ready_shard(1);
        drop_and_resume(&mut bench);
        bench.closed(code);
        bench.advance_to_connect();
        bench.connected();
        bench.hello();
        assert_eq!(bench.last_sent()["op"], 2, "{code}");
    }
}

/// Scenario 42: resumes that bring nothing are given up after a few, those that bring something not.
#[test]
fn fruitless_resumes_are_given_up() {
    let mut bench = Bench::ready_shard(1);
    let mut resumes = 0;
    loop {
        bench.dropped();
        bench.advance_to_connect();
        bench.connected();
        bench.hello();
        if bench.last_sent()["op"] == 2 {
            break;
        }
        resumes += 1;
        assert!(resumes < 10, "it resumes for ever");
    }
    assert_eq!(resumes, 5);

    let mut bench = Bench::ready_shard(1);
    for seq in 2..30 {
        drop_and_resume(&mut bench);
        bench.dispatch(seq, "A");
    }
}

/// Connections that fail before RESUME say nothing about the session: a long outage does not cost it.
#[test]
fn an_outage_does_not_cost_the_session() {
    let mut bench = Bench::ready_shard(1);
    bench.dropped();
    for _ in 0..100 {
        bench.advance_to_connect();
        bench.connect_failed();
    }
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["op"], 6);
}

/// Scenario 43: op 7 in the middle of a replay resumes from the newest sequence.
#[test]
fn op_7_during_replay_resumes_from_the_newest() {
    let mut bench = Bench::ready_shard(1);
    drop_and_resume(&mut bench);
    for seq in 2..=100 {
        bench.dispatch(seq, "A");
    }
    bench.control(7, "null");
    assert_eq!(bench.closes, [4900]);
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["d"]["seq"], 100);
}

/// Op 7 on a healthy connection is obeyed at once.
#[test]
fn op_7_is_obeyed_at_once() {
    let mut bench = Bench::ready_shard(1);
    bench.control(7, "null");
    assert_eq!(bench.advance_to_connect(), Duration::ZERO);
}

/// Scenario 44: RESUMED while guilds are still being sent is the end of the start.
#[test]
fn resumed_is_enough_to_be_ready() {
    let mut bench = Bench::ready_shard(1);
    bench.dispatch(2, "GUILD_CREATE");
    drop_and_resume(&mut bench);
    bench.dispatch(3, "RESUMED");
    assert_eq!(bench.state(), ShardState::Ready);
    assert_eq!(bench.dispatch(4, "GUILD_CREATE"), Delivery::New);
}

/// A server that neither replays nor says RESUMED is given up, however often it answers heartbeats.
#[test]
fn a_resume_without_answer_is_given_up() {
    let mut bench = Bench::ready_shard(1);
    drop_and_resume(&mut bench);
    for _ in 0..119 {
        bench.advance_ms(1_000);
        bench.ack();
    }
    assert_eq!(bench.state(), ShardState::Resuming);
    bench.advance_ms(1_000);
    assert_eq!(bench.state(), ShardState::Disconnected);
}

/// A session from an earlier life is resumed without the gate and without an identify.
#[test]
fn a_session_of_an_earlier_life_is_resumed() {
    let session = Session { id: "old".into(), seq: 77, resume_url: None };
    let mut bench = Bench::with_session(1, session);
    assert_eq!((bench.state(), bench.last_url()), (ShardState::Connecting, GATEWAY));
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["d"]["session_id"], "old");
    assert_eq!(bench.last_sent()["d"]["seq"], 77);
    assert!(bench.gate.is_empty());
    bench.dispatch(78, "RESUMED");
    assert_eq!(bench.state(), ShardState::Ready);
}

/// A restart the host asks for wakes a shard in backoff at once, and brings back a refused one.
#[test]
fn a_restart_works_from_every_state() {
    let mut bench = Bench::ready_shard(1);
    bench.handle(Input::Restart { resume: true });
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["op"], 6);
    bench.dispatch(2, "RESUMED");

    bench.handle(Input::Restart { resume: false });
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["op"], 2);
    bench.ready();

    for _ in 0..8 {
        bench.dropped();
        bench.advance_to_connect();
        bench.connect_failed();
    }
    let connects = bench.connects.len();
    bench.handle(Input::Restart { resume: true });
    assert_eq!(bench.connects.len(), connects + 1, "a shard in backoff wakes at once");
    bench.handle(Input::Restart { resume: true });
    bench.advance_ms(0);
    assert_eq!(bench.connects.len(), connects + 2, "an attempt is replaced by a new one");
    assert_eq!(bench.drops, 1);

    bench.connected();
    bench.closed(4004);
    assert_eq!(bench.state(), ShardState::Fatal);
    bench.handle(Input::Restart { resume: true });
    assert_eq!(bench.state(), ShardState::Connecting);
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["op"], 2);
}

/// Scenario 54, the machine's part: broken compression ends the connection, not the session.
#[test]
fn broken_compression_resumes() {
    let mut bench = Bench::ready_shard(1);
    bench.handle(Input::BadCompression { reason: "noise".into() });
    assert_eq!(bench.closes, [4900]);
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["op"], 6);
}

/// Scenario 55: unreadable payloads are survived, their sequence is taken, and many in a row end the
/// connection.
#[test]
fn bad_payloads_are_survived_until_there_are_many() {
    let mut bench = Bench::ready_shard(1);
    for round in 0..10 {
        for _ in 0..4 {
            bench.handle(Input::BadPayload { seq: None });
        }
        assert_eq!(bench.dispatch(10 + round, "A"), Delivery::New);
    }
    bench.handle(Input::BadPayload { seq: Some(50) });
    assert_eq!(bench.seq(), Some(50));
    bench.control(99, "[]");
    for _ in 0..4 {
        bench.handle(Input::BadPayload { seq: None });
    }
    assert_eq!(bench.state(), ShardState::Ready);
    bench.handle(Input::BadPayload { seq: None });
    assert_eq!((bench.state(), &bench.closes[..]), (ShardState::Disconnected, &[4900][..]));
    assert_eq!(bench.machine.counters().bad_payloads, 46);
}

/// Late news of a connection that was given up changes nothing.
#[test]
fn an_old_connection_has_nothing_to_say() {
    let mut bench = Bench::ready_shard(1);
    bench.advance(INTERVAL * 2);
    if bench.state() == ShardState::Connecting {
        bench.connect_failed();
    }
    assert_eq!(bench.state(), ShardState::Disconnected);
    bench.closed(4004);
    bench.hello();
    bench.control(9, "false");
    bench.handle(Input::BadPayload { seq: Some(99) });
    assert_eq!(bench.dispatch(100, "A"), Delivery::Drop);
    assert_eq!((bench.state(), bench.seq()), (ShardState::Disconnected, Some(1)));
}
