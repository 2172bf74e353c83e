//! Jobs: done at least once, by one consumer at a time, whatever becomes of it.

#![allow(clippy::needless_pass_by_value, reason = "json! is written where it is used")]
#![allow(clippy::print_stdout, reason = "what a run measured")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardwright::ErrorKind;
use shardwright::queue::EventKind;
use shardwright::shard::StopMode;
use shardwright_sim::Options;

use crate::backend::{Backend, on_every_backplane};
use crate::host::{Host, Told, simulator};

on_every_backplane!(
    jobs_come_by_priority_and_when_they_are_due,
    a_job_with_a_key_waits_once,
    what_fails_is_tried_again_and_then_dead,
    a_lease_ends_with_its_worker_and_not_with_time,
    no_more_come_than_there_is_room_for,
    everybody_sees_how_many_there_are,
    bounds_are_kept,
    each_due_time_makes_one_job_whoever_looks,
    missed_times_are_not_made_up_for,
    a_schedule_is_replaced_listed_and_removed,
    schedules_do_not_wait_for_room,
    ten_thousand_jobs_survive_their_workers,
);

/// The result of a command that succeeds.
async fn done(host: &mut Host, command: Value) -> Value {
    let (status, data) = host.ask(&command).await;
    assert_eq!(status, 0, "{command}: {data}");
    data
}

fn push(payload: Value) -> Value {
    json!({"type": "job_push", "queue": "q", "payload": payload})
}

fn with(mut command: Value, key: &str, value: Value) -> Value {
    command[key] = value;
    command
}

fn consume(concurrency: usize) -> Value {
    json!({"type": "job_consume", "queue": "q", "concurrency": concurrency, "visibility_ms": 1_000})
}

/// The jobs that a host got.
fn jobs(host: &Host) -> Vec<Told> {
    host.told.iter().filter(|told| told.kind == EventKind::Job).cloned().collect()
}

/// Waits for so many of them.
async fn until_jobs(host: &mut Host, count: usize) -> Vec<Told> {
    host.until("jobs", |host| jobs(host).len() >= count).await;
    jobs(host)
}

async fn ack(host: &mut Host, job: &Told) {
    let ack = json!({"type": "job_ack", "job_id": job.data["job_id"]});
    assert_eq!(done(host, ack).await, Value::Null);
}

/// The payloads of a state's jobs.
async fn list(host: &mut Host, state: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), json!(0));
    loop {
        let list =
            json!({"type": "job_list", "queue": "q", "state": state, "limit": 2, "after": after});
        let page = done(host, list).await;
        all.extend(page["jobs"].as_array().expect("a list").iter().cloned());
        if page["next"].is_null() {
            return all;
        }
        after = page["next"].clone();
    }
}

async fn jobs_come_by_priority_and_when_they_are_due(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut host = backend.start(&simulator, json!({}));
    done(&mut host, with(push(json!("late")), "delay_ms", json!(700))).await;
    for (payload, priority) in [("a", 0), ("b", 0), ("low", -100), ("high", 100), ("c", 0)] {
        let reply = done(&mut host, with(push(json!(payload)), "priority", json!(priority))).await;
        assert!(reply["job_id"].is_i64() && reply["new"] == true, "{reply}");
    }
    assert_eq!(list(&mut host, "waiting").await.len(), 6);
    done(&mut host, consume(1)).await;
    let mut came = Vec::new();
    for count in 1..=6 {
        let job = until_jobs(&mut host, count).await.pop().expect("one");
        assert_eq!(
            (job.name.as_str(), &job.data["queue"], &job.data["attempt"]),
            ("q", &json!("q"), &json!(1))
        );
        came.push(job.data["payload"].as_str().expect("a text").to_owned());
        ack(&mut host, &job).await;
        let (status, data) =
            host.ask(&json!({"type": "job_ack", "job_id": job.data["job_id"]})).await;
        assert_eq!(status, ErrorKind::NotFound.status(), "{data}");
    }
    let late = came.iter().position(|payload| payload == "late").expect("it came");
    came.remove(late);
    assert_eq!(came, ["high", "a", "b", "c", "low"]);
    for state in ["waiting", "running", "dead"] {
        assert_eq!(list(&mut host, state).await, Vec::<Value>::new(), "{state}");
    }
    host.stop(StopMode::Abort).await;
}

