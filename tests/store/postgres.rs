//! What can go wrong with a server.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use shardwright::ErrorKind;

use crate::host::Host;
use crate::postgres_server::{PASSWORD, PostgresServer, give_to_server};

fn put(key: &str, value: Value) -> Value {
    json!({"type": "store_put", "collection": "c", "key": key, "value": value})
}

fn get(key: &str) -> Value {
    json!({"type": "store_get", "collection": "c", "key": key})
}

/// The text of an error that is this kind.
async fn error(host: &Host, command: Value, kind: ErrorKind) -> String {
    let (status, data) = host.ask(command).await;
    assert_eq!(status, kind.status(), "{data}");
    data["error"].as_str().expect("a text").to_owned()
}

/// It is said at once what is wrong, without the password, and no shard minds.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said() {
    let server = PostgresServer::shared();
    for (url, part) in [
        (server.url_with("a-wrong-one", "postgres", ""), "password authentication failed"),
        (server.url_with("", "postgres", ""), "password"),
        (server.url_with(PASSWORD, "nowhere", ""), "\"nowhere\" does not exist"),
        (server.url_with(PASSWORD, "postgres", "?sslmode=require"), "does not support TLS"),
    ] {
        let host = Host::start(&url);
        host.until_ready().await;
        for command in [put("a", json!(1)), get("a")] {
            let error = error(&host, command, ErrorKind::Io).await;
            assert!(error.contains(part) && error.contains("127.0.0.1"), "{error}");
            assert!(!error.contains("a-wrong-one") && !error.contains(PASSWORD), "{error}");
        }
        let trouble = host.store_error().to_string();
        assert!(trouble.contains(part.trim_matches('"').split('"').next().expect("a part")));
        assert_eq!(host.states().iter().filter(|state| *state == "disconnected").count(), 0);
    }
}

/// Writers go on through lost connections and crashes of the server; every write that was confirmed
/// counts once, and no shard notices.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_in_mid_traffic_loses_and_doubles_nothing() {
    const WRITERS: u32 = 4;
    let server = Arc::new(PostgresServer::start(&[]));
    let url = server.database("traffic").await;
    let host = Arc::new(Host::start(&url));
    host.until_ready().await;
    let states = host.states();
    host.put("counter", json!(0)).await;
    let done = Arc::new(AtomicU32::new(0));
    let is_over = Arc::new(AtomicU32::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (host, done, is_over) = (host.clone(), done.clone(), is_over.clone());
            tokio::spawn(async move {
                while is_over.load(Ordering::Relaxed) == 0 {
                    let found = host.done(get("counter")).await;
                    let mut command =
                        put("counter", json!(found["value"].as_u64().expect("it") + 1));
                    command["expected_version"] = found["version"].clone();
                    let (status, data) = host.ask(command).await;
                    if status == 0 {
                        done.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert_eq!(status, ErrorKind::State.status(), "{data}");
                        // Only then nobody can know whether this write is the one that was overwritten.
                        let error = data["error"].as_str().expect("a text");
                        if error.contains("may have been carried out") {
                            is_over.fetch_add(2, Ordering::Relaxed);
                        }
                    }
                }
            })
        })
        .collect();
    let until_more = async |more: u32| {
        let target = done.load(Ordering::Relaxed) + more;
        while done.load(Ordering::Relaxed) < target && is_over.load(Ordering::Relaxed) == 0 {
            host.done(get("counter")).await;
        }
    };
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'shardwright'";
    for _ in 0..20 {
        until_more(5).await;
        server.sql("postgres", cut).await;
    }
    for _ in 0..3 {
        until_more(20).await;
        let server = Arc::clone(&server);
        let restart = move || {
            server.crash();
            server.resume();
        };
        tokio::task::spawn_blocking(restart).await.expect("it comes back");
    }
    until_more(20).await;
    is_over.fetch_add(1, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("no panic");
    }
    let counted = host.get("counter").await.as_u64().expect("a number");
    let done = u64::from(done.load(Ordering::Relaxed));
    // An odd number: it was this test that ended it, and no write is in doubt.
    if is_over.load(Ordering::Relaxed) == 1 {
        assert_eq!(counted, done);
    } else {
        assert!(counted >= done, "{counted} of {done}");
    }
    assert_eq!(host.states(), states);
    assert_eq!(host.store_error(), Value::Null);
}

