//! Rate limits as the client keeps them, in virtual time: scripts for the server, and no sleeps.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shardwright::config::{MAX_REST_REQUESTS, MAX_REST_WAITING};
use shardwright::rest::{RateLimitScope, Rest};
use shardwright::{Error, ErrorKind};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::Instant;

use crate::bench::{Reply, Seen, Server, post};

/// Makes requests to these paths, all at once and in this order.
async fn spawn(rest: &Rest, paths: impl IntoIterator<Item = String>) -> Vec<JoinHandle<u16>> {
    let mut tasks = Vec::new();
    for path in paths {
        let rest = rest.clone();
        let work = async move { post(&rest, &path).await.expect("answered").status };
        tasks.push(tokio::spawn(work));
        // It gets in line before the next one comes.
        yield_now().await;
    }
    tasks
}

/// Polls a future once.
async fn begin<T>(future: &mut (impl Future<Output = T> + Unpin)) {
    let once = std::future::poll_fn(|cx| {
        assert!(std::pin::Pin::new(&mut *future).poll(cx).is_pending(), "it has to wait");
        std::task::Poll::Ready(())
    });
    once.await;
}

fn milliseconds_since(start: Instant) -> u128 {
    start.elapsed().as_millis()
}

fn scopes(rest: &Rest) -> Vec<(RateLimitScope, u64)> {
    rest.metrics().rate_limited().filter(|(_, count)| *count > 0).collect()
}

#[tokio::test(start_paused = true)]
async fn a_429_is_waited_out() {
    for (reply, expected_ms, scope) in [
        (Reply::refused(64.57), 64_620, RateLimitScope::User),
        (Reply::new(429, &[("retry-after", "3"), ("x-ratelimit-scope", "shared")], ""), 3_050, RateLimitScope::Shared),
        (Reply::new(429, &[("x-ratelimit-global", "true")], "<html>"), 5_050, RateLimitScope::Global),
        (Reply::new(429, &[("retry-after", "120")], "<html>"), 120_050, RateLimitScope::Cloudflare),
        (Reply::new(429, &[], ""), 60_050, RateLimitScope::Cloudflare),
        // Half a body: the headers have to do.
        (
            Reply::raw(b"HTTP/1.1 429 No\r\nretry-after: 7\r\nx-ratelimit-scope: user\r\ncontent-length: 9\r\n\r\n{")
                .then_close(),
            7_050,
            RateLimitScope::User,
        ),
    ] {
        let (rest, server) = Server::start(move |_, number| match number {
            0 => reply.clone(),
            _ => Reply::status(200),
        });
        let start = Instant::now();
        // Even a POST: Discord has not done it.
        assert_eq!(post(&rest, "/channels/1/messages").await.expect("answered").status, 200);
        assert_eq!(milliseconds_since(start), expected_ms, "{scope:?}");
        assert_eq!(server.seen().len(), 2);
        assert_eq!(scopes(&rest), [(scope, 1)]);
    }
}