async fn a_job_with_a_key_waits_once(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut host = backend.start(&simulator, json!({}));
    let keyed = |payload: u32| with(push(json!(payload)), "dedupe", json!("the key"));
    let first = done(&mut host, keyed(1)).await;
    let again = done(&mut host, keyed(2)).await;
    assert_eq!(again, json!({"job_id": first["job_id"], "new": false}));
    done(&mut host, consume(10)).await;
    let job = until_jobs(&mut host, 1).await.pop().expect("one");
    assert_eq!(done(&mut host, keyed(3)).await["new"], false, "it is running");
    ack(&mut host, &job).await;
    assert_eq!(done(&mut host, keyed(4)).await["new"], true);
    let job = until_jobs(&mut host, 2).await.pop().expect("one");
    assert_eq!(job.data["payload"], 4);
    host.stop(StopMode::Abort).await;
}

async fn what_fails_is_tried_again_and_then_dead(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut host = backend.start(&simulator, json!({}));
    done(&mut host, consume(1)).await;
    let id =
        done(&mut host, with(push(json!("x")), "max_attempts", json!(3))).await["job_id"].clone();
    for attempt in 1..=3 {
        let job = until_jobs(&mut host, attempt).await.pop().expect("one");
        assert_eq!((&job.data["job_id"], &job.data["attempt"]), (&id, &json!(attempt)));
        let fail = json!({"type": "job_fail", "job_id": id, "error": format!("no {attempt}"), "delay_ms": 0});
        done(&mut host, fail).await;
    }
    let dead = list(&mut host, "dead").await;
    let expected = json!({
        "job_id": id, "payload": "x", "attempt": 3, "max_attempts": 3, "priority": 0, "error": "no 3",
    });
    assert_eq!(dead, [expected]);
    let retry = json!({"type": "job_retry", "queue": "q", "job_id": id});
    done(&mut host, retry.clone()).await;
    let (status, data) = host.ask(&retry).await;
    assert_eq!(status, ErrorKind::NotFound.status(), "{data}");
    let job = until_jobs(&mut host, 4).await.pop().expect("one");
    assert_eq!(job.data["attempt"], 1);
    // With the usual wait it comes again as well, and this time for good.
    done(&mut host, json!({"type": "job_fail", "job_id": id})).await;
    until_jobs(&mut host, 5).await;
    done(&mut host, json!({"type": "job_fail", "job_id": id, "retry": false})).await;
    assert_eq!(list(&mut host, "dead").await.len(), 1);
    assert_eq!(list(&mut host, "running").await.len(), 0);
    host.stop(StopMode::Abort).await;
}

/// A consumer that lives keeps its job however long it takes; one that is gone loses it.
async fn a_lease_ends_with_its_worker_and_not_with_time(backend: Backend) {
    let simulator = simulator(Options::default());
    let [mut one, mut other] = [(); 2].map(|()| backend.start(&simulator, json!({})));
    done(&mut one, consume(1)).await;
    done(&mut other, push(json!("x"))).await;
    let job = until_jobs(&mut one, 1).await.pop().expect("one");
    done(&mut other, consume(1)).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(list(&mut other, "running").await.len(), 1);
        assert_eq!(jobs(&other).len(), 0);
    }
    one.stop(StopMode::Abort).await;
    let again = until_jobs(&mut other, 1).await.pop().expect("one");
    assert_eq!((&again.data["job_id"], &again.data["attempt"]), (&job.data["job_id"], &json!(2)));
    ack(&mut other, &again).await;
    assert_eq!(list(&mut other, "waiting").await.len(), 0);
    other.stop(StopMode::Abort).await;
}

