//! Promise 7, scenario 73: tokens are in no log, no error and no `Debug`.

use std::io;
use std::sync::{Arc, Mutex};

use shardwright::rest::{File, Request};
use tracing_subscriber::filter::LevelFilter;

use crate::bench::{Reply, Server, TOKEN, post};

/// The token of a webhook or an interaction.
const PATH_TOKEN: &str = "aW50ZXJhY3Rpb246MTIzNDU2Nzg5OnNlY3JldA";

/// A place for log lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_tells_a_token() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);

    let mut told = String::new();
    for reply in [
        Reply::new(200, &[], "{}"),
        Reply::refused(2_000.0),
        Reply::new(429, &[], ""),
        Reply::status(401),
        Reply::raw(b"").then_close(),
        Reply::raw(b"nonsense\r\n\r\n"),
        Reply::hang(),
    ] {
        // A test beside this one may just have cached, without a subscriber, that nobody listens.
        tracing::callsite::rebuild_interest_cache();
        let (rest, _server) = Server::start(move |_, _| reply.clone());
        for path in [
            "/users/@me".to_owned(),
            format!("/webhooks/1/{PATH_TOKEN}"),
            format!("/webhooks/1/{PATH_TOKEN}/messages/@original?wait=true"),
            format!("/interactions/1/{PATH_TOKEN}/callback"),
        ] {
            told += &format!("{:?}", post(&rest, &path).await);
        }
        told += &format!("{rest:?}");
    }
    let request =
        Request::new("POST".parse().expect("a method"), &format!("/webhooks/1/{PATH_TOKEN}"))
            .and_then(|request| request.with_json(format!("\"{PATH_TOKEN}\"")))
            .and_then(|request| request.with_file(File::new("x", PATH_TOKEN)?))
            .expect("a good request");
    told += &format!("{request:?}");

    drop(guard);
    let log = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    for part in ["route=/webhooks/{id}/{token}", "status=200", "ms=", "method=POST", "no answer"] {
        assert!(log.contains(part), "the log does not tell {part}: {log}");
    }
    for secret in [TOKEN, &TOKEN[..24], &TOKEN[32..], PATH_TOKEN] {
        for (place, text) in [("the log", &log), ("an error", &told)] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{place} tells a token");
        }
    }
}
