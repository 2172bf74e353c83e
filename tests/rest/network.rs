//! What networks and broken servers do, and what comes of it.

use std::time::Duration;

use shardwright::config::MAX_REST_RESPONSE_BYTES;
use shardwright::{Error, ErrorKind};
use tokio::time::{Instant, sleep};

use crate::bench::{Reply, Server, command, post};

/// Says what Discord may have done with it.
fn is_in_doubt(error: &Error) -> bool {
    error.to_string().contains("may have carried it out")
}

/// Scenario 13.
#[tokio::test(start_paused = true)]
async fn what_was_not_sent_is_sent_again() {
    let (rest, server) = Server::start_unreachable(4, |_, _| Reply::status(200));
    assert_eq!(post(&rest, "/channels/1/messages").await.expect("answered").status, 200);
    assert_eq!(server.seen().len(), 1);
    assert_eq!(rest.metrics().unanswered(), 4);
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_nobody_is_there() {
    let (rest, server) = Server::start_unreachable(usize::MAX, |_, _| Reply::status(200));
    let start = Instant::now();
    let error = post(&rest, "/webhooks/1/aToken").await.expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::Io);
    let expected = "POST /webhooks/{id}/{token} was not sent: cannot connect to discord.test port \
                    80: refused (after 5 attempts)";
    assert_eq!(error.to_string(), expected);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!((server.connections(), rest.metrics().unanswered()), (0, 5));
}

