//! A host: a client, and what it was told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::queue::{Event, EventKind, FLAG_REPLAYED, PollError};
use shardwright::shard::StopMode;
use shardwright::transport::{Connecting, Network, Tcp};
use shardwright::{Client, Config};
use shardwright_sim::{Options, RestFault, RestFaultKind, Simulator};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

/// How often the host looks at its queue. Nothing waits for this: it only sets how finely a test
/// that looks at times can look.
const STEP: Duration = Duration::from_millis(5);

/// Patience with anything. Hours in virtual time are nothing; over sockets it is only reached by a
/// test that fails.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Pipes to a simulator in this process.
#[derive(Debug)]
struct Pipes(Simulator);

impl Network for Pipes {
    fn connect<'a>(&'a self, _host: &'a str, _port: u16) -> Connecting<'a> {
        Box::pin(async move { Ok(Box::new(self.0.connect()) as _) })
    }
}

/// A client and everything it was told.
pub(crate) struct Host {
    pub(crate) client: Client,
    /// Events in the order they came; released.
    pub(crate) told: Vec<Told>,
    /// The numbers of the simulator's world events, by shard, in the order they came.
    pub(crate) numbers: BTreeMap<u32, Vec<u64>>,
    /// The queue is drained and the client stopped.
    pub(crate) closed: bool,
    /// The network has a bug, and shards may die of it.
    pub(crate) meets_bugs: bool,
}

/// An event, copied.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) kind: EventKind,
    pub(crate) shard_id: u32,
    pub(crate) seq: u64,
    pub(crate) guild_id: u64,
    pub(crate) command_id: u64,
    pub(crate) status: i32,
    pub(crate) replayed: bool,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl From<Event> for Told {
    fn from(event: Event) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Self {
            kind: event.kind,
            shard_id: event.shard_id,
            seq: event.seq,
            guild_id: event.guild_id,
            command_id: event.command_id,
            status: event.status,
            replayed: event.flags & FLAG_REPLAYED != 0,
            name: text(event.name()),
            data: serde_json::from_slice(event.data()).unwrap_or(Value::Null),
        }
    }
}

/// A simulator for tests in virtual time, where nothing is late.
pub(crate) fn simulator(options: Options) -> Simulator {
    Simulator::new(Options { timing_slack_ms: 0, ..options }).expect("sensible options")
}

/// The configuration for a simulator, with some keys changed.
pub(crate) fn config(simulator: &Simulator, api_url: &str, changes: Value) -> String {
    let mut config = json!({
        "token": simulator.options().token,
        "intents": ["GUILDS", "GUILD_MEMBERS", "GUILD_MESSAGES", "GUILD_MESSAGE_REACTIONS",
            "GUILD_MESSAGE_TYPING", "GUILD_PRESENCES", "GUILD_VOICE_STATES", "MESSAGE_CONTENT",
            "DIRECT_MESSAGES"],
        "api_url": api_url,
        "log": {"to": "none"},
    });
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    for (key, value) in changes {
        config[key] = value;
    }
    config.to_string()
}

/// A fault of one REST path, or with `**` of all, until it is cleared.
pub(crate) fn rest_fault(path: &str, what: RestFaultKind) -> RestFault {
    RestFault { path: Some(path.to_owned()), ..RestFault::always(what) }
}

/// A REST answer in place of the right one.
pub(crate) fn answer(status: u16, body: &str) -> RestFaultKind {
    RestFaultKind::Status { status, body: body.to_owned(), headers: Vec::new() }
}

impl Host {
    /// A started client over pipes.
    pub(crate) fn start(simulator: &Simulator, changes: Value) -> Self {
        let config = config(simulator, "http://discord.test/api/v10", changes);
        Self::start_with(&config, Arc::new(Pipes(simulator.clone())))
    }

    /// A started client over TCP.
    pub(crate) fn start_tcp(config: &str) -> Self {
        Self::start_with(config, Arc::new(Tcp))
    }

    /// A started client over any network.
    pub(crate) fn start_with(config: &str, network: Arc<dyn Network>) -> Self {
        let config = Config::from_json(config, |_| None).expect("a good configuration");
        let client = Client::new(config, network).expect("a client");
        client.start(&Handle::current()).expect("not started before");
        Self {
            client,
            told: Vec::new(),
            numbers: BTreeMap::new(),
            closed: false,
            meets_bugs: false,
        }
    }

