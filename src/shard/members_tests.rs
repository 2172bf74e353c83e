//! Requests for members against a gateway that does what a script says, in virtual time.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::protocol::send_event;

const SECOND: Duration = Duration::from_secs(1);

/// The requests of a shard with a machine that does as it is told, and the time.
struct Bench {
    members: Members,
    now: Instant,
    /// Commands that the machine has, oldest first.
    held: Vec<u64>,
    /// Every command that was handed to the machine, and when.
    sent: Vec<(u64, Instant)>,
    /// Replies: the answer, or the status of the error.
    done: Vec<(u64, Result<Value, i32>)>,
}

impl Bench {
    fn new() -> Self {
        Self {
            members: Members::new(Arc::default()),
            now: Instant::now(),
            held: Vec::new(),
            sent: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Does what is to be done.
    fn perform(&mut self) {
        while let Some(act) = self.members.poll() {
            match act {
                Act::Send(command) => {
                    assert!(!self.held.contains(&command.id), "twice at once");
                    self.held.push(command.id);
                    self.sent.push((command.id, self.now));
                }
                Act::Withdraw(id) => self.held.retain(|held| *held != id),
                Act::Done(id, Ok(answer)) => {
                    let answer = serde_json::from_slice(&answer).expect("JSON");
                    self.done.push((id, Ok(answer)));
                }
                Act::Done(id, Err(error)) => self.done.push((id, Err(error.kind().status()))),
            }
        }
    }

    /// Asks for members of a guild; the nonce is that of the number.
    fn ask(&mut self, command_id: u64, guild_id: u64, is_full_list: bool) {
        let d = serde_json::value::RawValue::from_string("{}".to_owned()).expect("JSON");
        let request = MemberRequest {
            guild_id,
            nonce: command_id.to_string(),
            payload: send_event(8, &d).expect("short"),
            is_full_list,
            presences: false,
            timeout: 60 * SECOND,
        };
        self.members.request(command_id, request, self.now);
        self.perform();
    }

    /// All that the machine has goes out.
    fn flush(&mut self) {
        for id in std::mem::take(&mut self.held) {
            assert!(self.members.settled(id, Outcome::Sent, self.now), "{id} is a request");
        }
        self.perform();
    }

    /// A chunk comes, with one member of its index; whether it was for a request.
    fn chunk(&mut self, guild_id: u64, nonce: u64, index: u32, count: u32) -> bool {
        let d = json!({
            "guild_id": guild_id.to_string(), "nonce": nonce.to_string(), "members": [index],
            "chunk_index": index, "chunk_count": count,
        });
        let taken = self.members.chunk(d.to_string().as_bytes(), self.now);
        self.perform();
        taken
    }

    /// RATE_LIMITED comes; whether it was for a request.
    fn limit(&mut self, guild_id: u64, nonce: u64, retry_after: f64) -> bool {
        let meta = json!({"guild_id": guild_id.to_string(), "nonce": nonce.to_string()});
        let d = json!({"opcode": 8, "retry_after": retry_after, "meta": meta}).to_string();
        let taken = self.members.rate_limited(d.as_bytes(), self.now);
        self.perform();
        taken
    }

    /// Time passes, and what is due happens.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.members.due().filter(|due| *due <= end) {
            assert!(due > self.now || self.now == end, "nothing is due all the time");
            self.now = due.max(self.now);
            self.members.timeout(self.now);
            self.perform();
        }
        self.now = end;
    }

    /// Whether nothing is left of what was collected.
    fn is_clean(&self) -> bool {
        self.members.open.is_empty()
            && self.members.due.is_none()
            && Arc::strong_count(&self.members.collected) == 1
    }
}

fn answer(guild_id: u64, members: &[u32]) -> Value {
    json!({"guild_id": guild_id.to_string(), "members": members, "not_found": [],
        "chunks": members.len()})
}

/// Scenario 62: chunks of several requests come in any order and mixed, and each request gets its own.
#[test]
fn chunks_find_their_request() {
    let mut bench = Bench::new();
    bench.ask(1, 7, true);
    bench.ask(2, 8, true);
    bench.ask(3, 7, false);
    bench.flush();
    assert_eq!(bench.sent.len(), 3);
    for (guild_id, nonce, index, count) in
        [(8, 2, 1, 2), (7, 1, 2, 3), (7, 3, 0, 1), (7, 1, 0, 3), (8, 2, 0, 2), (7, 1, 1, 3)]
    {
        assert!(bench.chunk(guild_id, nonce, index, count));
    }
    let expected =
        [(3, Ok(answer(7, &[0]))), (2, Ok(answer(8, &[0, 1]))), (1, Ok(answer(7, &[0, 1, 2])))];
    assert_eq!(bench.done, expected);
    assert!(bench.is_clean());
    assert!(!bench.chunk(7, 1, 1, 3), "nobody waits for it");
    assert!(!bench.chunk(7, 9, 0, 1));
}