#[tokio::test(start_paused = true)]
async fn a_connection_attempt_that_hangs_is_given_up() {
    let (rest, _server) = Server::start_silent();
    let start = Instant::now();
    let error = post(&rest, "/channels/1/messages").await.expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(!is_in_doubt(&error) && error.to_string().contains("within 10 s"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(65), "{:?}", start.elapsed());
}

/// The server takes the request and says nothing more.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_where_that_is_safe() {
    let script = |_: &_, number| match number {
        0 | 1 => Reply::raw(b"").then_close(),
        _ => Reply::status(200),
    };
    for (method, attempts) in [
        ("GET", 3),
        ("HEAD", 3),
        ("OPTIONS", 3),
        ("PUT", 3),
        ("DELETE", 3),
        ("POST", 1),
        ("PATCH", 1),
    ] {
        let (rest, server) = Server::start(script);
        let json = format!(r#"{{"method":"{method}","path":"/channels/1"}}"#);
        match command(&rest, &json).await {
            Ok(response) => assert_eq!(response.status, 200),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io);
                assert!(is_in_doubt(&error), "{error}");
            }
        }
        assert_eq!(server.seen().len(), attempts, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn so_is_half_an_answer() {
    for half in [
        &b"HTTP/1.1 200 OK\r\ncontent-le"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"hal\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
    ] {
        let script = move |_: &_, number| match number {
            0 => Reply::raw(half).then_close(),
            _ => Reply::status(200),
        };
        let (rest, server) = Server::start(script);
        assert_eq!(rest.get("/channels/1").await.expect("answered").status, 200);
        assert_eq!(server.seen().len(), 2);

        let (rest, server) = Server::start(script);
        let error = post(&rest, "/channels/1/messages").await.expect_err("half an answer");
        assert_eq!(error.kind(), ErrorKind::Io);
        let text = error.to_string();
        assert!(is_in_doubt(&error) || text.contains("answered with HTTP 200"), "{text}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up() {
    let (rest, server) = Server::start(|_, _| Reply::hang());
    let start = Instant::now();
    let error = post(&rest, "/channels/1/messages").await.expect_err("it hangs");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(is_in_doubt(&error), "{error}");
    assert_eq!(start.elapsed().as_secs(), 25);
    assert_eq!(server.seen().len(), 1);

    let error = rest.get("/channels/1").await.expect_err("it hangs");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("after 5 attempts"), "{error}");
    assert_eq!(server.seen().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_hangs_is_given_up() {
    let (rest, _server) = Server::start(|_, _| {
        Reply::raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{").then_hang()
    });
    let start = Instant::now();
    let error = post(&rest, "/channels/1/messages").await.expect_err("it hangs");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("HTTP 200"), "{error}");
    assert_eq!(start.elapsed().as_secs(), 60);
}

/// A slow upload is no reason to give up.
#[tokio::test(start_paused = true)]
async fn patience_grows_with_the_upload() {
    let (rest, _server) = Server::start(|_, _| Reply::status(200).after_ms(60_000));
    let json = format!(
        r#"{{"method":"POST","path":"/channels/1/messages","body":"{}"}}"#,
        "x".repeat(4 << 20)
    );
    assert_eq!(command(&rest, &json).await.expect("answered").status, 200);
}

/// Scenario 3.
#[tokio::test(start_paused = true)]
async fn errors_of_the_server_pass() {
    for status in [500, 502, 503, 504, 520, 524] {
        let script = move |_: &_, number| match number {
            0 | 1 => Reply::new(status, &[("content-type", "text/html")], "<html>oops</html>"),
            _ => Reply::new(200, &[], "{}"),
        };
        let (rest, server) = Server::start(script);
        assert_eq!(rest.get("/channels/1").await.expect("answered").status, 200);
        assert_eq!(server.seen().len(), 3, "{status}");
        // What a POST has done by now nobody knows: the host decides.
        let (rest, server) = Server::start(script);
        let response = post(&rest, "/channels/1/messages").await.expect("answered");
        assert_eq!((response.status, &response.body[..]), (status, &b"<html>oops</html>"[..]));
        assert_eq!(server.seen().len(), 1, "{status}");
    }
}

/// Scenario 4: an outage is an answer, too, in the end.
#[tokio::test(start_paused = true)]
async fn the_last_error_of_the_server_is_handed_on() {
    let (rest, server) = Server::start(|_, _| Reply::new(503, &[], "down"));
    let response = rest.get("/gateway/bot").await.expect("answered");
    assert_eq!((response.status, &response.body[..]), (503, &b"down"[..]));
    assert_eq!(server.seen().len(), 5);
}

/// Promises 6 and 8: no answer fills the memory.
#[tokio::test(start_paused = true)]
async fn answers_are_bounded() {
    let length = MAX_REST_RESPONSE_BYTES + 1;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    let chunk = [b"8000\r\n", &vec![b' '; 0x8000][..], b"\r\n"].concat();
    let endless = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &chunk[..]].concat();
    for (reply, part) in [
        (Reply::raw(head.as_bytes()).then_hang(), "longer than"),
        // What follows the first chunk is no chunk, which is no better.
        (Reply::raw(&endless).then_flood(), "HTTP 200"),
        (Reply::raw(b"HTTP/1.1 200 OK\r\nx: ").then_flood(), "no answer"),
    ] {
        let (rest, server) = Server::start(move |_, _| reply.clone());
        let error = post(&rest, "/channels/1/messages").await.expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(server.seen().len(), 1);
    }

    let most = "x".repeat(MAX_REST_RESPONSE_BYTES);
    let (rest, _server) = Server::start(move |_, _| Reply::new(200, &[], &most));
    let response = rest.get("/channels/1").await.expect("just fits");
    assert_eq!(response.body.len(), MAX_REST_RESPONSE_BYTES);
}

#[tokio::test(start_paused = true)]
async fn an_endless_stream_of_good_chunks_is_cut_off() {
    let chunk = [b"8000\r\n", &vec![b' '; 0x8000][..], b"\r\n"].concat();
    let (rest, server) = Server::start(move |_, number| match number {
        0 => Reply::raw(b"HTTP/1.1 200 OK\r\n\r\n ").then_flood(),
        _ => Reply::raw(&chunk),
    });
    // Without a length the body goes on until the connection is closed.
    let error = rest.get("/channels/1").await.expect_err("it never ends");
    assert!(error.to_string().contains("longer than"), "{error}");
    assert_eq!(server.seen().len(), 1, "asking again would be no use");
}

#[tokio::test(start_paused = true)]
async fn chunked_answers_are_put_together() {
    let (rest, _server) = Server::start(|_, _| {
        Reply::raw(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n5;x=y\r\n\":1}\n\r\n0\r\n\r\n",
        )
    });
    for _ in 0..2 {
        assert_eq!(&rest.get("/channels/1").await.expect("answered").body[..], b"{\"a\":1}\n");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_kept_and_let_go() {
    let (rest, server) = Server::start(|_, _| Reply::new(200, &[], "{}"));
    for _ in 0..10 {
        rest.get("/gateway").await.expect("answered");
    }
    assert_eq!(server.connections(), 1);
    sleep(Duration::from_secs(59)).await;
    rest.get("/gateway").await.expect("answered");
    assert_eq!(server.connections(), 1);
    sleep(Duration::from_secs(61)).await;
    rest.get("/gateway").await.expect("answered");
    assert_eq!(server.connections(), 2);
}

/// A server may close a connection that is not used, and that must cost nothing: not even a POST.
#[tokio::test(start_paused = true)]
async fn a_kept_connection_may_be_closed() {
    let (rest, server) = Server::start(|_, _| Reply::status(200).then_close());
    for _ in 0..5 {
        assert_eq!(post(&rest, "/channels/1/messages").await.expect("answered").status, 200);
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!((server.seen().len(), server.connections()), (5, 5));
    assert_eq!(rest.metrics().unanswered(), 0);
}

/// More than the announced length belongs to no answer.
#[tokio::test(start_paused = true)]
async fn what_follows_an_answer_is_not_the_next_one() {
    let (rest, server) = Server::start(|_, _| {
        Reply::raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 500 No\r\n\r\n")
    });
    for _ in 0..3 {
        let response = rest.get("/channels/1").await.expect("answered");
        assert_eq!((response.status, &response.body[..]), (200, &b"{}"[..]));
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.connections(), 3);
}
