//! Identify, the gate, READY and op 9.

use std::time::Duration;

use serde_json::json;
use shardwright::shard::{Input, Machine, ShardState};

use crate::bench::{Bench, GATEWAY, Gate, raw, settings};

/// A shard whose gate the test plays.
fn at_a_closed_gate() -> Bench {
    let mut bench = Bench::idle(Machine::new(settings(), None, 1));
    bench.gate_is_open = false;
    bench.handle(Input::Start);
    bench
}

/// Scenarios 21 and 30: no socket before the turn is near, no identify before HELLO and the turn.
#[test]
fn identify_waits_for_hello_and_for_the_gate() {
    let mut bench = at_a_closed_gate();
    bench.advance_ms(600_000);
    assert_eq!((bench.state(), bench.connects.len()), (ShardState::Queued, 0));
    bench.handle(Input::GateGranted { ticket: 1 });
    assert!(bench.sent.is_empty(), "granted without a connection");
    bench.handle(Input::GateNear { ticket: 1 });
    assert_eq!((bench.state(), bench.last_url()), (ShardState::Connecting, GATEWAY));
    bench.connected();
    bench.handle(Input::GateGranted { ticket: 1 });
    assert!(bench.sent.is_empty(), "granted before HELLO");
    bench.hello();
    assert_eq!(bench.gate, [Gate::Enter(1), Gate::Arm(1)]);
    assert!(bench.sent_with(2).is_empty());
    bench.handle(Input::GateGranted { ticket: 1 });
    assert_eq!(bench.state(), ShardState::Identifying);
    assert_eq!(
        bench.last_sent()["d"],
        json!({"token":"test.token","intents":513,"properties":{"os":"test"},"shard":[1,4]})
    );
}

/// Heartbeats go on while a shard with HELLO waits for its turn.
#[test]
fn a_shard_in_line_beats() {
    let mut bench = at_a_closed_gate();
    bench.handle(Input::GateNear { ticket: 1 });
    bench.connected();
    bench.hello();
    for _ in 0..120 {
        bench.advance_ms(1_000);
        bench.ack();
    }
    assert!(bench.sent_with(1).len() >= 2);
    assert_eq!(bench.state(), ShardState::Connecting);
}

/// Scenario 29: a socket that dies in line frees the place, and an old ticket is worth nothing.
#[test]
fn a_socket_that_dies_in_line_frees_the_place() {
    let mut bench = at_a_closed_gate();
    bench.handle(Input::GateNear { ticket: 1 });
    bench.connected();
    bench.hello();
    bench.dropped();
    assert_eq!(bench.gate.last(), Some(&Gate::Leave(1)));
    while bench.state() != ShardState::Queued {
        bench.advance_ms(100);
    }
    assert_eq!(bench.gate.last(), Some(&Gate::Enter(2)));
    bench.handle(Input::GateNear { ticket: 1 });
    assert_eq!(bench.state(), ShardState::Queued);
    bench.handle(Input::GateNear { ticket: 2 });
    bench.connected();
    bench.hello();
    bench.handle(Input::GateGranted { ticket: 1 });
    assert!(bench.sent_with(2).is_empty());
    bench.handle(Input::GateGranted { ticket: 2 });
    assert_eq!(bench.sent_with(2).len(), 1);
}

/// Scenario 22: a reconnect that has to identify passes the gate again.
#[test]
fn a_reconnect_without_session_queues_again() {
    let mut bench = Bench::ready_shard(1);
    bench.gate_is_open = false;
    bench.closed(4009);
    while bench.state() != ShardState::Queued {
        bench.advance_ms(100);
    }
    assert_eq!(bench.gate.last(), Some(&Gate::Enter(2)));
    assert_eq!(bench.connects.len(), 1);
}

/// Scenario 23: a resume neither asks the gate nor waits for it.
#[test]
fn a_resume_passes_by_the_gate() {
    let mut bench = Bench::ready_shard(1);
    bench.gate_is_open = false;
    let told = bench.gate.len();
    bench.dropped();
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    assert_eq!((bench.state(), bench.gate.len()), (ShardState::Resuming, told));
}

