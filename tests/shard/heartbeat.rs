//! Heartbeats, ACKs and half-open links.

use std::time::Duration;

use serde_json::Value;
use shardwright::shard::{Input, ShardState};

use crate::bench::{Bench, INTERVAL};

/// Scenario 11: the first beat comes somewhere in the interval, the next ones an interval apart.
#[test]
fn beats_are_jittered_once_and_then_regular() {
    let mut firsts = Vec::new();
    for seed in 0..100 {
        let mut bench = Bench::ready_shard(seed);
        let hello_at = Duration::from_millis(900);
        for _ in 0..200 {
            bench.advance_ms(1_000);
            bench.ack();
        }
        let beats = bench.times_of(1);
        assert!(beats[0] >= hello_at && beats[0] < hello_at + INTERVAL);
        assert!(beats.windows(2).all(|pair| pair[1] - pair[0] == INTERVAL));
        firsts.push(beats[0]);
    }
    firsts.sort();
    assert!(firsts[25] < Duration::from_secs(15) && firsts[75] > Duration::from_secs(25));
}

/// Scenario 14: before the first dispatch a beat says `null`, afterwards the newest sequence.
#[test]
fn a_beat_says_the_newest_sequence() {
    let mut bench = Bench::new(1);
    bench.connected();
    bench.hello();
    bench.control(1, "null");
    assert_eq!(bench.last_sent()["d"], Value::Null);
    bench.ready();
    bench.dispatch(7, "MESSAGE_CREATE");
    bench.control(1, "null");
    assert_eq!(bench.last_sent()["d"], 7);
}

/// Scenario 15: op 1 is answered at once with op 1, and the timer stays where it was.
#[test]
fn a_requested_beat_leaves_the_timer_alone() {
    let mut bench = Bench::ready_shard(1);
    bench.advance(INTERVAL);
    let regular = bench.times_of(1)[0];
    bench.ack();
    bench.advance_ms(10_000);
    bench.control(1, "null");
    assert_eq!(bench.times_of(1).last(), Some(&bench.elapsed()));
    bench.ack();
    bench.advance(INTERVAL);
    assert!(bench.times_of(1).contains(&(regular + INTERVAL)));
}

/// Scenario 16: a requested beat just before the tick is not a missed ACK.
#[test]
fn a_pending_requested_beat_is_not_a_missed_ack() {
    let mut bench = Bench::ready_shard(1);
    bench.advance(INTERVAL);
    bench.ack();
    let next = bench.times_of(1)[0] + INTERVAL;
    bench.advance(next - bench.elapsed() - Duration::from_millis(5));
    bench.control(1, "null");
    bench.advance_ms(5);
    assert_eq!(bench.times_of(1).len(), 3, "requested, and the regular one right behind it");
    assert_eq!(bench.state(), ShardState::Ready);
    bench.ack();
    bench.advance(INTERVAL);
    assert_eq!(bench.state(), ShardState::Ready);
}

/// Scenario 17: with no ACK between two beats the link is closed, not with 1000 or 1001, and the
/// session resumed.
#[test]
fn a_half_open_link_is_closed_and_resumed() {
    let mut bench = Bench::ready_shard(1);
    bench.advance(INTERVAL * 2);
    assert_eq!(bench.times_of(1).len(), 1);
    assert_eq!(bench.closes, [4900]);
    assert!(bench.states.iter().any(|change| change.reason == "heartbeats are not answered"));
    if bench.state() == ShardState::Disconnected {
        bench.advance_to_connect();
    }
    bench.connected();
    bench.hello();
    assert_eq!(bench.last_sent()["op"], 6);
}

/// Scenario 18: while events come, lost ACKs are just that.
#[test]
fn events_are_signs_of_life() {
    let mut bench = Bench::ready_shard(1);
    for seq in 2..200 {
        bench.advance_ms(5_000);
        bench.dispatch(seq, "TYPING_START");
    }
    assert_eq!(bench.state(), ShardState::Ready);
    assert!(bench.times_of(1).len() >= 23);
}