async fn no_more_come_than_there_is_room_for(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut host = backend.start(&simulator, json!({}));
    for number in 0..10 {
        done(&mut host, push(json!(number))).await;
    }
    done(&mut host, consume(3)).await;
    until_jobs(&mut host, 3).await;
    assert_eq!(list(&mut host, "running").await.len(), 3);
    assert_eq!(list(&mut host, "waiting").await.len(), 7);
    done(&mut host, consume(0)).await;
    for job in jobs(&host) {
        ack(&mut host, &job).await;
    }
    assert_eq!((jobs(&host).len(), list(&mut host, "waiting").await.len()), (3, 7));
    done(&mut host, consume(10)).await;
    until_jobs(&mut host, 10).await;
    host.stop(StopMode::Abort).await;
}

/// `cluster_stats` counts the jobs of the queues that somebody consumes.
async fn everybody_sees_how_many_there_are(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut host = backend.start(&simulator, json!({}));
    host.until_ready().await;
    for number in 0..5 {
        done(&mut host, push(json!(number))).await;
    }
    let stats = json!({"type": "cluster_stats"});
    assert_eq!(done(&mut host, stats.clone()).await["jobs"], json!({}));
    done(&mut host, consume(2)).await;
    let job = until_jobs(&mut host, 2).await.remove(0);
    let seen = done(&mut host, stats.clone()).await;
    assert_eq!(seen["jobs"], json!({"q": {"waiting": 3, "running": 2, "dead": 0}}), "{seen}");
    assert_eq!(seen["workers"][0]["consumes"], json!(["q"]));
    let fail =
        json!({"type": "job_fail", "job_id": job.data["job_id"], "error": "no", "retry": false});
    done(&mut host, fail).await;
    until_jobs(&mut host, 3).await;
    let seen = done(&mut host, stats).await;
    assert_eq!(seen["jobs"], json!({"q": {"waiting": 2, "running": 2, "dead": 1}}), "{seen}");
    host.stop(StopMode::Abort).await;
}

