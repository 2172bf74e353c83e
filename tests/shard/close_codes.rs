//! What each close code leads to.

use std::time::Duration;

use shardwright::shard::{Outcome, ShardState};

use crate::bench::Bench;

/// What a ready shard sends first on its next connection, and how long that took; `None` when it never makes
/// one.
fn after_close(code: u16) -> Option<(u64, Duration)> {
    let mut bench = Bench::ready_shard(u64::from(code));
    bench.closed(code);
    bench.machine.poll_timeout()?;
    let wait = bench.advance_to_connect();
    bench.connected();
    bench.hello();
    Some((bench.last_sent()["op"].as_u64()?, wait))
}

/// Scenarios 45, 46 and 48, for every code there is. Who comes back does not come at once.
#[test]
fn every_code_has_its_consequence() {
    for code in 1000..=5000 {
        let expected = match code {
            4004 | 4010..=4014 => None,
            3000 | 3003 | 4003 | 4006 | 4007 | 4009 => Some(2),
            _ => Some(6),
        };
        let (op, wait) = after_close(code).unzip();
        assert_eq!(op, expected, "{code}");
        let is_right = |wait: Duration| !wait.is_zero() && wait <= Duration::from_secs(1);
        assert!(wait.is_none_or(is_right), "{code}: {wait:?}");
    }
}

/// Scenario 45: a fatal code stops the shard with a reason that a person can act on, and fails what
/// was to be sent.
#[test]
fn a_fatal_code_says_what_to_do() {
    for (code, advice) in [
        (4004, "token"),
        (4010, "multiple"),
        (4011, "raise the number of shards"),
        (4012, "update Shardwright"),
        (4013, "by name"),
        (4014, "Developer Portal"),
    ] {
        let mut bench = Bench::new(1);
        bench.command(7, 4, "{}");
        bench.connected();
        bench.hello();
        bench.closed(code);
        let change = bench.states.last().expect("a change");
        assert_eq!((change.to, change.close_code), (ShardState::Fatal, Some(code)));
        assert!(change.reason.contains(advice), "{}", change.reason);
        assert_eq!(bench.settled, [(7, Outcome::Fatal)]);
        bench.command(8, 4, "{}");
        assert_eq!(bench.settled.last(), Some(&(8, Outcome::Fatal)));
        bench.advance_ms(86_400_000);
        assert_eq!((bench.state(), bench.connects.len()), (ShardState::Fatal, 1));
    }
}

/// Scenario 47: after 4008 the limiter is new and commands rest for a while.
#[test]
fn rate_limited_commands_rest() {
    let mut bench = Bench::ready_shard(1);
    for id in 0..50 {
        bench.command(id, 4, "{}");
    }
    bench.closed(4008);
    bench.command(99, 4, "{}");
    let closed_at = bench.elapsed();
    bench.advance_to_connect();
    bench.connected();
    let used_up = bench.machine.commands_left(bench.now);
    bench.hello();
    let left = bench.machine.commands_left(bench.now);
    assert!(left > 100 && left > used_up + 40, "{left} left, and {used_up} before");
    bench.dispatch(2, "RESUMED");
    let before = bench.sent_with(4).len();
    bench.advance_ms(20_000);
    let times = bench.times_of(4);
    assert_eq!(times.len(), before + 1);
    let rest = *times.last().expect("sent") - closed_at;
    assert!(rest.as_secs() == 10, "{rest:?}");
}

/// The server's own words are passed on, quoted.
#[test]
fn the_reason_is_quoted() {
    let mut bench = Bench::ready_shard(1);
    bench.handle(shardwright::shard::Input::Closed {
        code: Some(4000),
        reason: "Unknown \"error\"".into(),
    });
    let reason = &bench.states.last().expect("a change").reason;
    assert!(reason.contains("4000") && reason.contains(r#""Unknown \"error\"""#), "{reason}");
}
