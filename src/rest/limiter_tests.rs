//! The limiter, one rule at a time.

use std::time::Duration;

use super::super::answer::{Limits, RateLimited};
use super::super::guard::{MAX_INVALID, UNAUTHORIZED_FOR};
use super::super::lane::MAX_PER_SECOND;
use super::*;

/// A limiter, and a clock that only moves when told to.
struct Bench {
    limiter: Limiter,
    start: Instant,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self { limiter: Limiter::new(), start: now, now }
    }

    fn sleep_ms(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    fn enter(&mut self, route: &Arc<Route>) -> Ticket {
        self.limiter.enter(route, self.now)
    }

    fn enter_all(&mut self, route: &Arc<Route>, count: usize) -> Vec<Ticket> {
        (0..count).map(|_| self.enter(route)).collect()
    }

    /// Whose turn it is now.
    fn granted(&mut self) -> Vec<Ticket> {
        let events = std::iter::from_fn(|| self.limiter.poll(self.now));
        events
            .map(|event| match event {
                Event::Granted(ticket) => ticket,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn answer(&mut self, ticket: Ticket, answer: &Answer) {
        self.limiter.answered(ticket, answer, self.now);
    }

    /// When the limiter wants to be asked again, in milliseconds from the start.
    fn timeout_ms(&self) -> Option<u128> {
        self.limiter.poll_timeout().map(|at| (at - self.start).as_millis())
    }

    /// Makes a route known: one request, answered at once.
    fn learn(&mut self, route: &Arc<Route>, answer: &Answer) {
        let ticket = self.enter(route);
        assert_eq!(self.granted(), [ticket]);
        self.answer(ticket, answer);
    }
}

fn route(method: &str, path: &str) -> Arc<Route> {
    Arc::new(Route::new(method.parse().expect("a method"), path))
}

fn ok(bucket: &str, limit: u32, remaining: u32, reset_after_ms: u64) -> Answer {
    let limits = Limits {
        bucket: Some(bucket.into()),
        limit,
        remaining,
        reset_after: Duration::from_millis(reset_after_ms),
    };
    Answer { status: 200, limits: Some(limits), rate_limited: None }
}

fn status(status: u16) -> Answer {
    Answer { status, limits: None, rate_limited: None }
}

fn refused(scope: RateLimitScope, retry_after_ms: u64) -> Answer {
    let retry_after = Duration::from_millis(retry_after_ms);
    Answer { rate_limited: Some(RateLimited { scope, retry_after }), ..status(429) }
}

const MARGIN_MS: u128 = MARGIN.as_millis();

#[test]
fn an_unknown_route_is_asked_one_by_one() {
    let mut bench = Bench::new();
    let messages = route("POST", "/channels/1/messages");
    let tickets = bench.enter_all(&messages, 8);
    assert_eq!(bench.granted(), tickets[..1]);
    assert_eq!(bench.timeout_ms(), None, "nothing but an answer helps");
    bench.answer(tickets[0], &ok("a", 5, 4, 5_000));
    assert_eq!(bench.granted(), tickets[1..5]);
    assert_eq!(bench.timeout_ms(), Some(5_000 + MARGIN_MS));
    // Their answers, in any order, add nothing to the window.
    for (ticket, remaining) in [(3, 1), (1, 3), (4, 0), (2, 2)] {
        bench.answer(tickets[ticket], &ok("a", 5, remaining, 5_000));
        assert_eq!(bench.granted(), []);
    }
    bench.sleep_ms(5_000);
    assert_eq!(bench.granted(), []);
    bench.sleep_ms(50);
    assert_eq!(bench.granted(), tickets[5..]);
}

#[test]
fn a_route_without_a_limit_is_free() {
    let mut bench = Bench::new();
    let gateway = route("GET", "/gateway");
    bench.learn(&gateway, &status(200));
    assert_eq!(bench.enter_all(&gateway, 20), bench.granted());
    // An error of the server proves nothing.
    let other = route("GET", "/voice/regions");
    bench.learn(&other, &status(500));
    bench.enter_all(&other, 2);
    assert_eq!(bench.granted().len(), 1);
}

#[test]
fn resources_have_windows_of_their_own() {
    let mut bench = Bench::new();
    let (one, two) = (route("GET", "/channels/1"), route("GET", "/channels/2"));
    bench.learn(&one, &ok("a", 2, 0, 9_000));
    bench.enter(&one);
    let free = bench.enter(&two);
    assert_eq!(bench.granted(), [free]);
}

#[test]
fn routes_with_one_name_share_a_window() {
    let mut bench = Bench::new();
    let get = route("GET", "/channels/1");
    let patch = route("PATCH", "/channels/1");
    bench.learn(&get, &ok("a", 3, 2, 9_000));
    bench.learn(&patch, &ok("a", 3, 1, 9_000));
    let tickets = [bench.enter(&get), bench.enter(&patch), bench.enter(&get)];
    assert_eq!(bench.granted(), tickets[..1], "one is left for both");
    bench.answer(tickets[0], &ok("a", 3, 0, 9_000));
    assert_eq!(bench.granted(), []);
    bench.sleep_ms(9_050);
    assert_eq!(bench.granted(), tickets[1..]);
}

/// What waited at a route before its limit had a name waits in the right order afterwards.
#[test]
fn lines_are_joined_in_order() {
    let mut bench = Bench::new();
    let (put, delete) = (route("PUT", "/guilds/1/bans/2"), route("DELETE", "/guilds/1/bans/2"));
    let tickets: Vec<_> =
        (0..6).map(|index| bench.enter(if index % 2 == 0 { &put } else { &delete })).collect();
    assert_eq!(bench.granted(), tickets[..2]);
    bench.answer(tickets[0], &ok("bans", 2, 0, 1_000));
    bench.answer(tickets[1], &ok("bans", 2, 0, 1_000));
    for expected in [&tickets[2..4], &tickets[4..]] {
        bench.sleep_ms(1_050);
        assert_eq!(bench.granted(), expected);
        for ticket in expected {
            bench.answer(*ticket, &ok("bans", 2, 0, 1_000));
        }
    }
}

/// The name that one channel taught is that of all channels.
#[test]
fn a_name_is_remembered_for_other_resources() {
    let mut bench = Bench::new();
    let paths =
        ["/channels/1", "/channels/2"].map(|path| (route("GET", path), route("PATCH", path)));
    bench.learn(&paths[0].0, &ok("a", 5, 4, 9_000));
    bench.learn(&paths[0].1, &ok("a", 5, 3, 9_000));
    let first = bench.enter(&paths[1].0);
    bench.enter(&paths[1].1);
    assert_eq!(bench.granted(), [first], "both are in one bucket, of which nothing is known");
}

/// Deleting messages is counted in different buckets by their age: the route follows the answers.
#[test]
fn a_route_can_change_its_bucket() {
    let mut bench = Bench::new();
    let delete = route("DELETE", "/channels/1/messages/2");
    bench.learn(&delete, &ok("young", 5, 0, 500));
    let tickets = bench.enter_all(&delete, 3);
    bench.sleep_ms(550);
    assert_eq!(bench.granted(), tickets);
    bench.answer(tickets[0], &ok("old", 30, 29, 120_000));
    let more = bench.enter_all(&delete, 2);
    assert_eq!(bench.granted(), more, "29 are left of the old");
    bench.answer(tickets[1], &ok("young", 5, 0, 4_000));
    bench.enter(&delete);
    assert_eq!(bench.granted(), []);
    assert_eq!(bench.timeout_ms(), Some(550 + 4_000 + MARGIN_MS));
}

/// Discord's clock may be anything: only differences count. A window that an old answer speaks of
/// does not come back.
#[test]
fn a_late_answer_does_not_bring_back_an_old_window() {
    let mut bench = Bench::new();
    let get = route("GET", "/channels/1");
    bench.learn(&get, &ok("a", 4, 3, 1_000));
    let tickets = bench.enter_all(&get, 3);
    assert_eq!(bench.granted(), tickets);
    bench.sleep_ms(1_050);
    // One of them is still under way: it may count in the new window.
    bench.answer(tickets[0], &ok("a", 4, 2, 0));
    bench.answer(tickets[1], &ok("a", 4, 1, 0));
    let next = bench.enter_all(&get, 4);
    let sent = bench.granted();
    assert_eq!(sent, next[..sent.len()]);
    assert!((1..=3).contains(&sent.len()), "{}", sent.len());
    bench.answer(sent[0], &ok("a", 4, 3, 1_000));
    bench.answer(tickets[2], &ok("a", 4, 0, 0));
    assert!(bench.timeout_ms() <= Some(2_100 + MARGIN_MS));
}

#[test]
fn fifty_per_second_and_no_more() {
    let mut bench = Bench::new();
    let gateway = route("GET", "/gateway");
    bench.learn(&gateway, &status(200));
    let tickets = bench.enter_all(&gateway, 120);
    let first = bench.granted();
    assert_eq!(first.len(), MAX_PER_SECOND - 1, "the one that taught us counts");
    bench.sleep_ms(100);
    for ticket in &first {
        bench.answer(*ticket, &status(200));
    }
    assert_eq!(bench.granted(), []);
    bench.sleep_ms(900);
    assert_eq!(bench.granted().len(), 1);
    // A request counts when it arrives, which was no later than its answer.
    assert_eq!(bench.timeout_ms(), Some(1_100));
    bench.sleep_ms(100);
    assert_eq!(bench.granted(), tickets[MAX_PER_SECOND..][..MAX_PER_SECOND - 1]);
}

#[test]
fn interactions_and_webhooks_do_not_count_for_the_bot() {
    let mut bench = Bench::new();
    let gateway = route("GET", "/gateway");
    bench.learn(&gateway, &status(200));
    bench.enter_all(&gateway, 60);
    assert_eq!(bench.granted().len(), 49);
    let callbacks: Vec<_> = (0..10)
        .map(|id| bench.enter(&route("POST", &format!("/interactions/{id}/x/callback"))))
        .collect();
    assert_eq!(bench.granted(), callbacks);
    let webhook = bench.enter(&route("POST", "/webhooks/1/x"));
    assert_eq!(bench.granted(), [webhook]);
}

#[test]
fn no_more_than_fit_are_on_the_wire() {
    let mut bench = Bench::new();
    let tickets: Vec<_> = (0..70)
        .map(|id| bench.enter(&route("POST", &format!("/interactions/{id}/x/callback"))))
        .collect();
    assert_eq!(bench.granted(), tickets[..MAX_REST_REQUESTS]);
    assert_eq!(bench.timeout_ms(), None);
    bench.answer(tickets[7], &status(204));
    assert_eq!(bench.granted(), tickets[MAX_REST_REQUESTS..=MAX_REST_REQUESTS]);
}

#[test]
fn a_refused_route_waits_and_comes_back_carefully() {
    for scope in [RateLimitScope::User, RateLimitScope::Shared] {
        let mut bench = Bench::new();
        let (emoji, other) = (route("POST", "/guilds/1/emojis"), route("GET", "/guilds/1"));
        bench.learn(&emoji, &ok("e", 50, 49, 9_000));
        let tickets = bench.enter_all(&emoji, 4);
        assert_eq!(bench.granted(), tickets);
        bench.answer(tickets[1], &refused(scope, 2_000));
        bench.limiter.enter_again(tickets[1], &emoji, bench.now);
        let free = bench.enter(&other);
        assert_eq!(bench.granted(), [free]);
        for index in [0, 2, 3] {
            bench.answer(tickets[index], &refused(scope, 1_000));
            bench.limiter.enter_again(tickets[index], &emoji, bench.now);
        }
        assert_eq!(bench.timeout_ms(), Some(2_000 + MARGIN_MS), "the longest counts");
        let until = bench.limiter.held_until(&emoji).expect("it is held");
        assert_eq!((until - bench.start).as_millis(), 2_000 + MARGIN_MS);
        bench.sleep_ms(2_050);
        assert_eq!(bench.granted(), tickets[..1], "one, to see, and the oldest");
        bench.answer(tickets[0], &ok("e", 50, 45, 7_000));
        assert_eq!(bench.granted(), tickets[1..]);
    }
}

#[test]
fn a_global_refusal_stops_the_bot_and_cloudflare_everybody() {
    for (scope, stops_interactions) in
        [(RateLimitScope::Global, false), (RateLimitScope::Cloudflare, true)]
    {
        let mut bench = Bench::new();
        let get = route("GET", "/channels/1");
        let ticket = bench.enter(&get);
        assert_eq!(bench.granted(), [ticket]);
        bench.answer(ticket, &refused(scope, 3_000));
        let other = bench.enter(&route("GET", "/users/@me"));
        let callback = bench.enter(&route("POST", "/interactions/1/x/callback"));
        let hook = bench.enter(&route("POST", "/webhooks/1/x"));
        let at_once = if stops_interactions { vec![] } else { vec![callback, hook] };
        assert_eq!(bench.granted(), at_once);
        bench.sleep_ms(3_049);
        assert_eq!(bench.granted(), []);
        bench.sleep_ms(1);
        let after = if stops_interactions { vec![other, callback, hook] } else { vec![other] };
        assert_eq!(bench.granted(), after);
    }
}

#[test]
fn who_leaves_is_not_waited_for() {
    let mut bench = Bench::new();
    let get = route("GET", "/channels/1");
    let tickets = bench.enter_all(&get, 4);
    assert_eq!(bench.granted(), tickets[..1]);
    bench.limiter.leave(tickets[1], bench.now);
    // Its turn came, and it was gone: the next one takes it, at once.
    bench.limiter.unsent(tickets[0], bench.now);
    assert_eq!(bench.granted(), [tickets[2]]);
    // That one was sent and given up: Discord may see it any moment.
    bench.limiter.unanswered(tickets[2], bench.now);
    assert_eq!(bench.granted(), []);
    assert_eq!(bench.timeout_ms(), Some(1_000));
    bench.sleep_ms(1_000);
    assert_eq!(bench.granted(), [tickets[3]]);
    // Whatever is said of those that are gone changes nothing.
    bench.answer(tickets[0], &ok("a", 1, 0, 100_000));
    bench.limiter.leave(tickets[2], bench.now);
    bench.limiter.unsent(tickets[1], bench.now);
    bench.answer(tickets[3], &ok("a", 2, 1, 9_000));
    let last = bench.enter(&get);
    assert_eq!(bench.granted(), [last]);
    assert_eq!((bench.limiter.waiting(), bench.limiter.flying()), (0, 1));
}

#[test]
fn what_never_left_is_not_counted() {
    let mut bench = Bench::new();
    let get = route("GET", "/channels/1");
    bench.learn(&get, &ok("a", 2, 1, 9_000));
    for _ in 0..2 * MAX_PER_SECOND {
        let ticket = bench.enter(&get);
        assert_eq!(bench.granted(), [ticket]);
        bench.limiter.unsent(ticket, bench.now);
    }
    let tickets = bench.enter_all(&get, 2);
    assert_eq!(bench.granted(), tickets[..1]);
}

/// What other resources teach about a route is heeded by those who were in line before.
#[test]
fn a_name_is_learned_while_waiting() {
    let mut bench = Bench::new();
    let (get, patch) = (route("GET", "/channels/2"), route("PATCH", "/channels/2"));
    bench.learn(&get, &ok("a", 5, 0, 9_000));
    let tickets = bench.enter_all(&patch, 2);
    assert_eq!(bench.granted(), tickets[..1]);
    bench.learn(&route("PATCH", "/channels/1"), &ok("a", 5, 4, 9_000));
    bench.limiter.unsent(tickets[0], bench.now);
    assert_eq!(bench.granted(), [], "it would be refused");
    bench.sleep_ms(9_050);
    assert_eq!(bench.granted(), tickets[1..]);
}

/// Who comes back is ahead of those that came later.
#[test]
fn a_second_attempt_keeps_its_place() {
    let mut bench = Bench::new();
    let get = route("GET", "/channels/1");
    let tickets = bench.enter_all(&get, 3);
    assert_eq!(bench.granted(), tickets[..1]);
    bench.answer(tickets[0], &status(502));
    bench.limiter.enter_again(tickets[0], &get, bench.now);
    assert_eq!(bench.granted(), tickets[..1]);
}

/// Ten thousand in ten minutes is a ban: it stops before, says so once, and goes on by itself.
#[test]
fn too_many_invalid_requests_stop_everything() {
    let mut bench = Bench::new();
    let get = route("GET", "/guilds/1/bans");
    for index in 0..u64::from(MAX_INVALID) {
        let ticket = bench.enter(&get);
        assert_eq!(bench.granted(), [ticket], "number {index}");
        bench.answer(ticket, &status(403));
        bench.sleep_ms(21);
    }
    let hook = route("POST", "/webhooks/1/x");
    let held = [bench.enter(&get), bench.enter(&hook)];
    let Some(Event::TooManyInvalid { count, until }) = bench.limiter.poll(bench.now) else {
        panic!("it goes on");
    };
    assert_eq!((count, (until - bench.start).as_secs()), (MAX_INVALID, 610));
    assert_eq!(bench.limiter.poll(bench.now), None, "said once");
    assert_eq!(bench.limiter.poll_timeout(), Some(until));
    bench.now = until;
    assert_eq!(bench.granted(), held);
}

/// What others used up is no mistake of ours.
#[test]
fn shared_refusals_are_not_invalid() {
    let mut bench = Bench::new();
    let get = route("GET", "/guilds/1/emojis");
    for _ in 0..=MAX_INVALID {
        let ticket = bench.enter(&get);
        assert_eq!(bench.granted(), [ticket]);
        bench.answer(ticket, &refused(RateLimitScope::Shared, 0));
        bench.sleep_ms(50);
    }
}

/// Source: <https://discord.com/developers/docs/topics/rate-limits#invalid-request-limit-aka-cloudflare-bans>.
#[test]
fn a_dead_token_is_not_sent_again_and_again() {
    let mut bench = Bench::new();
    let me = route("GET", "/users/@me");
    for _ in 0..2 {
        bench.learn(&me, &status(401));
    }
    let tickets = bench.enter_all(&me, 3);
    assert_eq!(bench.granted(), tickets[..1]);
    bench.answer(tickets[0], &status(401));
    let hook = bench.enter(&route("POST", "/webhooks/1/x"));
    let events: Vec<_> = std::iter::from_fn(|| bench.limiter.poll(bench.now)).collect();
    let expected =
        [Event::Unauthorized(tickets[1]), Event::Unauthorized(tickets[2]), Event::Granted(hook)];
    assert_eq!(events, expected, "those with a token of their own go on");
    let late = bench.enter(&me);
    assert_eq!(bench.limiter.poll(bench.now), Some(Event::Unauthorized(late)));
    bench.now += UNAUTHORIZED_FOR;
    let again = bench.enter(&me);
    assert_eq!(bench.granted(), [again]);
}

/// Bounded memory: interactions are a new route each, for ever.
#[test]
fn what_is_idle_is_forgotten() {
    let mut bench = Bench::new();
    let get = route("GET", "/channels/1");
    bench.learn(&get, &ok("a", 5, 0, 10_000_000));
    let held = bench.enter(&get);
    for id in 0..3 * MAX_REST_BUCKETS {
        let callback = route("POST", &format!("/interactions/{id}/x/callback"));
        bench.learn(&callback, &ok("callback", 5, 4, 100));
        let unnamed = route("GET", &format!("/webhooks/{id}/x"));
        bench.learn(&unnamed, &status(404));
        bench.sleep_ms(50);
    }
    let Limiter { buckets, routes, names, templates, blocked, .. } = &bench.limiter;
    for length in [buckets.len(), routes.len(), names.len(), templates.len(), blocked.len()] {
        assert!(length <= MAX_REST_BUCKETS, "{length}");
    }
    assert_eq!(bench.granted(), [], "what is needed is kept");
    bench.sleep_ms(10_000_000);
    assert_eq!(bench.granted(), [held]);
}

/// The same while every bucket knows something.
#[test]
fn there_is_a_bound_even_for_what_is_known() {
    let mut bench = Bench::new();
    for id in 0..2 * MAX_REST_BUCKETS {
        let get = route("GET", &format!("/channels/{id}"));
        bench.learn(&get, &ok("a", 5, 4, 80_000_000));
        bench.sleep_ms(25);
    }
    assert!(bench.limiter.buckets.len() <= MAX_REST_BUCKETS);
    assert!(bench.limiter.routes.len() <= MAX_REST_BUCKETS);
}
