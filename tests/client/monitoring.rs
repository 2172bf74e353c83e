//! The endpoint for Prometheus and probes, over real sockets, and what there is to read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::queue::EventKind;
use shardwright::shard::StopMode;
use shardwright::transport::Tcp;
use shardwright::{Client, Config, ErrorKind};
use shardwright_sim::{ConnectPlan, Options, Server, Simulator, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::host::{Host, config};
use crate::temp_file::TempDir;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A simulator on a port of its own.
async fn simulator() -> (Simulator, Server) {
    let options =
        Options { guilds: 20, recommended_shards: 4, max_concurrency: 4, ..Options::default() };
    let simulator = Simulator::new(options).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    (simulator, server)
}

/// A client with an endpoint on a free port.
fn host(simulator: &Simulator, server: &Server) -> Host {
    let changes = json!({"metrics_address": "127.0.0.1:0"});
    Host::start_tcp(&config(simulator, &server.api_url(), changes))
}

/// Where its endpoint listens.
fn address(host: &Host) -> SocketAddr {
    let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
    status["metrics_address"].as_str().expect("an address").parse().expect("an address")
}

/// An HTTP answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// Sends a request and reads all that comes.
async fn exchange(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// Asks for something.
async fn ask(address: SocketAddr, method: &str, path: &str, accept: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
    let text = exchange(address, &request).await.expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status: status.parse().expect("a number"),
        headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
        body: body.to_owned(),
    }
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, "*/*").await
}

/// The value of one series.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series}:\n{page}")).parse().expect("a number")
}

/// Probes and metrics are there from the start on, follow the shards, and go with the client.
#[tokio::test]
async fn the_endpoint_lives_as_long_as_the_client() {
    let (simulator, server) = simulator().await;
    simulator.plan(None, ConnectPlan::refuse(502, "")).expect("a plan");
    let mut host = host(&simulator, &server);
    let address = address(&host);
    assert_eq!(get(address, "/healthz").await.status, 200);
    host.until("refusals", |host| host.states(3).iter().any(|(s, _)| s == "disconnected")).await;
    let unready = get(address, "/readyz").await;
    assert_eq!((unready.status, &unready.headers["content-type"][..]), (503, "application/json"));
    let body: Value = serde_json::from_str(&unready.body).expect("JSON");
    assert_eq!(body["ready"], false);
    assert!(body["reason"].as_str().expect("a text").contains("4 of 4 shards"), "{body}");
    assert!(body["reason"].as_str().expect("a text").contains("502"), "{body}");

    simulator.clear_faults();
    host.until_ready().await;
    let ready = get(address, "/readyz?verbose").await;
    assert_eq!((ready.status, &ready.body[..]), (200, "{\"ready\":true}\n"));

    let page = ask(address, "GET", "/metrics", "application/openmetrics-text;version=1.0.0,*/*");
    let page = page.await;
    assert_eq!((page.status, &page.headers["content-type"][..]), (200, OPENMETRICS));
    assert!(page.body.ends_with("# EOF\n"));
    assert!(value(&page.body, "shardwright_events_total{shard=\"3\"}") > 1.0);
    assert!(
        value(&page.body, "shardwright_reconnects_total{shard=\"3\",cause=\"connect_failed\"}")
            >= 1.0
    );
    assert!((value(&page.body, "shardwright_identify_wait_seconds_count") - 4.0).abs() < 0.1);
    let requests = "shardwright_rest_requests_total{route=\"gateway\",status=\"2xx\"}";
    assert!(value(&page.body, requests) >= 1.0);

    let plain = get(address, "/metrics").await;
    assert_eq!(plain.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(plain.body.contains("\n# TYPE shardwright_events_total counter\n"));
    assert!(plain.body.contains("# TYPE shardwright_build_info gauge\n"));
    assert!(!plain.body.contains("# EOF") && !plain.body.contains("# UNIT"));
    let samples = |page: &str| page.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples(&plain.body), samples(&page.body));

    let token = &simulator.options().token;
    for path in ["/metrics", "/healthz", "/readyz", "/"] {
        let head = ask(address, "HEAD", path, "*/*").await;
        assert_eq!(head.status, if path == "/" { 404 } else { 200 });
        assert_eq!(head.body, "");
        let post = ask(address, "POST", path, "*/*").await;
        assert_eq!(post.status, if path == "/" { 404 } else { 405 });
        if path != "/" {
            assert_eq!(post.headers["allow"], "GET, HEAD");
        }
        let answer = format!("{:?}", get(address, path).await);
        assert!(!answer.contains(&token[..]), "{answer}");
    }

    host.stop(StopMode::Resumable).await;
    let refused = TcpStream::connect(address).await.expect_err("closed with the client");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    server.shutdown().await;
}