/// Scenario 62: a chunk is missing: the request ends in time, says so, and leaves nothing.
#[test]
fn a_missing_chunk_is_a_timeout() {
    let mut bench = Bench::new();
    bench.ask(1, 7, true);
    bench.flush();
    bench.chunk(7, 1, 0, 3);
    bench.chunk(7, 1, 2, 3);
    let error = bench.members.open[&1].late().to_string();
    assert_eq!(error, "members of guild 7: 2 of 3 chunks came within 60000 ms");
    bench.pass(59 * SECOND);
    assert_eq!(bench.done, []);
    bench.pass(SECOND);
    assert_eq!(bench.done, [(1, Err(ErrorKind::Timeout.status()))]);
    assert!(bench.is_clean());
}

/// Lists of one guild are 30 s apart, others go at once; the first who asked is the first.
#[test]
fn full_lists_of_a_guild_are_spaced() {
    let mut bench = Bench::new();
    for (id, guild_id, is_full_list) in [(1, 7, true), (2, 7, true), (3, 7, false), (4, 8, true)] {
        bench.ask(id, guild_id, is_full_list);
    }
    bench.ask(5, 7, true);
    let sent = |bench: &Bench| bench.sent.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    assert_eq!(sent(&bench), [1, 3, 4], "the machine has one of guild 7 at a time");
    bench.pass(5 * SECOND);
    bench.flush();
    assert_eq!(sent(&bench), [1, 3, 4]);
    bench.pass(30 * SECOND);
    assert_eq!(sent(&bench), [1, 3, 4]);
    bench.pass(SECOND);
    assert_eq!(sent(&bench), [1, 3, 4, 2]);
    // It is not sent before it is cancelled, which lets the next one go.
    bench.members.cancel(2, bench.now);
    bench.held.retain(|id| *id != 2);
    bench.perform();
    assert_eq!(sent(&bench), [1, 3, 4, 2, 5]);
    bench.chunk(7, 1, 0, 1);
    bench.chunk(7, 3, 0, 1);
    bench.chunk(8, 4, 0, 1);
    bench.chunk(7, 5, 0, 1);
    assert!(bench.held.is_empty());
    assert_eq!(bench.done.len(), 4);
}

/// Scenarios 60 and 62: RATE_LIMITED is waited out, and the request is made again.
#[test]
fn rate_limited_is_waited_out() {
    let mut bench = Bench::new();
    bench.ask(1, 7, true);
    bench.flush();
    let start = bench.now;
    assert!(!bench.limit(7, 2, 5.0), "of somebody else");
    assert!(!bench.limit(8, 1, 5.0), "of somebody else");
    assert!(bench.limit(7, 1, 12.5));
    bench.pass(12 * SECOND);
    assert_eq!(bench.sent.len(), 1);
    bench.pass(SECOND);
    let again = start + Duration::from_millis(12_500);
    assert_eq!(bench.sent.last(), Some(&(1, again)));
    // Before it went out: it is not sent twice.
    assert!(bench.limit(7, 1, 1.0));
    assert!(bench.held.is_empty());
    bench.pass(2 * SECOND);
    bench.flush();
    bench.chunk(7, 1, 0, 2);
    assert!(bench.limit(7, 1, 1.0), "an answer is on its way");
    bench.pass(5 * SECOND);
    assert_eq!(bench.sent.len(), 3);
    bench.chunk(7, 1, 1, 2);
    assert_eq!(bench.done, [(1, Ok(answer(7, &[0, 1])))]);
    assert!(bench.is_clean());
}

/// A wait without sense, or one that is longer than the request may take.
#[test]
fn a_limit_never_outlasts_the_timeout() {
    for wait in [1e300, -1.0, 900.0] {
        let mut bench = Bench::new();
        bench.ask(1, 7, false);
        bench.flush();
        assert!(bench.limit(7, 1, wait));
        bench.pass(60 * SECOND);
        assert_eq!(bench.done, [(1, Err(ErrorKind::Timeout.status()))]);
        assert!(bench.is_clean());
    }
}

/// A resume replays what was answered; what had no answer is asked again, what had a part of it goes on.
#[test]
fn a_resume_is_survived() {
    let mut bench = Bench::new();
    bench.ask(1, 7, false);
    bench.ask(2, 8, false);
    bench.ask(3, 9, true);
    bench.flush();
    bench.ask(4, 10, false);
    bench.chunk(7, 1, 0, 2);
    bench.pass(SECOND);
    bench.members.resumed(bench.now);
    bench.perform();
    assert_eq!(bench.held, [4, 2], "3 was sent too lately, and the machine still has 4");
    bench.pass(30 * SECOND);
    assert_eq!(bench.held, [4, 2, 3]);
    for (guild_id, nonce, index, count) in [(7, 1, 1, 2), (8, 2, 0, 1), (9, 3, 0, 1), (10, 4, 0, 1)]
    {
        assert!(bench.chunk(guild_id, nonce, index, count));
    }
    assert!(bench.held.is_empty(), "an answered request is not sent again");
    assert_eq!(bench.done.len(), 4);
    assert!(bench.is_clean());
}

