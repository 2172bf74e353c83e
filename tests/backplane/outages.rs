//! What a backplane does to a bot when it is slow, fails over, forgets, remembers, or may only be read:
//! nothing to its shards, and to what it keeps no more than has to be.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::ErrorKind;
use shardwright::queue::EventKind;
use shardwright::shard::StopMode;
use shardwright_sim::{Options, Simulator};

use crate::backend::directory;
use crate::faults::{busy, end, trouble, until_heard};
use crate::host::{Host, config};
use crate::messages::subscribe;
use crate::proxy::Proxy;
use crate::redis_server::RedisServer;

/// The result of a command that succeeds.
async fn done(host: &mut Host, command: Value) -> Value {
    let (status, data) = host.ask(&command).await;
    assert_eq!(status, 0, "{command}: {data}");
    data
}

/// The error of a command that fails, for want of the backplane.
async fn failed(host: &mut Host, command: &Value) -> String {
    let (status, data) = host.ask(command).await;
    assert_eq!(status, ErrorKind::Io.status(), "{command}: {data}");
    data["error"].as_str().expect("a text").to_owned()
}

fn publish() -> Value {
    json!({"type": "publish", "topic": "word", "data": 1})
}

fn cache_set(value: &str) -> Value {
    json!({"type": "cache_set", "key": "k", "value": value})
}

fn cache_get() -> Value {
    json!({"type": "cache_get", "key": "k"})
}

/// How often shards have changed their state.
fn changes(host: &Host) -> usize {
    (0..4).map(|shard| host.states(shard).len()).sum()
}

// -- slow -----------------------------------------------------------------------------------------

/// Each answer comes 300 ms late: everything works, from the first identify on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_slow() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::start(server.port()).await;
    proxy.delay(Duration::from_millis(300));
    let simulator = busy();
    let mut host = Host::start(&simulator, json!({"backplane": proxy.url()}));
    host.until_ready().await;
    let before = changes(&host);
    subscribe(&mut host, "word").await;
    let ids: Vec<u64> = (0..100).map(|_| host.send(&publish())).collect();
    host.until("all replies", |host| ids.iter().all(|id| host.reply(*id).is_some())).await;
    for id in ids {
        assert_eq!(host.reply(id), Some((0, Value::Null)));
    }
    done(&mut host, cache_set("slow")).await;
    assert_eq!(done(&mut host, cache_get()).await["value"], "slow");
    assert_eq!(done(&mut host, json!({"type": "cluster_stats"})).await["total"]["workers"], 1);
    until_heard(&mut host, "late").await;
    assert_eq!(trouble(&host), None);
    assert_eq!(changes(&host), before);
    end(host, &simulator).await;
}

/// Each answer comes later than anybody waits: commands fail by their time limit, shards go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_too_slow() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::start(server.port()).await;
    let simulator = busy();
    let mut host = Host::start(&simulator, json!({"backplane": proxy.url()}));
    host.until_ready().await;
    let before = changes(&host);
    subscribe(&mut host, "word").await;
    proxy.delay(Duration::from_secs(5));
    for command in [publish(), cache_set("x"), json!({"type": "cluster_stats"})] {
        let error = failed(&mut host, &command).await;
        assert!(error.starts_with("the backplane "), "{error}");
    }
    host.until("the trouble shows", |host| trouble(host).is_some()).await;
    assert_eq!(changes(&host), before);
    proxy.delay(Duration::ZERO);
    until_heard(&mut host, "back").await;
    host.until("the trouble ends", |host| trouble(host).is_none()).await;
    end(host, &simulator).await;
}

// -- another server -------------------------------------------------------------------------------

/// What a server answers to one command.
fn redis(port: u16, command: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it is there");
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("UTF-8");
    answer
}