/// A shard that Discord refuses makes the client unready, which a new process would not mend.
#[tokio::test]
async fn a_refused_shard_is_unready_and_a_refused_token_unhealthy() {
    let (simulator, server) = simulator().await;
    let mut host = host(&simulator, &server);
    let at = address(&host);
    host.until_ready().await;
    simulator.close(Target::Shard(2), Some(4014), "");
    host.until("FATAL", |host| host.fatal().count() == 1).await;
    assert_eq!(get(at, "/healthz").await.status, 200);
    let unready = get(at, "/readyz").await;
    assert!(unready.status == 503 && unready.body.contains("4014"), "{unready:?}");
    let page = get(at, "/metrics").await.body;
    for (series, expected) in [
        ("shardwright_fatal{shard=\"2\"}", 1.0),
        ("shardwright_fatal{shard=\"1\"}", 0.0),
        ("shardwright_ready{shard=\"2\"}", 0.0),
        ("shardwright_client_fatal", 1.0),
    ] {
        assert!((value(&page, series) - expected).abs() < 0.1, "{series}");
    }
    host.stop(StopMode::Close).await;

    let changes = json!({"metrics_address": "127.0.0.1:0", "token": "not.the.token"});
    let mut host = Host::start_tcp(&config(&simulator, &server.api_url(), changes));
    host.until("FATAL", |host| host.fatal().count() == 1).await;
    let unhealthy = get(address(&host), "/healthz").await;
    assert!(unhealthy.status == 503 && unhealthy.body.contains("bot token"), "{unhealthy:?}");
    let page = get(address(&host), "/metrics").await.body;
    assert!((value(&page, "shardwright_client_fatal") - 1.0).abs() < 0.1);
    host.stop(StopMode::Close).await;
    server.shutdown().await;
}

/// An address that is taken is an error of the start, which names it; once it is free the same client
/// can start.
#[tokio::test]
async fn an_address_that_is_taken_is_said_at_the_start() {
    let (simulator, server) = simulator().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address");
    let changes = json!({"metrics_address": address});
    let config = config(&simulator, &server.api_url(), changes);
    let config = Config::from_json(&config, |_| None).expect("a good configuration");
    let client = Client::new(config, std::sync::Arc::new(Tcp)).expect("a client");
    let error = client.start(&Handle::current()).expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::Io);
    let text = error.to_string();
    assert!(text.contains("`metrics_address`") && text.contains(&address.to_string()), "{text}");
    drop(taken);
    client.start(&Handle::current()).expect("it is free now");
    assert_eq!(get(address, "/healthz").await.status, 200);
    client.stop(StopMode::Abort);
    while TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.shutdown().await;
}

/// Who connects and says nothing, nonsense, or too much is got rid of, and holds up nobody for long.
#[tokio::test]
async fn bad_clients_are_got_rid_of() {
    let (simulator, server) = simulator().await;
    let mut host = host(&simulator, &server);
    let address = address(&host);
    let nonsense = exchange(address, "\x16\x03\x01\r\n\r\n").await.unwrap_or_default();
    assert!(nonsense.is_empty() || nonsense.starts_with("HTTP/1.1 400"), "{nonsense}");
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1 << 20));
    let long = exchange(address, &long).await.unwrap_or_default();
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 4"), "{}", &long[..60.min(long.len())]);
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.expect("a connection"));
    }
    assert_eq!(get(address, "/healthz").await.status, 200, "once the silent ones were sent away");
    let mut first = silent.swap_remove(0);
    let mut left = Vec::new();
    first.read_to_end(&mut left).await.expect("the end");
    host.stop(StopMode::Abort).await;
    server.shutdown().await;
}