async fn bounds_are_kept(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut host = backend.start(&simulator, json!({}));
    let invalid = ErrorKind::InvalidArgument;
    for (command, kind, part) in [
        (with(push(json!(1)), "queue", json!("")), invalid, "1 to 128"),
        (with(push(json!(1)), "queue", json!("a\0")), invalid, "control"),
        (with(push(json!(1)), "priority", json!(101)), invalid, "-100 to 100"),
        (with(push(json!(1)), "max_attempts", json!(0)), invalid, "1 to 1000"),
        (with(push(json!(1)), "delay_ms", json!(-1)), invalid, "delay_ms"),
        (with(push(json!(1)), "dedupe", json!("")), invalid, "1 to 256"),
        (push(json!("x".repeat(256 << 10))), ErrorKind::TooLarge, "262144"),
        (consume(1_001), invalid, "0 to 1000"),
        (with(consume(1), "visibility_ms", json!(999)), invalid, "1000 to"),
        (json!({"type": "job_list", "queue": "q", "state": "lost"}), invalid, "state"),
        (json!({"type": "job_fail", "job_id": 1, "again": true}), invalid, "`again`"),
    ] {
        let error = host.client.send_command(&command.to_string()).expect_err("it is refused");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    done(&mut host, consume(600)).await;
    let (status, data) = host.ask(&with(consume(600), "queue", json!("r"))).await;
    assert_eq!(status, ErrorKind::QueueFull.status(), "{data}");
    host.stop(StopMode::Abort).await;
}

// -- jobs that repeat -----------------------------------------------------------------------------

fn repeat(payload: Value, repeat: Value) -> Value {
    with(push(payload), "repeat", repeat)
}

/// The schedules of the queue.
async fn schedules(host: &mut Host) -> Vec<Value> {
    let list = done(host, json!({"type": "job_schedules", "queue": "q"})).await;
    list["schedules"].as_array().expect("a list").clone()
}

/// Times between two moments, of a schedule that is due every second.
fn times(from: &Value, to: &Value) -> usize {
    let between_ms = to.as_i64().expect("ms") - from.as_i64().expect("ms");
    assert_eq!(between_ms % 1_000, 0, "{between_ms}");
    usize::try_from(between_ms / 1_000).expect("later")
}

async fn each_due_time_makes_one_job_whoever_looks(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut hosts = [(); 3].map(|()| backend.start(&simulator, json!({})));
    for host in &mut hosts {
        done(host, consume(10)).await;
    }
    let every = repeat(json!("tick"), json!({"name": "ticks", "every_ms": 1_000}));
    let first = done(&mut hosts[0], every).await;
    assert_eq!((&first["name"], &first["new"]), (&json!("ticks"), &json!(true)));
    let came = |hosts: &[Host; 3]| hosts.iter().map(|host| jobs(host).len()).sum::<usize>();
    while came(&hosts) < 4 {
        for host in &mut hosts {
            host.during(Duration::from_millis(20)).await;
        }
    }
    let remove = json!({"type": "job_unschedule", "queue": "q", "name": "ticks"});
    let next = schedules(&mut hosts[0]).await[0]["next_at_ms"].clone();
    assert_eq!(done(&mut hosts[0], remove.clone()).await, json!({"removed": true}));
    assert_eq!(done(&mut hosts[0], remove).await, json!({"removed": false}));
    // All that were made have come or are there; the last may have been made after the look.
    let waiting = list(&mut hosts[0], "waiting").await.len();
    let made = list(&mut hosts[0], "running").await.len() + waiting;
    // On a machine that was busy for more than a second one is missing.
    assert!((4..=times(&first["next_at_ms"], &next) + 1).contains(&made), "{made}");
    let ids: BTreeSet<_> =
        hosts.iter().flat_map(jobs).map(|job| job.data["job_id"].to_string()).collect();
    assert!(ids.len() >= 4, "{ids:?}");
    for mut host in hosts {
        assert!(jobs(&host).iter().all(|job| job.data["payload"] == "tick"));
        host.stop(StopMode::Abort).await;
    }
}

async fn missed_times_are_not_made_up_for(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut host = backend.start(&simulator, json!({}));
    let every = repeat(json!("tick"), json!({"name": "ticks", "every_ms": 1_000}));
    let first = done(&mut host, every).await["next_at_ms"].clone();
    // Nobody consumes the queue, and so nobody looks.
    host.during(Duration::from_millis(4_500)).await;
    assert_eq!(schedules(&mut host).await[0]["next_at_ms"], first);
    assert_eq!(list(&mut host, "waiting").await, Vec::<Value>::new());
    done(&mut host, consume(10)).await;
    until_jobs(&mut host, 1).await;
    let next = schedules(&mut host).await[0]["next_at_ms"].clone();
    let came = jobs(&host).len();
    assert!(times(&first, &next) >= came + 3, "{came} of {}", times(&first, &next));
    host.stop(StopMode::Abort).await;
}

async fn a_schedule_is_replaced_listed_and_removed(backend: Backend) {
    let simulator = simulator(Options::default());
    let [mut host, mut other] = [(); 2].map(|()| backend.start(&simulator, json!({})));
    let daily = |payload: u32| {
        let command = repeat(json!(payload), json!({"name": "report", "cron": "30 9 * * MON-FRI"}));
        with(command, "dedupe", json!("the report"))
    };
    let first = done(&mut host, daily(1)).await;
    // A bot that starts again says it again: that changes nothing but what is to be done.
    let again = done(&mut other, daily(2)).await;
    assert_eq!((&again["new"], &again["next_at_ms"]), (&json!(false), &first["next_at_ms"]));
    let day_s = first["next_at_ms"].as_i64().expect("ms") / 1_000 % 86_400;
    assert_eq!(day_s, (9 * 60 + 30) * 60);
    done(&mut host, repeat(json!(3), json!({"name": "hourly", "every_ms": 3_600_000}))).await;
    let listed = schedules(&mut other).await;
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[0]["name"], &listed[0]["every_ms"]), (&json!("hourly"), &json!(3_600_000)));
    let report = json!({
        "name": "report", "cron": "30 9 * * MON-FRI", "next_at_ms": first["next_at_ms"],
        "payload": 2, "priority": 0, "max_attempts": 5, "dedupe": "the report",
    });
    assert_eq!(listed[1], report);
    let sooner = repeat(json!(4), json!({"name": "hourly", "every_ms": 1_000}));
    let sooner = done(&mut host, sooner).await;
    assert!(sooner["next_at_ms"].as_i64() < listed[0]["next_at_ms"].as_i64(), "{sooner}");
    done(&mut other, consume(1)).await;
    let job = until_jobs(&mut other, 1).await.pop().expect("one");
    assert_eq!(job.data["payload"], 4);
    // Another queue has its own.
    let elsewhere = with(daily(1), "queue", json!("r"));
    assert_eq!(done(&mut host, elsewhere).await["new"], true);

    let invalid = ErrorKind::InvalidArgument;
    for (wrong, part) in [
        (json!({"name": "x"}), "either"),
        (json!({"name": "x", "every_ms": 1_000, "cron": "* * * * *"}), "either"),
        (json!({"name": "x", "every_ms": 999}), "1000 to"),
        (json!({"name": "x", "cron": "* * * *"}), "five fields"),
        (json!({"name": "x", "cron": "0 0 31 2 *"}), "never comes"),
        (json!({"name": "", "every_ms": 1_000}), "`name` of `repeat`"),
        (json!({"name": "x", "every_ms": 1_000, "at": 1}), "`at`"),
    ] {
        let error = host.client.send_command(&repeat(json!(1), wrong).to_string());
        let error = error.expect_err("it is refused");
        assert!(error.kind() == invalid && error.to_string().contains(part), "{error}");
    }
    let late = with(daily(1), "delay_ms", json!(1));
    let error = host.client.send_command(&late.to_string()).expect_err("it is refused");
    assert!(error.to_string().contains("delay_ms"), "{error}");
    for number in 2..=256 {
        let command = repeat(json!(1), json!({"name": number.to_string(), "every_ms": 3_600_000}));
        let (status, data) = host.ask(&command).await;
        let is_full = number > 255;
        assert_eq!(status, if is_full { ErrorKind::QueueFull.status() } else { 0 }, "{data}");
    }
    host.stop(StopMode::Abort).await;
    other.stop(StopMode::Abort).await;
}