/// Scenario 12: a new connection starts with a clean slate, however long ago the last ACK was.
#[test]
fn a_missed_ack_is_not_carried_over() {
    let mut bench = Bench::ready_shard(1);
    bench.advance(INTERVAL);
    assert_eq!(bench.times_of(1).len(), 1);
    let lost = bench.elapsed();
    bench.dropped();
    while bench.elapsed() < lost + INTERVAL * 2 {
        bench.advance_to_connect();
        bench.advance_ms(14_000);
        bench.connect_failed();
    }
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    let closes = bench.closes.len();
    bench.advance(INTERVAL - Duration::from_millis(1));
    assert_eq!(bench.times_of(1).len(), 2);
    assert_eq!((bench.state(), bench.closes.len()), (ShardState::Resuming, closes));
}

/// Scenario 20: in an outage HELLO and ACKs work and READY never comes. Beats go on, and there is no
/// second identify for a long time.
#[test]
fn an_outage_does_not_cost_identifies() {
    let mut bench = Bench::new(1);
    bench.connected();
    bench.hello();
    for _ in 0..14 * 60 {
        bench.advance_ms(1_000);
        bench.ack();
    }
    assert_eq!(bench.state(), ShardState::Identifying);
    assert_eq!(bench.sent_with(2).len(), 1);
    assert!(bench.times_of(1).len() >= 19);
    for _ in 0..90 {
        bench.advance_ms(1_000);
        bench.ack();
    }
    assert!(bench.connects.len() > 1, "after a quarter of an hour it tries elsewhere");
    assert_eq!(bench.sent_with(2).len(), 1);
}

/// Scenario 19, the machine's part: while reads are paused for a slow host, missing ACKs prove
/// nothing, and beats go on.
#[test]
fn paused_reads_keep_the_session() {
    let mut bench = Bench::ready_shard(1);
    bench.handle(Input::ReadsPaused(true));
    bench.advance(INTERVAL * 10);
    assert_eq!(bench.state(), ShardState::Ready);
    let beats = bench.times_of(1);
    assert!(beats.len() >= 9 && beats.windows(2).all(|pair| pair[1] - pair[0] == INTERVAL));
    bench.handle(Input::ReadsPaused(false));
    bench.advance(INTERVAL);
    assert_eq!(bench.state(), ShardState::Ready, "the ACKs are only now being read");
    bench.ack();
    bench.advance(INTERVAL);
    assert_eq!(bench.state(), ShardState::Ready);
    bench.advance(INTERVAL * 2);
    assert_ne!(bench.state(), ShardState::Ready, "and now the link is really dead");
}

/// Scenario 78, the machine's part: a replay that is not read proves nothing against the session; the
/// patience counts from when reading goes on.
#[test]
fn paused_reads_keep_a_session_that_is_resumed() {
    let mut bench = Bench::ready_shard(1);
    bench.handle(Input::ReadsPaused(true));
    bench.dropped();
    bench.advance_to_connect();
    bench.connected();
    assert!(!bench.machine.may_pause_reads(), "HELLO must be read");
    bench.hello();
    assert!(bench.machine.may_pause_reads());
    bench.advance(INTERVAL * 20);
    assert_eq!(bench.state(), ShardState::Resuming);
    bench.handle(Input::ReadsPaused(false));
    bench.advance(INTERVAL / 2);
    assert_eq!(bench.state(), ShardState::Resuming);
    bench.dispatch(9, "RESUMED");
    assert_eq!(bench.state(), ShardState::Ready);
    assert_eq!(bench.sent_with(6).len(), 1);
}

/// The latency is that of the last beat.
#[test]
fn latency_is_measured() {
    let mut bench = Bench::ready_shard(1);
    assert_eq!(bench.machine.latency(), None);
    bench.control(1, "null");
    bench.advance_ms(80);
    bench.ack();
    assert_eq!(bench.machine.latency(), Some(Duration::from_millis(80)));
    bench.advance_ms(50);
    bench.ack();
    assert_eq!(bench.machine.latency(), Some(Duration::from_millis(80)), "an ACK for nothing");
}

/// Scenario 84: a host that was suspended sends one beat, not all that it slept through.
#[test]
fn a_suspended_machine_does_not_catch_up() {
    let mut bench = Bench::ready_shard(1);
    bench.advance(INTERVAL);
    bench.ack();
    let before = bench.times_of(1).len();
    bench.sleep_through(INTERVAL * 100);
    assert_eq!(bench.times_of(1).len() - before, 1);
}
