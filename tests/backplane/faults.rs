//! A backplane that is away, slow, locked or broken: it says so, nothing hangs, and shards do not notice.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::shard::StopMode;
use shardwright_sim::{Options, Simulator};

use crate::backend::{Backend, directory};
use crate::host::{Host, simulator};
use crate::messages::{messages, subscribe};
use crate::redis_server::RedisServer;

/// A bot with traffic.
pub(crate) fn busy() -> Simulator {
    let simulator = simulator(Options {
        guilds: 40,
        events_per_second: 200.0,
        recommended_shards: 4,
        max_concurrency: 4,
        ..Options::default()
    });
    tokio::spawn(simulator.traffic());
    simulator
}

/// Why the client cannot use its backplane.
pub(crate) fn trouble(host: &Host) -> Option<String> {
    let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
    status["backplane_error"].as_str().map(str::to_owned)
}

/// Publishes until one of them comes; a message of a moment without a backplane is lost.
pub(crate) async fn until_heard(host: &mut Host, word: &str) {
    loop {
        let (status, data) =
            host.ask(&json!({"type": "publish", "topic": "word", "data": word})).await;
        assert!(status == 0 || status == -15, "{status} {data}");
        for _ in 0..10 {
            host.during(Duration::from_millis(20)).await;
            if messages(host).iter().any(|told| told.data["data"] == word) {
                return;
            }
        }
    }
}

/// Nothing of what the simulator sent is missing.
pub(crate) async fn end(mut host: Host, simulator: &Simulator) {
    simulator.set_traffic(0.0).expect("a rate");
    host.assert_nothing_lost(simulator, 4).await;
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
    host.stop(StopMode::Abort).await;
}

/// Killed and started again empty, in mid-traffic: subscriptions come back, no event is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_comes_back_empty() {
    let mut server = RedisServer::start(&[]);
    let simulator = busy();
    let mut host = Host::start(&simulator, json!({"backplane": server.url()}));
    host.until_ready().await;
    subscribe(&mut host, "word").await;
    for round in 0..3 {
        until_heard(&mut host, &format!("before {round}")).await;
        server.kill();
        host.until("the trouble shows", |host| trouble(host).is_some()).await;
        let (status, data) =
            host.ask(&json!({"type": "publish", "topic": "word", "data": 1})).await;
        assert_eq!(status, -15, "{data}");
        server.restart();
        until_heard(&mut host, &format!("after {round}")).await;
        host.until("the trouble ends", |host| trouble(host).is_none()).await;
    }
    end(host, &simulator).await;
}

/// A server that is there and answers nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_hangs() {
    let server = RedisServer::start(&[]);
    let simulator = busy();
    let mut host = Host::start(&simulator, json!({"backplane": server.url()}));
    host.until_ready().await;
    subscribe(&mut host, "word").await;
    server.freeze();
    let ids: Vec<u64> = (0..100)
        .map(|_| host.send(&json!({"type": "publish", "topic": "word", "data": 1})))
        .collect();
    host.until("all replies", |host| ids.iter().all(|id| host.reply(*id).is_some())).await;
    for id in ids {
        let (status, data) = host.reply(id).expect("it came");
        assert!(status == -15 || status == 0, "{status} {data}");
    }
    host.until("the trouble shows", |host| trouble(host).is_some()).await;
    server.thaw();
    until_heard(&mut host, "back").await;
    end(host, &simulator).await;
}

/// A server that is not there at the start, and then is: what was subscribed to in between counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_away_at_the_start() {
    let mut server = RedisServer::start(&[]);
    server.kill();
    let simulator = busy();
    let mut host = Host::start(&simulator, json!({"backplane": server.url()}));
    let reply = host.ask(&json!({"type": "subscribe", "topic": "word"})).await;
    assert_eq!(reply, (0, json!({"active": false})));
    let trouble = trouble(&host).expect("it is away");
    assert!(trouble.contains(&server.port().to_string()), "{trouble}");
    server.restart();
    until_heard(&mut host, "hello").await;
    host.until_ready().await;
    simulator.happen(200);
    end(host, &simulator).await;
}

/// A wrong password is told, and not shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_wants_the_password() {
    let server = RedisServer::start(&["--requirepass", "open sesame"]);
    let simulator = busy();
    let port = server.port();
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{port}/2");
    let mut host = Host::start(&simulator, json!({"backplane": url("open%20sesame")}));
    subscribe(&mut host, "word").await;
    until_heard(&mut host, "hello").await;
    host.stop(StopMode::Abort).await;

    let mut host = Host::start(&simulator, json!({"backplane": url("s3cret")}));
    host.until("the trouble shows", |host| trouble(host).is_some()).await;
    let (status, data) = host.ask(&json!({"type": "publish", "topic": "word", "data": 1})).await;
    assert_eq!(status, -15);
    let said = format!("{data} {:?} {:?}", trouble(&host), host.client.config());
    assert!(said.contains("WRONGPASS") || said.contains("assword"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    host.stop(StopMode::Abort).await;
}

/// A user who may no more than the documentation says: everything works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_has_a_user_with_few_rights() {
    let docs = include_str!("../../docs/backplane.md");
    let (_, rights) = docs.split_once("`~shardwright:*").expect("the rights");
    let (rights, _) = rights.split_once('`').expect("their end");
    let user = format!("bot on >open ~shardwright:*{rights}").replace('\n', " ");
    let mut options = vec!["--user"];
    options.extend(user.split(' '));
    let server = RedisServer::start(&options);
    let simulator = busy();
    let url = format!("redis://bot:open@127.0.0.1:{}", server.port());
    let mut host = Host::start(&simulator, json!({"backplane": url, "sessions": "backplane"}));
    subscribe(&mut host, "word").await;
    until_heard(&mut host, "hello").await;
    host.until_ready().await;
    let (status, data) = host.ask(&json!({"type": "cluster_stats"})).await;
    assert_eq!((status, &data["total"]["workers"]), (0, &json!(1)), "{data}");
    let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
    assert_eq!([&status["backplane_error"], &status["sessions_error"]], [&Value::Null; 2]);
    simulator.happen(200);
    end(host, &simulator).await;
}