/// A consumer that is busy makes the jobs all the same, for others or for later; with a dedupe key there is
/// only one at a time.
async fn schedules_do_not_wait_for_room(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut host = backend.start(&simulator, json!({}));
    let every = |name: &str| repeat(json!(name), json!({"name": name, "every_ms": 1_000}));
    done(&mut host, consume(1)).await;
    done(&mut host, with(every("one"), "dedupe", json!("one"))).await;
    until_jobs(&mut host, 1).await;
    done(&mut host, every("many")).await;
    while list(&mut host, "waiting").await.len() < 3 {
        host.during(Duration::from_millis(50)).await;
    }
    let is_one = |job: &Value| job["payload"] == "one";
    assert!(!list(&mut host, "waiting").await.iter().any(is_one));
    assert_eq!(jobs(&host).len(), 1);
    host.stop(StopMode::Abort).await;
}

// -- many jobs, many processes --------------------------------------------------------------------

const JOBS: usize = 10_000;

/// Every so many fails each time.
const FAILS: usize = 100;

/// What a worker process is told.
const BACKPLANE: &str = "SHARDWRIGHT_TEST_JOBS_BACKPLANE";

/// Its shard: no two processes have the same.
const SHARD: &str = "SHARDWRIGHT_TEST_JOBS_SHARD";