/// A new session knows nothing of what the old one was asked.
#[test]
fn a_new_session_is_asked_again() {
    let mut bench = Bench::new();
    bench.ask(1, 7, false);
    bench.flush();
    bench.ask(2, 7, false);
    bench.chunk(7, 1, 0, 2);
    bench.members.ready(bench.now);
    bench.perform();
    assert_eq!(bench.held, [2, 1]);
    bench.flush();
    bench.chunk(7, 1, 1, 2);
    assert_eq!(bench.done, [], "the first chunk was of the old session");
    bench.chunk(7, 1, 0, 2);
    assert_eq!(bench.done, [(1, Ok(answer(7, &[0, 1])))]);
}

#[test]
fn a_nonce_is_used_by_one_request_at_a_time() {
    let mut bench = Bench::new();
    bench.ask(1, 7, false);
    let request = bench.members.open[&1].request.clone();
    bench.members.request(2, request.clone(), bench.now);
    bench.perform();
    assert_eq!(bench.done, [(2, Err(ErrorKind::InvalidArgument.status()))]);
    bench.members.request(3, MemberRequest { guild_id: 8, ..request }, bench.now);
    bench.perform();
    assert_eq!(bench.held, [1, 3]);
}

/// Whatever else settles a command, the reply is somebody else's.
#[test]
fn a_refused_shard_ends_requests() {
    let mut bench = Bench::new();
    for id in 1..=3 {
        bench.ask(id, id, true);
    }
    assert!(!bench.members.settled(1, Outcome::Fatal, bench.now));
    assert!(!bench.members.settled(9, Outcome::Sent, bench.now));
    assert_eq!(bench.members.drain().collect::<Vec<_>>(), [2, 3]);
    bench.perform();
    assert_eq!(bench.done, []);
    assert!(bench.is_clean());
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Ask { guild_id: u64, is_full_list: bool },
    Flush,
    Chunk { guild_id: u64, nonce: u64, index: u32, count: u32 },
    Limit { guild_id: u64, nonce: u64, retry_after: f64 },
    Resumed,
    Ready,
    Cancel(u64),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (guild_id, nonce) = (1..4_u64, 0..12_u64);
    prop_oneof![
        4 => (guild_id.clone(), any::<bool>())
            .prop_map(|(guild_id, is_full_list)| Step::Ask { guild_id, is_full_list }),
        3 => Just(Step::Flush),
        6 => (guild_id.clone(), nonce.clone(), 0..3_u32, 1..4_u32).prop_map(
            |(guild_id, nonce, index, count)| Step::Chunk { guild_id, nonce, index, count }
        ),
        2 => (guild_id, nonce.clone(), 0.0..40.0_f64).prop_map(
            |(guild_id, nonce, retry_after)| Step::Limit { guild_id, nonce, retry_after }
        ),
        1 => Just(Step::Resumed),
        1 => Just(Step::Ready),
        1 => nonce.prop_map(Step::Cancel),
        4 => (0..20_000_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens, each request has one reply at most and one in time, a guild's full list is never
    /// asked for too soon after it went out, and nothing is left behind.
    #[test]
    fn every_request_ends_once(steps in vec(step(), 1..80)) {
        let mut bench = Bench::new();
        let (mut asked, mut cancelled) = (0, Vec::new());
        let mut went_out: HashMap<u64, Instant> = HashMap::new();
        let mut full_lists = HashMap::new();
        for step in steps {
            let before = bench.sent.len();
            match step {
                Step::Ask { guild_id, is_full_list } => {
                    if is_full_list {
                        full_lists.insert(asked, guild_id);
                    }
                    bench.ask(asked, guild_id, is_full_list);
                    asked += 1;
                }
                Step::Flush => {
                    for id in &bench.held {
                        if let Some(guild_id) = full_lists.get(id) {
                            went_out.insert(*guild_id, bench.now);
                        }
                    }
                    bench.flush();
                }
                Step::Chunk { guild_id, nonce, index, count } => {
                    bench.chunk(guild_id, nonce, index, count);
                }
                // The server knows better than we do when the next may come.
                Step::Limit { guild_id, nonce, retry_after } => {
                    if bench.limit(guild_id, nonce, retry_after) {
                        went_out.remove(&guild_id);
                    }
                }
                Step::Resumed => bench.members.resumed(bench.now),
                Step::Ready => bench.members.ready(bench.now),
                Step::Cancel(id) => {
                    if bench.members.open.contains_key(&id) {
                        cancelled.push(id);
                    }
                    bench.members.cancel(id, bench.now);
                    bench.held.retain(|held| *held != id);
                }
                Step::Pass(time_ms) => bench.pass(Duration::from_millis(time_ms)),
            }
            bench.perform();
            for (id, at) in &bench.sent[before..] {
                let last = full_lists.get(id).and_then(|guild_id| went_out.get(guild_id));
                prop_assert!(last.is_none_or(|last| *at >= *last + FULL_LIST_SPACING));
            }
        }
        bench.pass(60 * SECOND);
        let mut ended: Vec<u64> = bench.done.iter().map(|(id, _)| *id).chain(cancelled).collect();
        ended.sort_unstable();
        prop_assert_eq!(ended, (0..asked).collect::<Vec<_>>());
        prop_assert!(bench.is_clean());
    }
}
