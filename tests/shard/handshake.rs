//! From the first connection attempt to HELLO.

use std::time::Duration;

use shardwright::shard::{Input, ShardState};

use crate::bench::{Bench, GATEWAY, Gate, RESUME};

/// Scenario 1: a server that accepts and then says nothing is given up, and tried again.
#[test]
fn a_handshake_that_never_ends_is_given_up() {
    let mut bench = Bench::new(1);
    bench.advance_ms(14_999);
    assert_eq!((bench.state(), bench.drops), (ShardState::Connecting, 0));
    bench.advance_ms(1);
    assert_eq!((bench.state(), bench.drops), (ShardState::Disconnected, 1));
    assert!(bench.states.last().expect("a change").reason.contains("no connection within 15 s"));
    bench.advance_to_connect();
}

/// Scenario 2: without HELLO the connection is closed, and the session is kept.
#[test]
fn a_server_without_hello_is_given_up_and_the_session_kept() {
    let mut bench = Bench::ready_shard(1);
    bench.dropped();
    bench.advance_to_connect();
    bench.connected();
    bench.advance_ms(15_000);
    assert_eq!(bench.state(), ShardState::Disconnected);
    assert_eq!(bench.closes, [4900]);
    assert_eq!(bench.seq(), Some(1));
}

/// Scenarios 3 and 13: refusals are met with waits that grow, are jittered and capped, for ever.
#[test]
fn refusals_are_met_with_growing_waits() {
    let mut longest = [Duration::ZERO; 12];
    let mut shortest = [Duration::MAX; 12];
    for seed in 0..200 {
        let mut bench = Bench::new(seed);
        for attempt in 0..12 {
            bench.connect_failed();
            let change = bench.states.last().expect("it is told");
            assert_eq!((change.to, &*change.reason), (ShardState::Disconnected, "refused"));
            let wait = bench.advance_to_connect();
            longest[attempt] = longest[attempt].max(wait);
            shortest[attempt] = shortest[attempt].min(wait);
        }
    }
    for attempt in 0..12 {
        let bound = Duration::from_secs(1 << attempt).min(Duration::from_secs(60));
        assert!(longest[attempt] <= bound && longest[attempt] > bound * 8 / 10, "{attempt}");
        assert!(shortest[attempt] < bound * 2 / 10, "no jitter at attempt {attempt}");
    }
}

/// Scenario 50: a server that accepts and closes before HELLO is no better than one that refuses;
/// only a session resets the backoff.
#[test]
fn only_a_session_resets_the_backoff() {
    let mut waited_long = false;
    for seed in 0..20 {
        let mut bench = Bench::new(seed);
        for _ in 0..10 {
            bench.connected();
            bench.closed(1001);
            waited_long |= bench.advance_to_connect() > Duration::from_secs(10);
        }
        bench.connected();
        bench.hello();
        bench.ready();
        bench.dropped();
        assert!(bench.advance_to_connect() <= Duration::from_secs(1));
    }
    assert!(waited_long);
}

/// Scenario 6: a resume URL that refuses is dropped after one failure; the session is not.
#[test]
fn a_dead_resume_url_is_tried_once() {
    let mut bench = Bench::ready_shard(1);
    bench.dropped();
    bench.advance_to_connect();
    assert_eq!(bench.last_url(), RESUME);
    bench.connect_failed();
    bench.advance_to_connect();
    assert_eq!(bench.last_url(), GATEWAY);
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["d"]["session_id"], "s");
    assert_eq!(bench.sent_with(2).len(), 1);
}

/// The same when the resume URL hangs, before or after the upgrade.
#[test]
fn a_hanging_resume_url_is_tried_once() {
    for upgraded in [false, true] {
        let mut bench = Bench::ready_shard(1);
        bench.dropped();
        bench.advance_to_connect();
        assert_eq!(bench.last_url(), RESUME);
        if upgraded {
            bench.connected();
        }
        bench.advance_to_connect();
        assert_eq!(bench.last_url(), GATEWAY);
        assert_eq!(bench.seq(), Some(1));
    }
}

/// Scenario 7: the resume URL gets the parameters of the first connection.
#[test]
fn a_resume_repeats_the_parameters() {
    let mut bench = Bench::ready_shard(1);
    assert_eq!(bench.last_url(), GATEWAY);
    bench.dropped();
    bench.advance_to_connect();
    assert_eq!(bench.last_url(), "ws://resume.test/?v=10&encoding=json&compress=zstd-stream");
}

/// Scenario 8: op 7 instead of HELLO is a reason to reconnect, with backoff.
#[test]
fn op_7_instead_of_hello_reconnects() {
    let mut waits = Vec::new();
    for seed in 0..50 {
        let mut bench = Bench::new(seed);
        bench.connected();
        bench.control(7, "null");
        assert_eq!(bench.state(), ShardState::Disconnected);
        assert_eq!(bench.closes, [4900]);
        waits.push(bench.advance_to_connect());
    }
    assert!(waits.iter().any(|wait| *wait > Duration::from_millis(500)));
}

