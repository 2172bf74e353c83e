//! What each close code leads to.

use shardwright::shard::{Outcome, ShardState};

use crate::bench::Bench;

/// What a ready shard sends first on its next connection, or `None` when it never makes one.
fn after_close(code: u16) -> Option<u64> {
    let mut bench = Bench::ready_shard(u64::from(code));
    bench.closed(code);
    bench.machine.poll_timeout()?;
    bench.advance_to_connect();
    bench.connected();
    bench.hello();
    bench.last_sent()["op"].as_u64()
}

/// Scenarios 45, 46 and 48, for every code there is.
#[test]
fn every_code_has_its_consequence() {
    for code in 1000..=5000 {
        let expected = match code {
            4004 | 4010..=4014 => None,
            3000 | 3003 | 4003 | 4006 | 4007 | 4009 => Some(2),
            _ => Some(6),
        };
        assert_eq!(after_close(code), expected, "{code}");
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
    bench.hello();
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