    /// Takes what is in the queue.
    pub(crate) fn poll(&mut self) {
        let queue = Arc::clone(self.client.queue());
        loop {
            match queue.poll(256, Some(Duration::ZERO), |event| self.take(event.into())) {
                Ok(0) => return,
                Ok(_) => {}
                Err(PollError::Closed) => {
                    self.closed = true;
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Takes one event.
    fn take(&mut self, told: Told) {
        // A shard that dies of a bug comes back, so that no test would notice.
        let is_bug =
            told.data["reason"].as_str().is_some_and(|why| why.contains("a bug in the engine"));
        assert!(self.meets_bugs || !is_bug, "{told:?}");
        if let Some(number) = told.number() {
            self.numbers.entry(told.shard_id).or_default().push(number);
        }
        self.told.push(told);
    }

    /// Polls until this holds.
    pub(crate) async fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let wait = async {
            loop {
                self.poll();
                if holds(self) {
                    return;
                }
                sleep(STEP).await;
            }
        };
        let happened = timeout(PATIENCE, wait).await.is_ok();
        assert!(happened, "{what} did not happen; {}", self.client.status_json());
    }

    /// Polls for so long.
    pub(crate) async fn during(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            self.poll();
            sleep(STEP).await;
        }
        self.poll();
    }

    /// Polls until every shard is ready.
    pub(crate) async fn until_ready(&mut self) {
        self.until("ready", |host| host.client.healthy().is_ok()).await;
    }

    /// Sends a command that is accepted; its id.
    pub(crate) fn send(&self, command: &Value) -> u64 {
        self.client.send_command(&command.to_string()).expect("accepted")
    }

    /// Sends a command and waits for its reply: status and data.
    pub(crate) async fn ask(&mut self, command: &Value) -> (i32, Value) {
        let id = self.send(command);
        self.until("the reply", |host| host.reply(id).is_some()).await;
        self.reply(id).expect("it came")
    }

    /// The reply to a command, if it came.
    pub(crate) fn reply(&self, id: u64) -> Option<(i32, Value)> {
        let of = |told: &&Told| told.kind == EventKind::Reply && told.command_id == id;
        self.told.iter().find(of).map(|told| (told.status, told.data.clone()))
    }

    /// Stops the client and polls to the end of the stream.
    pub(crate) async fn stop(&mut self, mode: StopMode) {
        self.client.stop(mode);
        self.until("the end", |host| host.closed).await;
    }

    /// The changes of state of one shard: states and reasons.
    pub(crate) fn states(&self, shard_id: u32) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.told
            .iter()
            .filter(|told| told.kind == EventKind::ShardState && told.shard_id == shard_id)
            .map(|told| (text(&told.data["to"]), text(&told.data["reason"])))
            .collect()
    }

    /// Dispatches with this name.
    pub(crate) fn dispatches(&self, name: &str) -> impl Iterator<Item = &Told> {
        self.told.iter().filter(move |t| t.kind == EventKind::Dispatch && t.name == name)
    }

    /// Refusals for good.
    pub(crate) fn fatal(&self) -> impl Iterator<Item = &Told> {
        self.told.iter().filter(|told| told.kind == EventKind::Fatal)
    }

    /// Waits until the host has the last event that the simulator sent to each shard.
    pub(crate) async fn until_all_came(&mut self, simulator: &Simulator, shards: u32) {
        for shard_id in 0..shards {
            // Looked at each time: traffic that was told to stop may have sent one more.
            let sent = || simulator.look(|seen| seen.numbers_of_shard(shard_id).last().copied());
            assert!(sent().is_some(), "shard {shard_id}: the simulator sent nothing");
            let came = |host: &Self| host.numbers.get(&shard_id).and_then(|n| n.last().copied());
            self.until("the last event", |host| came(host) == sent()).await;
        }
    }

    /// Waits until the host has all that the simulator sent (traffic has stopped), and checks that
    /// each event came once and in order.
    pub(crate) async fn assert_nothing_lost(&mut self, simulator: &Simulator, shards: u32) {
        self.until_all_came(simulator, shards).await;
        for (shard_id, numbers) in &self.numbers {
            let sent = simulator.look(|seen| seen.numbers_of_shard(*shard_id));
            assert!(*numbers == sent, "shard {shard_id}: {}", difference(numbers, &sent));
        }
    }

    /// The status of one shard.
    pub(crate) fn shard_status(&self, shard_id: u32) -> Value {
        let status: Value = serde_json::from_str(&self.client.status_json()).expect("JSON");
        let shards = status["shards"].as_array().expect("shards");
        shards.iter().find(|shard| shard["id"] == shard_id).expect("this shard").clone()
    }
}

impl Told {
    /// The number of the simulator's world event, where a dispatch shows one.
    pub(crate) fn number(&self) -> Option<u64> {
        if self.kind != EventKind::Dispatch {
            return None;
        }
        self.data["nonce"].as_str()?.parse().ok()
    }
}

/// Where two lists of numbers part.
fn difference(came: &[u64], sent: &[u64]) -> String {
    let at = came.iter().zip(sent).position(|(a, b)| a != b).unwrap_or(came.len().min(sent.len()));
    let near = |list: &[u64]| list[at.min(list.len())..(at + 5).min(list.len())].to_vec();
    format!(
        "{} came, {} were sent; from {at} on {:?} came and {:?} were sent",
        came.len(),
        sent.len(),
        near(came),
        near(sent)
    )
}