/// Scenario 24: op 9 to IDENTIFY means 1 to 5 s of rest, a new socket and a new place in line.
#[test]
fn a_refused_identify_is_tried_again_on_a_new_socket() {
    for seed in 0..50 {
        for answer in ["false", "true", "null", ""] {
            let mut bench = Bench::new(seed);
            bench.connected();
            bench.hello();
            bench.control(9, answer);
            assert_eq!((bench.state(), &bench.closes[..]), (ShardState::Disconnected, &[4900][..]));
            let wait = bench.advance_to_connect();
            assert!(wait >= Duration::from_secs(1) && wait < Duration::from_secs(5), "{wait:?}");
            assert_eq!(bench.gate.last(), Some(&Gate::Enter(2)));
            bench.connected();
            bench.hello();
            assert_eq!(bench.last_sent()["op"], 2);
        }
    }
}

/// Scenario 25: op 9 `false` to RESUME ends session, sequence and resume URL.
#[test]
fn a_refused_resume_starts_from_nothing() {
    let mut bench = Bench::ready_shard(1);
    bench.dispatch(9, "MESSAGE_CREATE");
    bench.dropped();
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    bench.control(9, "false");
    assert_eq!(bench.machine.session(), None);
    assert_eq!(bench.closes, [4900]);
    let wait = bench.advance_to_connect();
    assert!(wait >= Duration::from_secs(1) && wait < Duration::from_secs(5), "{wait:?}");
    assert_eq!(bench.last_url(), GATEWAY);
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["op"], 2);
    bench.ready_as("other", 1);
    assert_eq!(bench.seq(), Some(1), "a new session counts from its own first");
}

/// Scenario 26: op 9 `true` keeps the session: close, rest, resume.
#[test]
fn a_resumable_invalid_session_is_resumed() {
    let mut bench = Bench::ready_shard(1);
    bench.control(9, "true");
    assert_eq!(bench.closes, [4900]);
    let wait = bench.advance_to_connect();
    assert!(wait >= Duration::from_secs(1) && wait < Duration::from_secs(5));
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["d"]["session_id"], "s");
}

/// Scenario 33: 4003 says that the session is gone too.
#[test]
fn not_authenticated_means_identify() {
    let mut bench = Bench::ready_shard(1);
    bench.closed(4003);
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["op"], 2);
}

/// Scenario 81: a READY without a session id is no READY; nor is one whose RESUME would be longer than
/// the 4096 bytes that Discord takes (found by the fuzz target `machine`).
#[test]
fn an_unreadable_ready_is_tried_again() {
    let of_length = |bytes| format!(r#"{{"session_id":"{}"}}"#, "s".repeat(bytes));
    // The second would fit as long as the sequence number has a few digits.
    let (endless, too_long_later) = (of_length(4_050), of_length(4_030));
    for data in ["", "null", "{}", r#"{"session_id":7}"#, &endless, &too_long_later] {
        let mut bench = Bench::new(1);
        bench.connected();
        bench.hello();
        bench.dispatch_data(Some(1), "READY", data);
        assert_eq!(bench.state(), ShardState::Disconnected, "{data}");
        bench.advance_to_connect();
    }
}

/// Scenario 59: the presence of the config, and later the newest one, stand in every identify.
#[test]
fn the_presence_is_part_of_every_identify() {
    let mut settings = settings();
    settings.presence = Some(raw(r#"{"status":"idle"}"#));
    let mut bench = Bench::idle(Machine::new(settings, None, 1));
    bench.handle(Input::Start);
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["d"]["presence"]["status"], "idle");
    bench.ready();
    bench.command(1, 3, r#"{"status":"dnd"}"#);
    bench.closed(4009);
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["d"]["presence"]["status"], "dnd");
}

/// A presence that does not fit beside the rest follows after READY.
#[test]
fn a_long_presence_follows_after_ready() {
    let mut bench = Bench::new(1);
    let long = format!(r#"{{"status":"{}"}}"#, "x".repeat(4_000));
    bench.command(1, 3, &long);
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["d"].get("presence"), None);
    bench.ready();
    assert_eq!(bench.last_sent()["op"], 3);
}
