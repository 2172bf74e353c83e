//! What can go wrong with a file.

use std::fs::{metadata, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rusqlite::Connection;
use serde_json::{Value, json};
use shardwright::ErrorKind;

use crate::file::TempDir;
use crate::host::Host;
use crate::postgres_server::is_root;

/// What the process of a test is told: its task and its store.
const TASK: &str = "SHARDWRIGHT_TEST_STORE_TASK";
const STORE: &str = "SHARDWRIGHT_TEST_STORE";

fn put(key: &str, value: Value) -> Value {
    json!({"type": "store_put", "collection": "c", "key": key, "value": value})
}

fn get(key: &str) -> Value {
    json!({"type": "store_get", "collection": "c", "key": key})
}

fn list() -> Value {
    json!({"type": "store_list", "collection": "c", "limit": 1000})
}

/// A process with a client of its own. Not a test: the tests below run it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process of the other tests of this file, which run it"]
async fn process() {
    let variable = |name: &str| std::env::var(name).expect("run by another test");
    let host = Host::start(&variable(STORE));
    match variable(TASK).as_str() {
        "write" => {
            let own = std::process::id().to_string();
            for number in 0..50 {
                host.put(&format!("{own}-{number}"), json!(number)).await;
            }
        }
        "fill" => {
            host.until_ready().await;
            let states = host.states();
            let mut stored = 0;
            let (status, data) = loop {
                let (status, data) =
                    host.ask(put(&stored.to_string(), json!("x".repeat(10_000)))).await;
                if status != 0 {
                    break (status, data);
                }
                stored += 1;
                assert!(stored < 1_000, "the disk is never full");
            };
            assert_eq!(status, ErrorKind::Io.status(), "{data}");
            let error = data["error"].as_str().expect("a text");
            assert!(error.contains("disk") || error.contains("I/O"), "{error}");
            assert!(host.store_error().is_string());
            assert_eq!(host.get("0").await.as_str().map(str::len), Some(10_000));
            assert_eq!(host.states(), states);
            let page = host.done(list()).await;
            assert_eq!(page["documents"].as_array().map(Vec::len), Some(stored));
        }
        "read only" => {
            let (status, data) = host.ask(put("a", json!(2))).await;
            assert_eq!(status, ErrorKind::Io.status(), "{data}");
            let error = data["error"].as_str().expect("a text").to_lowercase();
            assert!(error.contains("permission denied") || error.contains("readonly"), "{error}");
            assert!(host.store_error().is_string());
            host.until_ready().await;
        }
        other => panic!("no task {other}"),
    }
}

/// Runs a process with this task, by way of another program.
fn run(by: &[&str], task: &str, store: &str) -> Command {
    let test = std::env::current_exe().expect("this process has a file");
    let mut command = Command::new(by[0]);
    command
        .args(&by[1..])
        .arg(test)
        .args(["--exact", "sqlite::process", "--ignored", "--nocapture", "--test-threads=1"])
        .env(TASK, task)
        .env(STORE, store)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn assert_done(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("1 passed"), "{}", text(&output.stdout));
}

/// Four processes make the file at once, and all of them write to it.
#[tokio::test(flavor = "multi_thread")]
async fn processes_share_a_file_from_its_first_moment_on() {
    let directory = TempDir::new();
    let store = directory.store();
    let start = || run(&["env"], "write", &store).spawn().expect("it runs");
    let processes: Vec<_> = (0..4).map(|_| start()).collect();
    for process in processes {
        let end = move || process.wait_with_output().expect("it was started");
        assert_done(&tokio::task::spawn_blocking(end).await.expect("no panic"));
    }
    let page = Host::start(&store).done(list()).await;
    assert_eq!(page["documents"].as_array().map(Vec::len), Some(200));
    let file = directory.path().join("store");
    assert_eq!(metadata(file).expect("it is there").permissions().mode() & 0o777, 0o600);
}

/// A full disk fails the write, not what was written before, nor the shards.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said() {
    let directory = TempDir::new();
    let by = ["sh", "-c", "trap '' XFSZ; ulimit -f 1000; exec \"$@\"", "sh"];
    let mut process = run(&by, "fill", &directory.store());
    let end = move || process.output().expect("it runs");
    assert_done(&tokio::task::spawn_blocking(end).await.expect("no panic"));
    let host = Host::start(&directory.store());
    assert_eq!(host.get("0").await.as_str().map(str::len), Some(10_000));
    host.put("more", json!(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_is_said() {
    let directory = TempDir::new();
    let host = Host::start(&directory.store());
    host.put("a", json!(1)).await;
    host.end().await;
    let mode = |path: &Path, mode: u32| {
        set_permissions(path, PermissionsExt::from_mode(mode)).expect("it is ours");
    };
    mode(&directory.path().join("store"), 0o444);
    mode(directory.path(), 0o555);
    // Root may write whatever the mode says, unless it gives that up.
    let without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"];
    let by: &[&str] = if is_root() { &without } else { &["env"] };
    let mut process = run(by, "read only", &directory.store());
    let end = move || process.output().expect("it runs");
    let output = tokio::task::spawn_blocking(end).await.expect("no panic");
    mode(directory.path(), 0o755);
    assert_done(&output);
}

/// A writer that another process holds up waits for it, and readers do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_file_is_waited_for() {
    let directory = TempDir::new();
    let host = Host::start(&directory.store());
    host.put("a", json!(1)).await;
    let other = Connection::open(directory.path().join("store")).expect("it is there");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    assert_eq!(host.get("a").await, json!(1));
    let write = host.send(&put("a", json!(2))).expect("accepted");
    while host.store_error() == Value::Null {
        tokio::task::yield_now().await;
    }
    assert!(host.store_error().to_string().contains("locked"), "{}", host.store_error());
    other.execute_batch("COMMIT").expect("unlocked");
    let (status, data) = host.reply(write).await;
    assert_eq!(status, 0, "{data}");
    assert_eq!((host.get("a").await, host.store_error()), (json!(2), Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_stays_fails_commands_in_time() {
    let directory = TempDir::new();
    let host = Host::start(&directory.store());
    host.put("a", json!(1)).await;
    let other = Connection::open(directory.path().join("store")).expect("it is there");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let (status, data) = host.ask(put("a", json!(2))).await;
    assert_eq!(status, ErrorKind::Timeout.status(), "{data}");
    assert!(data["error"].as_str().expect("a text").contains("locked"), "{data}");
    other.execute_batch("COMMIT").expect("unlocked");
    host.put("a", json!(3)).await;
    assert_eq!(host.get("a").await, json!(3));
}

/// What is no database is left as it is, and a new file is used as soon as it is out of the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_something_else_is_left_alone() {
    let directory = TempDir::new();
    let path = directory.path().join("store");
    let text = "this is no database, and was not one before";
    write(&path, text).expect("written");
    let host = Host::start(&directory.store());
    let (status, data) = host.ask(put("a", json!(1))).await;
    assert_eq!(status, ErrorKind::Io.status(), "{data}");
    assert!(data["error"].as_str().expect("a text").contains("not a database"), "{data}");
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), text);
    std::fs::remove_file(&path).expect("it is there");
    host.put("a", json!(1)).await;
    assert_eq!(host.store_error(), Value::Null);
}

/// Nobody could read what goes on into a file that has no name any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_moved_away_is_made_anew() {
    let directory = TempDir::new();
    let host = Host::start(&directory.store());
    host.put("a", json!(1)).await;
    for part in ["", "-wal", "-shm"] {
        let name = |file: &str| directory.path().join(format!("{file}{part}"));
        std::fs::rename(name("store"), name("old")).expect("it is there");
    }
    host.put("b", json!(2)).await;
    assert_eq!(host.store_error(), Value::Null);
    for (file, there) in [("old", "a"), ("store", "b")] {
        let host = Host::start(&format!("sqlite:{}/{file}", directory.path().display()));
        let page = host.done(list()).await;
        let keys: Vec<_> =
            page["documents"].as_array().expect("a list").iter().map(|it| &it["key"]).collect();
        assert_eq!(keys, [there], "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_versions_tables_are_left_alone() {
    let directory = TempDir::new();
    let host = Host::start(&directory.store());
    host.put("a", json!(1)).await;
    host.end().await;
    let file = Connection::open(directory.path().join("store")).expect("it is there");
    file.execute("UPDATE shardwright_schema SET version = 99", []).expect("changed");
    let host = Host::start(&directory.store());
    for command in [put("a", json!(2)), get("a")] {
        let (status, data) = host.ask(command).await;
        assert_eq!(status, ErrorKind::Io.status(), "{data}");
        assert!(data["error"].as_str().expect("a text").contains("later version"), "{data}");
    }
    let value: String = file
        .query_row("SELECT value FROM shardwright_document", [], |row| row.get(0))
        .expect("it is there");
    assert_eq!(value, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_missing_is_said_before_the_start() {
    let directory = TempDir::new();
    let error = Host::refused(&format!("sqlite:{}/no/store", directory.path().display()));
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("`store`"), "{error}");
}

/// A client without a store says so, whether it runs or not, as one without a backplane does.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_store_says_so() {
    let host = Host::without_store();
    let publish = json!({"type": "publish", "topic": "a", "data": 1});
    let refuses = |when: &str| {
        for command in [get("a"), publish.clone()] {
            let error = host.send(&command).expect_err("it has none");
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{when}");
            let kind = if command["type"] == "publish" { "backplane" } else { "store" };
            assert!(error.to_string().contains(&format!("the config has no `{kind}`")), "{error}");
            assert!(error.to_string().contains("set it to \"sqlite:PATH\""), "{error}");
        }
    };
    refuses("running");
    host.end().await;
    refuses("stopped");
}