/// The server goes away while a write is on its way: it waits for another one's lock when the server crashes.
/// The write is carried out once, by the next server, whether its row was there before or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_cut_short_is_carried_out_once() {
    let server = Arc::new(PostgresServer::start(&[]));
    let url = server.database("cut").await;
    let host = Host::start(&url);
    host.until_ready().await;
    let states = host.states();
    let before = host.put("a", json!(1)).await;
    let (lock, connection) =
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("a connection");
    let connection = tokio::spawn(connection);
    lock.batch_execute("BEGIN; LOCK TABLE shardwright_document").await.expect("nobody writes");
    let mut over = put("a", json!(2));
    over["expected_version"] = json!(before);
    let writes = [over, put("b", json!(3))].map(|write| host.send(&write).expect("accepted"));
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = 'cut' AND wait_event_type = 'Lock'";
    while server.sql("postgres", waiting).await.as_deref() == Some("0") {}
    let restart = move || {
        server.crash();
        server.resume();
        server
    };
    let _server = tokio::task::spawn_blocking(restart).await.expect("it comes back");
    connection.abort();
    for id in writes {
        let (status, data) = host.reply(id).await;
        assert_eq!(status, 0, "{data}");
        assert!(data["version"].as_i64() > Some(before), "{data}");
    }
    assert_eq!([host.get("a").await, host.get("b").await], [json!(2), json!(3)]);
    assert_eq!((host.store_error(), host.states()), (Value::Null, states));
}

/// Commands end in time while there is no server, say what is wrong, and work again with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_fails_commands_in_time() {
    let server = PostgresServer::start(&[]);
    let host = Host::start(&server.url("postgres"));
    host.put("a", json!("kept")).await;
    server.crash();
    let ids: Vec<u64> = (0..100)
        .map(|number| host.send(&put(&number.to_string(), json!(number))).expect("accepted"))
        .collect();
    let read = host.send(&get("a")).expect("accepted");
    for id in ids {
        let (status, data) = host.reply(id).await;
        assert_eq!(status, ErrorKind::Timeout.status(), "{data}");
        let error = data["error"].as_str().expect("a text");
        assert!(error.contains("10 s") && error.contains("may be carried out"), "{error}");
        assert!(error.contains("127.0.0.1") && !error.contains(PASSWORD), "{error}");
    }
    let (status, data) = host.reply(read).await;
    assert_eq!(status, ErrorKind::Timeout.status(), "{data}");
    assert!(!data["error"].as_str().expect("a text").contains("carried out"), "{data}");
    assert_ne!(host.store_error(), Value::Null);
    server.resume();
    assert_eq!(host.get("a").await, json!("kept"));
    host.put("b", json!(1)).await;
    assert_eq!(host.store_error(), Value::Null);
}

/// A process of the server that does not answer is left, and another one asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_hangs_is_replaced() {
    let server = PostgresServer::shared();
    let host = Host::start(&server.database("hangs").await);
    host.put("a", json!(1)).await;
    let pid = server.sql("hangs", "SELECT pid FROM pg_stat_activity WHERE datname = 'hangs' AND application_name = 'shardwright'");
    let pid = pid.await.expect("it is connected");
    let signal = |name: &str| {
        let status = std::process::Command::new("kill").args([name, &pid]).status();
        assert!(status.expect("it is installed").success());
    };
    signal("-STOP");
    let found = host.ask(get("a")).await;
    signal("-CONT");
    assert_eq!((found.0, &found.1["value"]), (0, &json!(1)), "{}", found.1);
}

/// A server that may only be read says so; reading goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_read_only_is_read() {
    let server = PostgresServer::shared();
    let url = server.database("standby").await;
    Host::start(&url).put("a", json!(1)).await;
    server.sql("postgres", "ALTER DATABASE standby SET default_transaction_read_only = on").await;
    let host = Host::start(&url);
    assert_eq!(host.get("a").await, json!(1));
    let error = error(&host, put("a", json!(2)), ErrorKind::Io).await;
    assert!(error.contains("read-only"), "{error}");
    assert_eq!(host.get("a").await, json!(1));
}