/// The server dies, its address leads to a replica, and that is made the new one: what was written before is
/// there, what is subscribed to is heard, jobs go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_fails_over() {
    let mut old = RedisServer::start(&[]);
    let new = RedisServer::start(&["--replicaof", "127.0.0.1", &old.port().to_string()]);
    let proxy = Proxy::start(old.port()).await;
    let simulator = busy();
    let mut host = Host::start(&simulator, json!({"backplane": proxy.url()}));
    host.until_ready().await;
    subscribe(&mut host, "word").await;
    done(&mut host, cache_set("before")).await;
    done(&mut host, json!({"type": "job_push", "queue": "q", "payload": "before"})).await;
    // Replicas follow a moment later; what they have not got by then is lost.
    let has = |what: &str| {
        redis(new.port(), &format!("KEYS shardwright:*{what}")).contains("shardwright")
    };
    while !(has("cache:k") && has("jobs:last")) {
        host.during(Duration::from_millis(20)).await;
    }
    let before = changes(&host);
    old.kill();
    proxy.lead_to(new.port());
    // Until somebody makes it the new one it may only be read.
    while !failed(&mut host, &cache_set("between")).await.contains("READONLY") {}
    host.until("the trouble shows", |host| trouble(host).is_some()).await;
    assert!(redis(new.port(), "REPLICAOF NO ONE").starts_with("+OK"));
    until_heard(&mut host, "after").await;
    host.until("the trouble ends", |host| trouble(host).is_none()).await;
    assert_eq!(done(&mut host, cache_get()).await["value"], "before");
    done(&mut host, cache_set("after")).await;
    done(&mut host, json!({"type": "job_consume", "queue": "q", "concurrency": 1})).await;
    host.until("the job", |host| !jobs(host).is_empty()).await;
    let (id, payload) = jobs(&host).remove(0);
    assert_eq!(payload, "before");
    done(&mut host, json!({"type": "job_ack", "job_id": id})).await;
    assert_eq!(done(&mut host, json!({"type": "cluster_stats"})).await["total"]["workers"], 1);
    assert_eq!(changes(&host), before);
    end(host, &simulator).await;
}

// -- full -----------------------------------------------------------------------------------------

/// A server without room, which forgets nothing: what would need some is refused, and the status says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_full() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let simulator = busy();
    let mut host = Host::start(&simulator, json!({"backplane": server.url()}));
    host.until_ready().await;
    subscribe(&mut host, "word").await;
    done(&mut host, cache_set("before")).await;
    let before = changes(&host);
    assert!(redis(server.port(), "CONFIG SET maxmemory 1").starts_with("+OK"));
    let push = json!({"type": "job_push", "queue": "q", "payload": 1});
    for command in [cache_set("x"), push, json!({"type": "cluster_stats"})] {
        let error = failed(&mut host, &command).await;
        assert!(error.contains("refuses") && error.contains("OOM"), "{error}");
    }
    let says_why = |host: &Host| trouble(host).is_some_and(|why| why.contains("OOM"));
    host.until("the trouble shows", says_why).await;
    // Messages need no room, nor does what is there.
    until_heard(&mut host, "all the same").await;
    assert_eq!(done(&mut host, cache_get()).await["value"], "before");
    assert!(redis(server.port(), "CONFIG SET maxmemory 0").starts_with("+OK"));
    host.until("the trouble ends", |host| trouble(host).is_none()).await;
    done(&mut host, cache_set("after")).await;
    assert_eq!(changes(&host), before);
    end(host, &simulator).await;
}

// -- jobs -----------------------------------------------------------------------------------------

/// The jobs that a host got: their numbers and payloads.
fn jobs(host: &Host) -> Vec<(Value, Value)> {
    let jobs = host.told.iter().filter(|told| told.kind == EventKind::Job);
    jobs.map(|told| (told.data["job_id"].clone(), told.data["payload"].clone())).collect()
}

async fn push(host: &mut Host, payloads: std::ops::Range<u64>) {
    for payload in payloads {
        done(host, json!({"type": "job_push", "queue": "q", "payload": payload})).await;
    }
}

/// Consumes, four at a time.
async fn consume(host: &mut Host) {
    let consume =
        json!({"type": "job_consume", "queue": "q", "concurrency": 4, "visibility_ms": 1_000});
    done(host, consume).await;
}

/// Acknowledges a job, for as long as the backplane is away; whether it was this client's.
async fn ack(host: &mut Host, id: &Value) -> bool {
    loop {
        let (status, data) = host.ask(&json!({"type": "job_ack", "job_id": id})).await;
        if status != ErrorKind::Io.status() {
            assert!(status == 0 || status == ErrorKind::NotFound.status(), "{status} {data}");
            return status == 0;
        }
    }
}

/// Jobs in any state.
async fn left(host: &mut Host) -> usize {
    let mut count = 0;
    for state in ["waiting", "running", "dead"] {
        let list = json!({"type": "job_list", "queue": "q", "state": state, "limit": 100});
        count += done(host, list).await["jobs"].as_array().expect("a list").len();
    }
    count
}