/// What the backplane and the store do is counted; without them there is nothing to see of it.
#[tokio::test]
async fn the_backplane_and_the_store_are_counted() {
    let simulator = crate::host::simulator(Options::default());
    let mut bare = Host::start(&simulator, json!({}));
    let page = bare.client.metrics_text();
    for part in
        ["backplane", "store", "messages", "jobs"].map(|part| format!("shardwright_{part}_"))
    {
        assert!(!page.contains(&part), "{page}");
    }
    bare.stop(StopMode::Abort).await;

    let directory = TempDir::new("counted");
    let path = |name: &str| format!("sqlite:{}/{name}", directory.path().display());
    let changes =
        json!({"backplane": path("backplane"), "store": path("store"), "shards": "lease"});
    let mut host = Host::start(&simulator, changes);
    let mut done = async |command: Value| {
        let (status, data) = host.ask(&command).await;
        assert_eq!(status, 0, "{command}: {data}");
    };
    done(json!({"type": "subscribe", "topic": "t"})).await;
    done(json!({"type": "publish", "topic": "t", "data": 1})).await;
    done(json!({"type": "job_push", "queue": "q", "payload": 1})).await;
    done(json!({"type": "job_push", "queue": "q", "payload": 2})).await;
    done(json!({"type": "job_consume", "queue": "q", "concurrency": 2})).await;
    done(json!({"type": "store_put", "collection": "c", "key": "k", "value": 1})).await;
    let jobs = |host: &Host| -> Vec<Value> {
        let jobs = host.told.iter().filter(|told| told.kind == EventKind::Job);
        jobs.map(|told| told.data["job_id"].clone()).collect()
    };
    host.until("two jobs", |host| jobs(host).len() == 2).await;
    let ids = jobs(&host);
    host.ask(&json!({"type": "job_ack", "job_id": ids[0]})).await;
    host.ask(&json!({"type": "job_fail", "job_id": ids[1], "error": "no", "retry": false})).await;
    let put = json!({"type": "store_put", "collection": "c", "key": "k", "value": 2, "expected_version": 0});
    assert_eq!(host.ask(&put).await.0, ErrorKind::State.status());
    let again = json!({"type": "job_ack", "job_id": ids[0]});
    assert_eq!(host.ask(&again).await.0, ErrorKind::NotFound.status());
    let came = |host: &Host| host.told.iter().any(|told| told.kind == EventKind::Message);
    host.until("the message", came).await;
    let page = host.client.metrics_text();
    for (series, expected) in [
        ("shardwright_backplane_up", 1.0),
        ("shardwright_backplane_commands_total{result=\"done\"}", 7.0),
        ("shardwright_backplane_commands_total{result=\"refused\"}", 1.0),
        ("shardwright_backplane_commands_total{result=\"failed\"}", 0.0),
        ("shardwright_backplane_command_seconds_count", 8.0),
        ("shardwright_messages_published_total", 1.0),
        ("shardwright_messages_received_total", 1.0),
        ("shardwright_messages_dropped_total", 0.0),
        ("shardwright_jobs_total{step=\"pushed\"}", 2.0),
        ("shardwright_jobs_total{step=\"taken\"}", 2.0),
        ("shardwright_jobs_total{step=\"done\"}", 1.0),
        ("shardwright_jobs_total{step=\"failed\"}", 1.0),
        ("shardwright_jobs_total{step=\"lost\"}", 0.0),
        ("shardwright_jobs_running", 0.0),
        ("shardwright_store_up", 1.0),
        ("shardwright_store_commands_total{result=\"done\"}", 1.0),
        ("shardwright_store_commands_total{result=\"refused\"}", 1.0),
        ("shardwright_store_command_seconds_count", 2.0),
    ] {
        assert!((value(&page, series) - expected).abs() < 0.1, "{series}: {page}");
    }
    host.stop(StopMode::Abort).await;
}

/// The table in docs/monitoring.md is what a client says of itself; `make generate` writes it.
#[tokio::test(start_paused = true)]
async fn the_table_of_metrics_is_fresh() {
    shardwright::simulation::begin(Duration::from_secs(1_800_000_000));
    let simulator = crate::host::simulator(Options::default());
    let directory = TempDir::new("metrics");
    let path = |name: &str| format!("sqlite:{}/{name}", directory.path().display());
    let changes =
        json!({"backplane": path("backplane"), "store": path("store"), "shards": "lease"});
    let mut host = Host::start(&simulator, changes);
    host.until_ready().await;
    // Until there has been a heartbeat, and its latency.
    host.during(Duration::from_secs(60)).await;
    let page = host.client.metrics_text();
    let mut table = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    let (mut help, mut rows) = ("", 0);
    for line in page.lines() {
        let Some(comment) = line.strip_prefix("# ") else { continue };
        let (kind, rest) = comment.split_once(' ').unwrap_or((comment, ""));
        match kind {
            "HELP" => help = rest.split_once(' ').expect("a help").1,
            "TYPE" => {
                let (name, kind) = rest.split_once(' ').expect("a type");
                let suffix = match kind {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                let series = format!("\n{name}{suffix}{{");
                let labels = page.find(&series).map_or("", |at| {
                    let labels = &page[at + series.len()..];
                    &labels[..labels.find('}').expect("the end of the labels")]
                });
                let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0));
                let labels: Vec<_> = labels.map(|label| format!("`{label}`")).collect();
                let meaning = help.trim_end_matches('.');
                let labels = labels.join(", ");
                table += &format!("| `{name}{suffix}` | {kind} | {labels} | {meaning} |\n");
                rows += 1;
            }
            _ => {}
        }
    }
    assert!(rows > 40, "{table}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring.md");
    let text = std::fs::read_to_string(&path).expect("the document");
    let start = text.find("| metric | type |").expect("the table");
    let end = text[start..].find("\n\n").map_or(text.len(), |at| start + at + 1);
    let fresh = format!("{}{table}{}", &text[..start], &text[end..]);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &fresh).expect("it can be written");
    } else {
        assert!(text == fresh, "docs/monitoring.md is stale; run `make generate` and commit it");
    }
    host.stop(StopMode::Abort).await;
}
