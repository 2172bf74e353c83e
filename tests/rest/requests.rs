//! What goes out, byte by byte, and what comes back.

use shardwright::rest::Request;

use crate::bench::{Reply, Server, TOKEN, command, post};

#[tokio::test(start_paused = true)]
async fn requests_carry_what_discord_asks_for() {
    let (rest, server) = Server::start(|_, _| Reply::new(200, &[("x-test", "1")], r#"{"id":"1"}"#));
    let response = command(
        &rest,
        r#"{"type":"rest","method":"POST","path":"channels/1/messages?a=b","query":{"c":7},
            "body":{ "content" : "\u00e9 ☔" },"reason":"Jörg's & rain"}"#,
    )
    .await
    .expect("answered");
    assert_eq!((response.status, &response.body[..]), (200, &br#"{"id":"1"}"#[..]));
    assert_eq!((response.header("X-Test"), response.header("x-other")), (Some("1"), None));
    assert!(response.is_success());

    let seen = server.seen()[0].clone();
    assert_eq!((&*seen.method, &*seen.target), ("POST", "/api/v10/channels/1/messages?a=b&c=7"));
    let names: Vec<_> = seen.headers.keys().map(String::as_str).collect();
    let expected = [
        "accept",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-audit-log-reason",
    ];
    assert_eq!(names, expected);
    assert_eq!(seen.header("authorization"), format!("Bot {TOKEN}"));
    assert_eq!(seen.header("host"), "discord.test");
    assert_eq!(seen.header("accept"), "application/json");
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("x-audit-log-reason"), "J%C3%B6rg%27s%20%26%20rain");
    let own_name = concat!(
        "DiscordBot (https://github.com/shardwright/shardwright, ",
        env!("CARGO_PKG_VERSION"),
        ")"
    );
    assert_eq!(seen.header("user-agent"), own_name);
    let body = r#"{ "content" : "\u00e9 ☔" }"#;
    assert_eq!(String::from_utf8_lossy(&seen.body), body, "byte for byte");
}

#[tokio::test(start_paused = true)]
async fn requests_without_a_body_say_so() {
    let (rest, server) = Server::start(|_, _| Reply::raw(b"HTTP/1.1 204 No Content\r\n\r\n"));
    for method in ["GET", "DELETE", "PUT", "POST", "PATCH"] {
        let json = format!(r#"{{"method":"{method}","path":"/channels/1","body":null}}"#);
        let response = command(&rest, &json).await.expect("answered");
        assert_eq!((response.status, response.body.len()), (204, 0));
        let seen = server.seen().pop().expect("it came");
        assert_eq!((&*seen.method, seen.header("content-type")), (method, ""));
        let length = if matches!(method, "GET" | "DELETE") { "" } else { "0" };
        assert_eq!(seen.header("content-length"), length, "{method}");
    }
    assert_eq!(rest.get("users/@me").await.expect("answered").status, 204);
    let seen = server.seen().pop().expect("it came");
    assert_eq!((&*seen.method, &*seen.target), ("GET", "/api/v10/users/@me"));
}

/// Webhooks and interactions have a token in their path, and need no other.
#[tokio::test(start_paused = true)]
async fn the_token_goes_only_where_it_is_needed() {
    let (rest, server) = Server::start(|_, _| Reply::status(200));
    for (path, expected) in [
        ("/interactions/1/aToken/callback", false),
        ("/webhooks/1/aToken", false),
        ("/webhooks/1/aToken/messages/@original", false),
        ("/webhooks/1", true),
        ("/channels/1/webhooks", true),
    ] {
        post(&rest, path).await.expect("answered");
        let seen = server.seen().pop().expect("it came");
        assert_eq!(seen.headers.contains_key("authorization"), expected, "{path}");
    }
}

/// Errors of Discord are answers: the host decides what they mean.
#[tokio::test(start_paused = true)]
async fn every_status_is_an_answer() {
    for status in [200, 201, 204, 304, 400, 403, 404, 405, 501, 505, 599] {
        let (rest, server) = Server::start(move |_, _| Reply::status(status));
        let response = rest.get("/channels/1").await.expect("answered");
        assert_eq!(response.status, status);
        assert_eq!(response.is_success(), status < 300);
        assert_eq!(server.seen().len(), 1, "{status}");
    }
}

/// Following one could take the token to another host.
#[tokio::test(start_paused = true)]
async fn redirects_are_not_followed() {
    let (rest, server) =
        Server::start(|_, _| Reply::new(302, &[("location", "http://evil.example/")], ""));
    let response = rest.get("/channels/1").await.expect("answered");
    assert_eq!(response.status, 302);
    assert_eq!(response.header("location"), Some("http://evil.example/"));
    assert_eq!((server.seen().len(), server.connections()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_head_has_no_body_to_wait_for() {
    let (rest, _server) =
        Server::start(|_, _| Reply::raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"));
    let response =
        command(&rest, r#"{"method":"HEAD","path":"/gateway"}"#).await.expect("answered");
    assert_eq!((response.status, response.body.len()), (200, 0));
}

#[tokio::test(start_paused = true)]
async fn requests_can_be_made_piece_by_piece() {
    let (rest, server) = Server::start(|_, _| Reply::status(200));
    let request = Request::new("PUT".parse().expect("a method"), "/guilds/1/bans/2")
        .and_then(|request| request.with_query("x", "y z"))
        .and_then(|request| request.with_json(r#"{"delete_message_seconds":0}"#))
        .and_then(|request| request.with_reason("spam"))
        .expect("a good request");
    rest.request(request).await.expect("answered");
    let seen = server.seen().pop().expect("it came");
    assert_eq!(seen.target, "/api/v10/guilds/1/bans/2?x=y%20z");
    assert_eq!(seen.body, br#"{"delete_message_seconds":0}"#);
}
