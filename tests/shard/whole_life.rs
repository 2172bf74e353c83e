//! Whole lives by seed: a gateway that does everything at random, and rules that must always hold.

use std::time::Duration;

use shardwright::shard::{Delivery, ShardState};

use crate::bench::{Bench, INTERVAL};

/// The gateway's memory of the current session.
#[derive(Default)]
struct World {
    /// Its number.
    session: u32,
    /// The sequence number of the last event it sent or kept for a replay.
    sent: u64,
    /// The sequence number of the last event that the shard took.
    taken: u64,
    /// It can be resumed.
    live: bool,
    /// Events taken in all sessions.
    events: u64,
}

impl World {
    /// The shard takes the next event: exactly the one after the last.
    fn take(&mut self, seq: u64) {
        assert_eq!(seq, self.taken + 1);
        self.taken = seq;
        self.events += 1;
    }
}

/// Lives a day with drops, closes, op 7 and 9, silence, refusals and commands; checks that in every
/// session each event was delivered exactly once and in order, that heartbeats kept their grid, and
/// that the shard always came back.
fn live(seed: u64) {
    let mut bench = Bench::new(seed);
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let mut world = World::default();
    let mut commands = 0;
    let end = Duration::from_secs(24 * 60 * 60);
    let mut last_ready = Duration::ZERO;
    while bench.elapsed() < end {
        bench.advance_ms(rng.u64(1..2_000));
        match bench.state() {
            ShardState::Connecting | ShardState::Identifying | ShardState::Resuming => {
                progress(&mut bench, &mut rng, &mut world);
            }
            ShardState::Ready => {
                last_ready = bench.elapsed();
                ready(&mut bench, &mut rng, &mut world, &mut commands);
            }
            ShardState::Disconnected => {}
            state => panic!("seed {seed}: it is {state}"),
        }
        assert!(bench.elapsed() - last_ready < Duration::from_secs(3_600), "seed {seed}: lost");
    }
    assert!(world.events > 50_000, "seed {seed}: a life with {} events", world.events);
    for minute in windows(&bench.sent.iter().map(|(at, _)| *at).collect::<Vec<_>>()) {
        // Two connections can share a minute; each has its own limit.
        assert!(minute <= 240, "seed {seed}: {minute} payloads in a minute");
    }
}

/// How many of these lie in the minute that starts with each.
fn windows(times: &[Duration]) -> impl Iterator<Item = usize> {
    let minute = Duration::from_secs(60);
    let count = move |i: usize| times[i..].iter().take_while(|at| **at < times[i] + minute).count();
    (0..times.len()).map(count)
}

/// A step of a connection that is not ready.
fn progress(bench: &mut Bench, rng: &mut fastrand::Rng, world: &mut World) {
    if rng.u8(0..20) == 0 {
        bench.dropped();
        bench.connect_failed();
        return;
    }
    match bench.state() {
        ShardState::Connecting => {
            bench.connected();
            if rng.u8(0..10) > 0 {
                bench.hello();
            }
        }
        ShardState::Identifying if rng.u8(0..10) == 0 => bench.control(9, "false"),
        ShardState::Identifying => {
            world.session += 1;
            world.sent = 1;
            world.taken = 1;
            world.live = true;
            bench.ready_as(&format!("session {}", world.session), 1);
        }
        _ => {
            let resumed = bench.last_with(6)["d"].clone();
            if !world.live || rng.u8(0..20) == 0 {
                world.live = false;
                bench.control(9, "false");
                return;
            }
            assert_eq!(resumed["session_id"], format!("session {}", world.session));
            let from = resumed["seq"].as_u64().expect("a number");
            assert_eq!(from, world.taken, "it asks for what it has not got");
            world.sent += rng.u64(0..3);
            for seq in from + 1..=world.sent {
                assert_eq!(bench.dispatch(seq, "EVENT"), Delivery::Replayed);
                world.take(seq);
                if rng.u8(0..50) == 0 {
                    bench.dropped();
                    return;
                }
            }
            world.sent += 1;
            bench.dispatch(world.sent, "RESUMED");
            world.take(world.sent);
        }
    }
}

/// A step of a connection that is ready.
fn ready(bench: &mut Bench, rng: &mut fastrand::Rng, world: &mut World, commands: &mut u64) {
    match rng.u16(0..1_000) {
        0..4 => bench.dropped(),
        4..6 => bench.closed([1000, 1001, 4000, 4008, 4242][rng.usize(0..5)]),
        6..8 => {
            world.live = false;
            bench.closed([4003, 4007, 4009][rng.usize(0..3)]);
        }
        8..10 => bench.control(7, "null"),
        10..11 => bench.control(9, "true"),
        11..12 => {
            world.live = false;
            bench.control(9, "false");
        }
        12..14 => bench.advance(INTERVAL * 3),
        14..20 => bench.control(1, "null"),
        20..30 => {
            for _ in 0..rng.u8(1..40) {
                *commands += 1;
                bench.command(*commands, 4, "{}");
            }
        }
        _ => {
            bench.ack();
            for _ in 0..rng.u8(0..5) {
                world.sent += 1;
                let delivery = bench.dispatch(world.sent, "EVENT");
                assert_eq!(delivery, Delivery::New);
                world.take(world.sent);
            }
            if rng.u8(0..10) == 0 {
                assert_eq!(bench.dispatch(rng.u64(1..=world.sent), "EVENT"), Delivery::Drop);
            }
        }
    }
    assert!(!world.live || bench.seq() == Some(world.taken));
}

/// A hundred days of a shard, in a few seconds.
#[test]
fn a_hundred_days_without_a_loss() {
    (0..100).for_each(live);
}