/// Redis with an append-only file is killed twice, with jobs in hand: all are done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_survive_a_redis_that_keeps_its_data() {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let simulator = busy();
    let mut host = Host::start(&simulator, json!({"backplane": server.url()}));
    host.until_ready().await;
    push(&mut host, 0..40).await;
    consume(&mut host).await;
    let (mut did, mut taken) = (BTreeSet::new(), 0);
    while did.len() < 40 {
        host.until("a job", |host| jobs(host).len() > taken).await;
        if taken == 10 || taken == 20 {
            // Three more are in hand by now.
            server.kill();
            host.until("the trouble shows", |host| trouble(host).is_some()).await;
            server.restart();
        }
        let (id, payload) = jobs(&host)[taken].clone();
        taken += 1;
        // One whose lease has ended in between comes again.
        if ack(&mut host, &id).await {
            did.insert(payload.as_u64().expect("a number"));
        }
    }
    assert_eq!(did, (0..40).collect());
    assert_eq!(left(&mut host).await, 0);
    end(host, &simulator).await;
}

/// One that forgets everything forgets the jobs as well; those in hand are nobody's, and new ones come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_go_on_with_a_redis_that_lost_its_data() {
    let mut server = RedisServer::start(&[]);
    let simulator = busy();
    let mut host = Host::start(&simulator, json!({"backplane": server.url()}));
    host.until_ready().await;
    push(&mut host, 0..10).await;
    consume(&mut host).await;
    host.until("jobs", |host| jobs(host).len() == 4).await;
    server.kill();
    host.until("the trouble shows", |host| trouble(host).is_some()).await;
    server.restart();
    host.until("the trouble ends", |host| trouble(host).is_none()).await;
    push(&mut host, 10..30).await;
    for (id, _) in jobs(&host).into_iter().take(4) {
        // An old one is nobody's; none of the new ones has its number.
        assert!(!ack(&mut host, &id).await);
    }
    let (mut did, mut taken) = (BTreeSet::new(), 4);
    while did.len() < 20 {
        host.until("a job", |host| jobs(host).len() > taken).await;
        let (id, payload) = jobs(&host)[taken].clone();
        taken += 1;
        if ack(&mut host, &id).await {
            did.insert(payload.as_u64().expect("a number"));
        }
    }
    assert_eq!(did, (10..30).collect());
    assert_eq!(left(&mut host).await, 0);
    end(host, &simulator).await;
}

// -- a disk that may only be read -----------------------------------------------------------------

/// The configuration of the process below.
const CONFIG: &str = "SHARDWRIGHT_TEST_READ_ONLY_CONFIG";

/// A process whose backplane may only be read. Not a test: the one below runs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of another test, which runs it"]
async fn read_only() {
    let config = std::env::var(CONFIG).expect("run by another test");
    let mut host = Host::start_tcp(&config);
    // They resume, which needs nobody's leave.
    host.until_ready().await;
    for command in [publish(), cache_set("x"), json!({"type": "cluster_stats"})] {
        let error = failed(&mut host, &command).await.to_lowercase();
        assert!(error.contains("permission denied") || error.contains("readonly"), "{error}");
    }
    assert!(trouble(&host).is_some());
    let (status, _) = host.ask(&json!({"type": "guild_stats"})).await;
    assert_eq!(status, 0);
    host.stop(StopMode::Resumable).await;
}

/// Whether the tests run as root, whom no permission stops.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().is_ok_and(|metadata| metadata.uid() == 0)
}

/// A backplane that cannot be written says so, and shards with a session go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_is_read_only() {
    let options =
        Options { guilds: 8, recommended_shards: 4, max_concurrency: 4, ..Options::default() };
    let simulator = Simulator::new(options).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let (disk, other) = (directory(), directory());
    let keys = json!({
        "backplane": format!("sqlite:{}/backplane", disk.path().display()),
        "sessions": format!("sqlite:{}/sessions", other.path().display()),
    });
    let config = config(&simulator, &server.api_url(), keys);
    let mut host = Host::start_tcp(&config);
    host.until_ready().await;
    host.stop(StopMode::Resumable).await;
    drop(host);
    let mode = |path: &Path, mode: u32| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, mode).expect("it is ours");
    };
    mode(&disk.path().join("backplane"), 0o444);
    mode(disk.path(), 0o555);
    let test = std::env::current_exe().expect("this process has a file");
    // Root may write whatever the mode says, unless it gives that up.
    let (program, by): (_, &[&str]) = if is_root() {
        ("setpriv", &["--bounding-set=-dac_override,-dac_read_search", "--"])
    } else {
        ("env", &[])
    };
    let mut process = Command::new(program);
    process
        .args(by)
        .arg(test)
        .args(["--exact", "outages::read_only", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CONFIG, config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || process.output()).await.expect("no panic");
    mode(disk.path(), 0o755);
    let output = output.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("1 passed"), "{}", text(&output.stdout));
    assert_eq!(simulator.look(|seen| seen.counts.identifies), 4, "no shard had to identify again");
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
    server.shutdown().await;
}