/// Nobody waits for what is known to come too late.
#[tokio::test(start_paused = true)]
async fn a_429_for_longer_than_anybody_waits_is_handed_on() {
    let (rest, server) = Server::start(|_, _| Reply::refused(1_000.0));
    let start = Instant::now();
    let response = post(&rest, "/channels/1/messages").await.expect("answered");
    assert_eq!(response.status, 429);
    assert!(response.body.starts_with(b"{\"message\""));
    assert_eq!((milliseconds_since(start), server.seen().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_429_that_never_ends_is_handed_on() {
    let (rest, server) = Server::start(|_, _| Reply::refused(0.0));
    assert_eq!(rest.get("/channels/1").await.expect("answered").status, 429);
    assert_eq!(server.seen().len(), 10);
}

/// Promise 4, over the wire: five per five seconds, all at once and then none until the window ends.
#[tokio::test(start_paused = true)]
async fn the_headers_are_obeyed() {
    let windows = Mutex::new((Instant::now(), 0_u32));
    let (rest, server) = Server::start(move |_, _| {
        let mut window = windows.lock().expect("no panic");
        let now = Instant::now();
        if window.1 == 0 || now - window.0 >= Duration::from_secs(5) {
            *window = (now, 0);
        }
        window.1 += 1;
        assert!(window.1 <= 5, "the client does not obey");
        let reset_after = (window.0 + Duration::from_secs(5) - now).as_secs_f64();
        Reply::limited("send", 5, 5 - window.1, reset_after).after_ms(20)
    });
    let start = Instant::now();
    let paths = (0..23).map(|_| "/channels/1/messages".to_owned());
    for task in spawn(&rest, paths).await {
        assert_eq!(task.await.expect("no panic"), 200);
    }
    let ms = milliseconds_since(start);
    assert!((20_000..20_800).contains(&ms), "four more windows: {ms} ms");
    assert_eq!((server.seen().len(), scopes(&rest)), (23, vec![]));
    let metrics = rest.metrics();
    assert_eq!((metrics.waits(), metrics.waiting(), metrics.in_flight()), (22, 0, 0));
    assert!(metrics.wait_ms() > 100_000, "{}", metrics.wait_ms());
    let posts = metrics.answers().find(|(method, class, _)| (*method, *class) == ("POST", 2));
    assert_eq!(posts, Some(("POST", 2, 23)));
}

/// One at a time, and in the order in which they came.
#[tokio::test(start_paused = true)]
async fn who_came_first_goes_first() {
    let (rest, server) = Server::start(|_, _| Reply::limited("one", 1, 0, 0.25));
    let paths = (0..20).map(|id| format!("/channels/1/messages/{id}/crosspost"));
    for task in spawn(&rest, paths).await {
        task.await.expect("no panic");
    }
    let order: Vec<_> = server.seen().iter().map(|seen| seen.target.clone()).collect();
    let expected: Vec<_> =
        (0..20).map(|id| format!("/api/v10/channels/1/messages/{id}/crosspost")).collect();
    assert_eq!(order, expected);
}

#[tokio::test(start_paused = true)]
async fn other_routes_do_not_wait() {
    let (rest, _server) = Server::start(|seen, _| match seen.target.as_str() {
        "/api/v10/channels/1/messages" => Reply::limited("send", 1, 0, 60.0),
        _ => Reply::status(200),
    });
    post(&rest, "/channels/1/messages").await.expect("answered");
    let held = spawn(&rest, ["/channels/1/messages".to_owned()]).await;
    let start = Instant::now();
    post(&rest, "/channels/2/typing").await.expect("answered");
    post(&rest, "/interactions/1/x/callback").await.expect("answered");
    assert_eq!(milliseconds_since(start), 0);
    for task in held {
        task.await.expect("no panic");
    }
    assert_eq!(milliseconds_since(start), 60_050);
}

#[tokio::test(start_paused = true)]
async fn fifty_per_second_go_out() {
    let (rest, _server) = Server::start(|_, _| Reply::status(200));
    let start = Instant::now();
    let paths = (0..200).map(|id| format!("/guilds/{id}/roles"));
    for task in spawn(&rest, paths).await {
        task.await.expect("no panic");
    }
    assert_eq!(milliseconds_since(start), 3_000);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_are_on_the_wire() {
    let (rest, server) = Server::start(|_, _| Reply::status(200).after_ms(1_000));
    let paths = (0..3 * MAX_REST_REQUESTS).map(|id| format!("/interactions/{id}/x/callback"));
    let start = Instant::now();
    for task in spawn(&rest, paths).await {
        task.await.expect("no panic");
    }
    assert_eq!(milliseconds_since(start), 3_000);
    assert_eq!(server.connections(), MAX_REST_REQUESTS);
}

/// Dropped while it waits, when its turn has just come, and on the wire: the next one goes on.
#[tokio::test(start_paused = true)]
async fn who_gives_up_holds_nobody_up() {
    let (rest, server) = Server::start(|seen, _| match seen.target.as_str() {
        "/api/v10/channels/1/messages/0" => Reply::hang(),
        _ => Reply::limited("one", 1, 0, 1.0),
    });
    let on_wire = spawn(&rest, ["/channels/1/messages/0".to_owned()]).await;
    let mut requests: Vec<_> = (1..4)
        .map(|id| {
            let rest = rest.clone();
            Box::pin(async move { post(&rest, &format!("/channels/1/messages/{id}")).await })
        })
        .collect();
    for request in &mut requests {
        begin(request).await;
    }
    while server.seen().is_empty() {
        yield_now().await;
    }
    let load = || (rest.metrics().in_flight(), rest.metrics().waiting());
    assert_eq!(load(), (1, 3));
    drop(requests.remove(0));
    for task in on_wire {
        task.abort();
        assert!(task.await.is_err(), "it was on the wire");
    }
    assert_eq!(load(), (0, 2));
    // The next one has its turn as soon as what was sent has surely arrived; nobody polls it.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(load(), (1, 1));
    drop(requests.remove(0));
    assert_eq!(load(), (1, 0));
    let response = requests.remove(0).await.expect("answered");
    assert_eq!(response.status, 200);
    let targets: Vec<_> = server.seen().iter().map(|seen: &Seen| seen.target.clone()).collect();
    assert_eq!(targets, ["/api/v10/channels/1/messages/0", "/api/v10/channels/1/messages/3"]);
    assert_eq!(load(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let (rest, server) = Server::start(|_, _| Reply::limited("slow", 1, 0, 7_200.0));
    post(&rest, "/channels/1/messages").await.expect("answered");
    let start = Instant::now();
    let error = post(&rest, "/channels/1/messages").await.expect_err("two hours are too long");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("was not sent"), "{error}");
    assert_eq!(milliseconds_since(start), 900_000);
    assert_eq!((server.seen().len(), rest.metrics().waiting()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn too_many_in_line_are_refused() {
    let (rest, _server) = Server::start(|_, _| Reply::hang());
    let _first = spawn(&rest, ["/channels/1/messages".to_owned()]).await;
    let mut waiting = Vec::new();
    for _ in 0..MAX_REST_WAITING {
        let rest = rest.clone();
        let mut request = Box::pin(async move { post(&rest, "/channels/1/messages").await });
        begin(&mut request).await;
        waiting.push(request);
    }
    let error = post(&rest, "/channels/1/messages").await.expect_err("the line is full");
    assert_eq!(error.kind(), ErrorKind::QueueFull);
    drop(waiting);
    assert_eq!(rest.metrics().waiting(), 0);
}

/// Discord asks to stop when a token becomes invalid; what needs none goes on, and a token that is
/// good again is noticed.
#[tokio::test(start_paused = true)]
async fn a_dead_token_fails_at_once() {
    let is_good = Arc::new(Mutex::new(false));
    let server_says = Arc::clone(&is_good);
    let (rest, server) = Server::start(move |seen, _| {
        let is_good = *server_says.lock().expect("no panic");
        Reply::status(if is_good || seen.header("authorization").is_empty() { 200 } else { 401 })
    });
    for _ in 0..3 {
        assert_eq!(rest.get("/users/@me").await.expect("answered").status, 401);
    }
    let fatal = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Fatal);
        assert!(error.to_string().contains("HTTP 401"), "{error}");
    };
    fatal(rest.get("/users/@me").await.expect_err("the token is dead"));
    fatal(post(&rest, "/channels/1/messages").await.expect_err("the token is dead"));
    assert_eq!(post(&rest, "/webhooks/1/x").await.expect("answered").status, 200);
    assert_eq!(server.seen().len(), 4);
    *is_good.lock().expect("no panic") = true;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rest.get("/users/@me").await.expect("answered").status, 200);
}

/// Clones are one client, and the last one takes its tasks with it.
#[tokio::test(start_paused = true)]
async fn clones_share_their_limits() {
    let (rest, _server) = Server::start(|_, _| Reply::limited("one", 1, 0, 10.0));
    let other = rest.clone();
    post(&rest, "/channels/1/messages").await.expect("answered");
    let start = Instant::now();
    post(&other, "/channels/1/messages").await.expect("answered");
    assert_eq!(milliseconds_since(start), 10_050);
    drop((rest, other));
    tokio::time::sleep(Duration::from_secs(120)).await;
    let left = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(left, 0, "tasks outlive their client");
}