/// Tables that are gone are made anew: a database that was restored empty works.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_its_data_is_filled_again() {
    let server = PostgresServer::shared();
    let url = server.database("lost").await;
    let host = Host::start(&url);
    host.put("a", json!(1)).await;
    let drop =
        "DROP TABLE shardwright_document, shardwright_schema; DROP SEQUENCE shardwright_version";
    server.sql("lost", drop).await;
    assert_eq!(host.done(get("a")).await, Value::Null);
    host.put("a", json!(2)).await;
    assert_eq!(host.get("a").await, json!(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_may_make_the_tables_at_once() {
    let server = PostgresServer::shared();
    let url = server.database("at_once").await;
    let hosts: Vec<Host> = (0..16).map(|_| Host::start(&url)).collect();
    for (number, host) in hosts.iter().enumerate() {
        host.put(&number.to_string(), json!(number)).await;
    }
    let page = hosts[0].done(json!({"type": "store_list", "collection": "c"})).await;
    assert_eq!(page["documents"].as_array().map(Vec::len), Some(16));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_versions_tables_are_left_alone() {
    let server = PostgresServer::shared();
    let url = server.database("later").await;
    Host::start(&url).put("a", json!(1)).await;
    server.sql("later", "UPDATE shardwright_schema SET version = 99").await;
    let host = Host::start(&url);
    for command in [put("a", json!(2)), get("a")] {
        let error = error(&host, command, ErrorKind::Io).await;
        assert!(error.contains("later version") && error.contains("99"), "{error}");
    }
    let found =
        server.sql("later", "SELECT value FROM shardwright_document WHERE collection = 'c'").await;
    assert_eq!(found.as_deref(), Some("1"));
    let version = server.sql("later", "SELECT version FROM shardwright_schema").await;
    assert_eq!(version.as_deref(), Some("99"));
}

/// `sslmode` says whether a connection is secret, and whether the server has to prove who it is.
#[tokio::test(flavor = "multi_thread")]
async fn tls_is_as_sslmode_says() {
    let server = PostgresServer::start(&["ssl = off"]);
    let data = server.data();
    let certificate = |host: &str| {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec![host.to_owned()]).expect("a certificate");
        (cert.pem(), signing_key.serialize_pem())
    };
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text).expect("written");
        give_to_server(path);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, mode).expect("it is there");
    };
    let (shown, key) = certificate("localhost");
    write(&data.join("server.crt"), &shown);
    write(&data.join("server.key"), &key);
    let trusted = server.directory.path().join("trusted.pem");
    let others = server.directory.path().join("others.pem");
    std::fs::write(&trusted, &shown).expect("written");
    std::fs::write(&others, certificate("localhost").0).expect("written");
    server.sql("postgres", "ALTER SYSTEM SET ssl = on").await;
    server.crash();
    server.resume();

    let url = |host: &str, mode: &str, roots: Option<&Path>| {
        let mut parameters = format!("?sslmode={mode}");
        if let Some(roots) = roots {
            parameters += &format!("&sslrootcert={}", roots.display());
        }
        let url = server.url_with(PASSWORD, "postgres", &parameters);
        url.replace("127.0.0.1", host)
    };
    let count = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE ssl AND application_name = 'shardwright'";
    for (url, expected) in [
        (url("localhost", "require", Some(&trusted)), Ok("1")),
        (url("localhost", "verify-full", Some(&trusted)), Ok("1")),
        (url("127.0.0.1", "prefer", None), Ok("1")),
        (url("127.0.0.1", "disable", None), Ok("0")),
        (url("localhost", "require", Some(&others)), Err("certificate")),
        (url("localhost", "require", None), Err("certificate")),
        (url("127.0.0.1", "require", Some(&trusted)), Err("certificate")),
    ] {
        let host = Host::start(&url);
        match expected {
            Ok(encrypted) => {
                host.put("a", json!(1)).await;
                assert_eq!(
                    server.sql("postgres", count).await.as_deref(),
                    Some(encrypted),
                    "{url}"
                );
                host.end().await;
                // The server notices a moment later.
                let gone =
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shardwright'";
                while server.sql("postgres", gone).await.as_deref() != Some("0") {
                    tokio::task::yield_now().await;
                }
            }
            Err(part) => {
                let error = error(&host, put("a", json!(1)), ErrorKind::Io).await;
                assert!(error.contains(part), "{url}: {error}");
            }
        }
    }
    let missing = server.directory.path().join("missing.pem");
    let error = Host::refused(&url("localhost", "require", Some(&missing)));
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("sslrootcert"), "{error}");
}