/// Scenario 9: an unknown op before HELLO is ignored, and does not buy time.
#[test]
fn an_unknown_op_before_hello_is_ignored() {
    let mut bench = Bench::new(1);
    bench.connected();
    bench.advance_ms(14_000);
    bench.control(99, r#"{"x":1}"#);
    assert_eq!(bench.state(), ShardState::Connecting);
    bench.advance_ms(1_000);
    assert_eq!(bench.state(), ShardState::Disconnected);
}

/// Scenario 10: a HELLO without sense ends the connection, and nothing spins.
#[test]
fn a_senseless_hello_ends_the_connection() {
    for data in [
        "",
        "null",
        "{}",
        r#"{"heartbeat_interval":0}"#,
        r#"{"heartbeat_interval":-41250}"#,
        r#"{"heartbeat_interval":1}"#,
        r#"{"heartbeat_interval":"41250"}"#,
        r#"{"heartbeat_interval":null}"#,
    ] {
        let mut bench = Bench::new(1);
        bench.connected();
        bench.control(10, data);
        assert_eq!(bench.state(), ShardState::Disconnected, "{data}");
        assert!(bench.sent.is_empty());
        bench.advance_to_connect();
        bench.connected();
        bench.hello();
        assert_eq!(bench.state(), ShardState::Identifying, "{data}");
    }
}

/// A second HELLO changes nothing.
#[test]
fn a_second_hello_is_ignored() {
    let mut bench = Bench::ready_shard(1);
    bench.control(10, r#"{"heartbeat_interval":1000}"#);
    bench.advance_ms(30_000);
    assert!(bench.sent_with(1).len() <= 1);
    assert_eq!(bench.sent_with(2).len(), 1);
}

/// Scenario 76: whatever a shard is doing, a stop ends it at once and sets no timer.
#[test]
fn a_stop_ends_every_phase() {
    use shardwright::shard::StopMode::{Abort, Close, Resumable};
    type Reach = fn(&mut Bench);
    let phases: [(&str, Reach, bool); 9] = [
        ("queued", |_| {}, false),
        ("connecting", |bench| open_gate(bench), false),
        (
            "greeting",
            |bench| {
                open_gate(bench);
                bench.connected();
            },
            true,
        ),
        (
            "armed",
            |bench| {
                open_gate(bench);
                bench.connected();
                bench.hello();
            },
            true,
        ),
        (
            "identifying",
            |bench| {
                identify(bench);
            },
            true,
        ),
        (
            "ready",
            |bench| {
                identify(bench);
                bench.ready();
            },
            true,
        ),
        (
            "backoff",
            |bench| {
                identify(bench);
                bench.ready();
                bench.dropped();
            },
            false,
        ),
        (
            "replaying",
            |bench| {
                identify(bench);
                bench.ready();
                bench.dropped();
                bench.advance_to_connect();
                bench.connected();
                bench.hello();
                bench.dispatch(2, "MESSAGE_CREATE");
            },
            true,
        ),
        (
            "fatal",
            |bench| {
                identify(bench);
                bench.closed(4004);
            },
            false,
        ),
    ];
    for (name, reach, has_socket) in phases {
        for mode in [Resumable, Close, Abort] {
            let mut bench =
                Bench::idle(shardwright::shard::Machine::new(crate::bench::settings(), None, 1));
            bench.gate_is_open = false;
            bench.handle(Input::Start);
            reach(&mut bench);
            bench.handle(Input::Stop(mode));
            assert_eq!(bench.state(), ShardState::Stopped, "{name} {mode:?}");
            assert_eq!(bench.machine.poll_timeout(), None, "{name} {mode:?}");
            let code = match mode {
                Resumable if has_socket => Some(4900),
                Close if has_socket => Some(1000),
                _ => None,
            };
            assert_eq!(bench.closes.last().copied(), code, "{name} {mode:?}");
            let entered = bench.gate.iter().filter(|g| matches!(g, Gate::Enter(_))).count();
            let left = bench.gate.iter().filter(|g| matches!(g, Gate::Leave(_))).count();
            let identified = bench.sent_with(2).len();
            assert_eq!(entered, left + identified, "{name}: it still stands in line");
        }
    }
}

fn open_gate(bench: &mut Bench) {
    bench.handle(Input::GateNear { ticket: 1 });
}

fn identify(bench: &mut Bench) {
    open_gate(bench);
    bench.connected();
    bench.hello();
    bench.handle(Input::GateGranted { ticket: 1 });
}

/// Scenario 79, promise 7: a server that says our token, where an error would quote it, does not get it into a
/// reason; nor a text without end. The fuzz target `machine` found the first.
#[test]
fn reasons_have_neither_the_token_nor_a_book_in_them() {
    let book = "x".repeat(100_000);
    for text in ["test.token", &book] {
        let quoted = format!("\"{text}\"");
        let mut bench = Bench::new(1);
        bench.connected();
        bench.control(10, &format!(r#"{{"heartbeat_interval":{quoted}}}"#));
        let mut refused = vec![bench.states.last().expect("a change").clone()];

        let mut bench = Bench::new(1);
        bench.connected();
        bench.hello();
        bench.dispatch_data(Some(1), "READY", &quoted);
        refused.push(bench.states.last().expect("a change").clone());
        for change in refused {
            assert_eq!(change.to, ShardState::Disconnected);
            assert!(change.reason.contains("invalid type: string"), "{}", change.reason);
            assert!(!change.reason.contains("test.token") && change.reason.len() <= 1_024);
        }
    }
}