/// A disk that is full is told, ends nothing, and takes what still fits.
#[test]
fn a_disk_is_full() {
    let test = std::env::current_exe().expect("this process has a file");
    let output = std::process::Command::new("sh")
        // Files of at most 512 KiB, and an error instead of a signal for what would be longer.
        .args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\""])
        .arg(test)
        .args(["--exact", "faults::on_a_full_disk", "--ignored", "--nocapture"])
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Not a test of its own: the one above runs it where files cannot grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "another test runs it"]
async fn on_a_full_disk() {
    let backend = Backend::sqlite();
    let simulator = busy();
    let mut host = backend.start(&simulator, json!({}));
    host.until_ready().await;
    subscribe(&mut host, "word").await;
    until_heard(&mut host, "before").await;
    let long = json!({"type": "publish", "topic": "word", "data": "x".repeat(200_000)});
    let mut failed = Value::Null;
    for _ in 0..20 {
        let (status, data) = host.ask(&long).await;
        if status != 0 {
            assert_eq!(status, -15, "{data}");
            failed = data;
        }
    }
    let error = failed["error"].as_str().expect("the disk is full");
    assert!(error.contains("disk") || error.contains("full"), "{error}");
    host.until("the trouble shows", |host| trouble(host).is_some()).await;
    end(host, &simulator).await;
}

/// A file that another process has locked for longer than anybody waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_locked() {
    let backend = Backend::sqlite();
    let simulator = busy();
    let mut host = backend.start(&simulator, json!({}));
    host.until_ready().await;
    subscribe(&mut host, "word").await;
    until_heard(&mut host, "before").await;
    let url = backend.url();
    let path = url.strip_prefix("sqlite:").expect("a file");
    let lock = rusqlite::Connection::open(path).expect("a file");
    lock.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    let (status, data) = host.ask(&json!({"type": "publish", "topic": "word", "data": 1})).await;
    assert_eq!(status, -15);
    assert!(data["error"].as_str().expect("a text").contains("locked"), "{data}");
    lock.execute_batch("ROLLBACK").expect("it was ours");
    until_heard(&mut host, "after").await;
    host.until("the trouble ends", |host| trouble(host).is_none()).await;
    end(host, &simulator).await;
}

/// A file that somebody removed while it was in use, and what stands beside it: all go on with a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_removed() {
    let backend = Backend::sqlite();
    let simulator = busy();
    let start = |from: u32| {
        let shards = json!({"total": 4, "from": from, "to": from + 1});
        backend.start(&simulator, json!({"shards": shards, "sessions": "backplane"}))
    };
    let mut hosts = [start(0), start(2)];
    for host in &mut hosts {
        host.until_ready().await;
        subscribe(host, "word").await;
    }
    until_heard(&mut hosts[0], "before").await;
    let Backend::Sqlite(directory) = &backend else { unreachable!("it is a file") };
    directory.clear();
    until_heard(&mut hosts[0], "after").await;
    let heard = |host: &Host| messages(host).iter().any(|told| told.data["data"] == "after");
    hosts[1].until("the message", heard).await;
    let workers = loop {
        let (status, data) = hosts[1].ask(&json!({"type": "cluster_stats"})).await;
        assert_eq!(status, 0, "{data}");
        if data["total"]["workers"] == 2 {
            break data["total"]["shards"].clone();
        }
    };
    assert_eq!(workers, 4);

    // The sessions are in a new file, too, those of shards without news as well.
    simulator.set_traffic(0.0).expect("a rate");
    for mut host in hosts {
        host.stop(StopMode::Resumable).await;
        host.client.save_sessions();
    }
    let mut again = [start(0), start(2)];
    for host in &mut again {
        host.until_ready().await;
        host.stop(StopMode::Abort).await;
    }
    assert_eq!(simulator.look(|seen| seen.counts.identifies), 4);
}

/// A file that is no database, and one that cannot be made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_cannot_be_used() {
    let directory = directory();
    let broken = directory.path().join("broken");
    std::fs::write(&broken, "this is no database, and was not one before").expect("written");
    // Not even root may write a directory.
    let folder = directory.path().join("folder");
    std::fs::create_dir(&folder).expect("a place");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o500)).expect("ours");
    for (path, part) in [(broken, "not a database"), (folder, "cannot be opened")] {
        let simulator = busy();
        let mut host =
            Host::start(&simulator, json!({"backplane": format!("sqlite:{}", path.display())}));
        let (status, data) =
            host.ask(&json!({"type": "publish", "topic": "word", "data": 1})).await;
        assert_eq!(status, -15);
        assert!(data["error"].as_str().expect("a text").contains(part), "{data}");
        let trouble = trouble(&host).expect("it cannot be used");
        assert!(trouble.contains(part), "{trouble}");
        host.stop(StopMode::Abort).await;
    }
    let error = shardwright::Config::from_json(
        r#"{"token":"t","intents":0,"backplane":"sqlite:/no/such/place"}"#,
        |_| None,
    );
    let client = error.and_then(|config| {
        shardwright::Client::new(config, std::sync::Arc::new(shardwright::transport::Tcp))
    });
    let error = client.expect_err("there is no such directory").to_string();
    assert!(error.contains("`backplane`") && error.contains("directory"), "{error}");
}
