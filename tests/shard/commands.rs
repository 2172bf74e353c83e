//! What the host wants sent.

use std::time::Duration;

use shardwright::shard::{Input, Outcome, ShardState, StopMode};

use crate::bench::Bench;

/// Scenario 32: before READY or RESUMED commands are held, not dropped and not sent.
#[test]
fn commands_wait_for_the_session() {
    let mut bench = Bench::new(1);
    bench.command(1, 4, r#"{"n":1}"#);
    bench.connected();
    bench.hello();
    bench.command(2, 8, r#"{"n":2}"#);
    assert!(bench.sent_with(4).is_empty() && bench.sent_with(8).is_empty());
    assert_eq!(bench.machine.commands_held(), 2);
    bench.ready();
    assert_eq!((bench.sent_with(4).len(), bench.sent_with(8).len()), (1, 1));
    assert_eq!(bench.settled, [(1, Outcome::Sent), (2, Outcome::Sent)]);

    bench.dropped();
    bench.command(3, 4, "{}");
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    bench.dispatch(2, "A");
    assert_eq!(bench.sent_with(4).len(), 1, "not during the replay either");
    bench.dispatch(3, "RESUMED");
    assert_eq!(bench.sent_with(4).len(), 2);
}

/// Scenario 56: five hundred commands at once leave as fast as allowed, heartbeats are on time, and
/// no minute of a connection holds more than 120 payloads.
#[test]
fn a_flood_is_spread_and_heartbeats_are_on_time() {
    let mut bench = Bench::ready_shard(1);
    for id in 0..500 {
        bench.command(id, 4, "{}");
    }
    while bench.settled.len() < 500 {
        bench.advance_ms(1_000);
        bench.ack();
        if bench.elapsed().as_secs().is_multiple_of(7) {
            bench.control(1, "null");
        }
    }
    let sent: Vec<Duration> = bench.sent.iter().map(|(at, _)| *at).collect();
    for (i, first) in sent.iter().enumerate() {
        let minute = sent[i..].iter().take_while(|at| **at < *first + Duration::from_secs(60));
        assert!(minute.count() <= 120);
    }
    let ids: Vec<u64> = bench.settled.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, (0..500).collect::<Vec<_>>(), "in order");
    assert!(bench.elapsed() < Duration::from_secs(5 * 61), "{:?}", bench.elapsed());
}

/// Scenario 56: a new connection starts with an empty window.
#[test]
fn a_new_connection_has_a_new_limit() {
    let mut bench = Bench::ready_shard(1);
    for id in 0..200 {
        bench.command(id, 4, "{}");
    }
    let first = bench.sent_with(4).len();
    bench.dropped();
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    bench.dispatch(2, "RESUMED");
    assert_eq!(bench.sent_with(4).len(), 200);
    assert!(first < 120);
}

/// Scenario 58: commands that wait, and those that may not have left, go out once and in order on
/// the next connection; of several presences only the newest does.
#[test]
fn commands_survive_a_reconnect_in_order() {
    let mut bench = Bench::ready_shard(1);
    bench.flushes = false;
    bench.command(1, 4, r#"{"n":1}"#);
    bench.command(2, 4, r#"{"n":2}"#);
    assert_eq!(bench.sent_with(4).len(), 2);
    bench.dropped();
    bench.command(3, 3, r#"{"status":"idle"}"#);
    bench.command(4, 4, r#"{"n":4}"#);
    bench.command(5, 3, r#"{"status":"dnd"}"#);
    assert_eq!(bench.settled, [(3, Outcome::Sent)], "replaced by a newer one");
    bench.flushes = true;
    bench.sent.clear();
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    bench.dispatch(2, "RESUMED");
    let sent: Vec<String> =
        bench.sent.iter().map(|(_, payload)| payload["d"].to_string()).collect();
    assert_eq!(sent[1..], [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":4}"#, r#"{"status":"dnd"}"#]);
    assert_eq!(bench.settled.len(), 5);
}

/// Five presences go out in 20 s; the next one waits, is replaced by newer ones, and holds up nothing
/// else. A reconnect does not change that.
#[test]
fn presences_have_a_limit_of_their_own() {
    let mut bench = Bench::ready_shard(1);
    for id in 0..8 {
        bench.command(id, 3, &format!(r#"{{"status":"{id}"}}"#));
    }
    bench.command(8, 4, "{}");
    assert_eq!((bench.sent_with(3).len(), bench.sent_with(4).len()), (5, 1));
    bench.dropped();
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    bench.dispatch(2, "RESUMED");
    assert_eq!(bench.sent_with(3).len(), 5);
    bench.advance_ms(21_000);
    let sent: Vec<_> = bench.sent_with(3).iter().map(|payload| &payload["d"]["status"]).collect();
    assert_eq!(sent[5..], ["7"]);
    let times = bench.times_of(3);
    assert!(times[5] - times[0] > Duration::from_secs(20));
    assert_eq!(bench.settled.len(), 9);
}

/// Scenario 59: a presence that was sent is not repeated after a resume, only in an identify.
#[test]
fn a_sent_presence_is_not_repeated_after_a_resume() {
    let mut bench = Bench::ready_shard(1);
    bench.command(1, 3, r#"{"status":"idle"}"#);
    bench.dropped();
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    bench.dispatch(2, "RESUMED");
    assert_eq!(bench.sent_with(3).len(), 1);
}

/// A presence that waits goes with the identify and is done by it.
#[test]
fn a_waiting_presence_goes_with_the_identify() {
    let mut bench = Bench::new(1);
    bench.command(1, 3, r#"{"status":"idle"}"#);
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["d"]["presence"]["status"], "idle");
    assert_eq!(bench.settled, [(1, Outcome::Sent)]);
    bench.ready();
    assert!(bench.sent_with(3).is_empty());
}

/// A cancelled command is not sent any more.
#[test]
fn a_cancelled_command_is_not_sent() {
    let mut bench = Bench::new(1);
    bench.command(1, 4, "{}");
    bench.command(2, 4, "{}");
    bench.handle(Input::Cancel { command_id: 1 });
    bench.connected();
    bench.hello();
    bench.ready();
    assert_eq!(bench.settled, [(2, Outcome::Sent)]);
}

/// A stop answers everything.
#[test]
fn a_stop_settles_all_commands() {
    let mut bench = Bench::ready_shard(1);
    bench.flushes = false;
    bench.command(1, 4, "{}");
    bench.dropped();
    bench.command(2, 4, "{}");
    bench.handle(Input::Stop(StopMode::Resumable));
    bench.command(3, 4, "{}");
    assert_eq!(bench.settled, [1, 2, 3].map(|id| (id, Outcome::Stopped)));
    assert_eq!(bench.state(), ShardState::Stopped);
}
