//! The life of one shard, with what the host does to it made up. The fuzz target's world looks at
//! every step: [`targets::machine`](crate::targets::machine) says what must hold.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::targets;

/// Near, connected, HELLO (one of the intervals that are taken), granted, READY; now and then the
/// gate is early.
fn way_up() -> impl Strategy<Value = Vec<u8>> {
    let interval = prop_oneof![Just(0_u8), Just(1), Just(2), Just(7)];
    (interval, 1..255_u8, any::<bool>()).prop_map(|(interval, seq, is_early)| {
        let early: &[u8] = if is_early { &[4] } else { &[] };
        [&[3], early, &[1], early, &[6, interval, 4, 7, seq, 1]].concat()
    })
}

/// After a lost connection: rest, connect, HELLO, RESUMED.
fn way_back() -> impl Strategy<Value = Vec<u8>> {
    (0..8_u8, any::<bool>()).prop_map(|(interval, replays)| {
        let mut way = vec![28, 0xff, 0xff, 1, 6, interval];
        if replays {
            way.extend([8, 0, 8, 0]);
        }
        way.push(9);
        way
    })
}

/// Commands in floods, presences, and op 1.
fn flood() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0..64_u8).prop_map(|count| vec![21, count]),
        2 => any::<u8>().prop_map(|status| vec![23, status]),
        3 => (1..8_usize).prop_map(|count| [11].repeat(count)),
        2 => Just(vec![20]),
    ]
}

/// Time passes, with timers on time or late.
fn time() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => any::<u8>().prop_map(|byte| vec![29, byte]),
        3 => any::<[u8; 2]>().prop_map(|word| vec![28, word[0], word[1]]),
        1 => any::<[u8; 2]>().prop_map(|word| vec![30, word[0], word[1]]),
        1 => any::<[u8; 2]>().prop_map(|word| vec![31, word[0] / 4, word[1]]),
    ]
}

/// Everything else that can happen to a connection.
fn trouble() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        // A dispatch: the next one, one too far, or one that came before.
        (0..6_u8).prop_map(|off| vec![8, off]),
        Just(vec![10]),
        (12..15_u8).prop_map(|op| vec![op]),
        Just(vec![17, 0]),
        (1000..5000_u16).prop_map(|code| vec![18, (code >> 8) as u8, code as u8, 0]),
        any::<u8>().prop_map(|id| vec![24, id]),
        any::<u8>().prop_map(|paused| vec![25, paused]),
        any::<u8>().prop_map(|resume| vec![26, resume]),
    ]
}

fn life(rest: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    // Bits 5 and 7 of the seed: started by hand, with a session from before.
    let seed = any::<u8>().prop_map(|seed| seed & 0x5f);
    (seed, way_up(), vec(rest, 0..90))
        .prop_map(|(seed, way_up, rest)| [vec![seed], way_up, rest.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Scenario 56: however much is asked for, no minute of a connection holds more than 120 payloads,
    /// no 20 s more than five presences, and heartbeats are on time.
    #[test]
    fn floods_are_spread_and_heartbeats_never_wait(
        life in life(prop_oneof![3 => flood(), 2 => time(), 1 => Just(vec![10])])
    ) {
        targets::machine::run(&life);
    }

    /// Any life: each command is settled once, sequence numbers grow, the shard always comes back.
    #[test]
    fn every_life_keeps_the_promises(
        life in life(prop_oneof![
            2 => flood(), 2 => time(), 1 => trouble(), 1 => way_back(), 1 => way_up(),
        ])
    ) {
        targets::machine::run(&life);
    }
}