/// A worker process. Not a test: the test below runs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of the other tests of this file, which run it"]
async fn worker() {
    let url = std::env::var(BACKPLANE).expect("run by another test");
    let simulator = simulator(Options::default());
    let shard: u32 = std::env::var(SHARD).expect("run by another test").parse().expect("a number");
    let shards = json!({"total": 4, "ids": [shard]});
    let mut host = Host::start(&simulator, json!({"backplane": url, "shards": shards}));
    done(&mut host, with(consume(64), "visibility_ms", json!(2_000))).await;
    // Ends the line that libtest began.
    std::io::stdout().write_all(b"\n").expect("somebody reads it");
    loop {
        host.poll();
        for job in std::mem::take(&mut host.told) {
            if job.kind != EventKind::Job {
                continue;
            }
            let number = job.data["payload"].as_u64().expect("a number") as usize;
            let id = &job.data["job_id"];
            if number.is_multiple_of(FAILS) {
                host.send(
                    &json!({"type": "job_fail", "job_id": id, "error": "as ever", "delay_ms": 0}),
                );
            } else {
                // The work: one write, so that a kill leaves it whole or not there at all.
                std::io::stdout().write_all(format!("did {number}\n").as_bytes()).expect("read");
                host.send(&json!({"type": "job_ack", "job_id": id}));
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A worker process, gone with this.
struct Worker(Child);

impl Worker {
    fn start(url: &str, name: usize, did: Sender<(usize, usize)>) -> Self {
        let test = std::env::current_exe().expect("this process has a file");
        let mut child = Command::new(test)
            .args(["--exact", "jobs::worker", "--ignored", "--nocapture", "--test-threads=1"])
            .env(BACKPLANE, url)
            .env(SHARD, name.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it ran once already");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(number) = line.strip_prefix("did ") {
                    let _ = did.send((name, number.parse().expect("a number")));
                }
            }
        });
        Self(child)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Four processes, two of which are killed in the middle: every job is done, and those that cannot be done
/// are dead.
async fn ten_thousand_jobs_survive_their_workers(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut host = backend.start(&simulator, json!({}));
    let began = Instant::now();
    for first in (0..JOBS).step_by(500) {
        for number in first..first + 500 {
            host.send(&with(push(json!(number)), "max_attempts", json!(4)));
        }
        let is_there = |host: &Host| {
            host.told.iter().filter(|told| told.kind == EventKind::Reply).count() == 500
        };
        host.until("500 replies", is_there).await;
        assert!(host.told.iter().all(|told| told.kind != EventKind::Reply || told.status == 0));
        host.told.clear();
    }
    let pushed_in = began.elapsed();

    let began = Instant::now();
    let (did, all) = channel();
    let mut workers: BTreeMap<usize, Worker> =
        (0..4).map(|name| (name, Worker::start(&backend.url(), name, did.clone()))).collect();
    let (mut done_once, mut by, mut times) = (BTreeSet::new(), BTreeMap::new(), 0);
    let expected = JOBS - JOBS / FAILS;
    while done_once.len() < expected {
        let (name, number) = all.recv_timeout(Duration::from_secs(120)).expect("a job is lost");
        done_once.insert(number);
        times += 1;
        let count = by.entry(name).or_insert(0);
        *count += 1;
        // In the middle of its work, with jobs in hand.
        if name < 2 && *count == 500 {
            drop(workers.remove(&name));
        }
    }
    let done_in = began.elapsed();
    assert_eq!(workers.len(), 2, "both were killed: {by:?}");
    assert!(done_once.iter().all(|number| !number.is_multiple_of(FAILS)));

    // The last are acknowledged a moment after they were done; those of the killed were leased longer.
    loop {
        let waiting = list(&mut host, "waiting").await.len();
        if waiting == 0 && list(&mut host, "running").await.is_empty() {
            break;
        }
        host.told.clear();
    }
    let dead: BTreeSet<u64> = list(&mut host, "dead")
        .await
        .iter()
        .map(|job| job["payload"].as_u64().expect("a number"))
        .collect();
    assert_eq!(dead, (0..JOBS as u64).step_by(FAILS).collect());
    let rate = |took: Duration| JOBS as f64 / took.as_secs_f64();
    println!(
        "{}: {:.0} jobs/s pushed, {:.0} jobs/s done by four, of which two were killed; {} were done twice",
        backend.url().split(':').next().unwrap_or_default(),
        rate(pushed_in),
        rate(done_in),
        times - expected
    );
    host.stop(StopMode::Abort).await;
}
