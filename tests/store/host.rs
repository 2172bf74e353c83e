//! A host with a store: a client of a simulated Discord, in real time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::queue::EventKind;
use shardwright::shard::StopMode;
use shardwright::transport::{Connecting, Network};
use shardwright::{Client, Config, Error};
use shardwright_sim::{Options, Simulator};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Patience with anything; only reached by a test that fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// Pipes to a simulator in this process.
#[derive(Debug)]
struct Pipes(Simulator);

impl Network for Pipes {
    fn connect<'a>(&'a self, _host: &'a str, _port: u16) -> Connecting<'a> {
        Box::pin(async move { Ok(Box::new(self.0.connect()) as _) })
    }
}

/// A client and what it was told.
pub(crate) struct Host {
    pub(crate) client: Client,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    replies: Mutex<HashMap<u64, (i32, String)>>,
    states: Mutex<Vec<String>>,
    is_over: AtomicBool,
    news: Notify,
}

/// A client; an empty store is none.
fn client(simulator: &Simulator, token: &str, store: &str) -> Result<Client, Error> {
    let store = Some(store).filter(|store| !store.is_empty());
    let config = json!({
        "token": token, "intents": 0, "api_url": "http://discord.test/api/v10", "store": store,
        "log": {"to": "none"},
    });
    let config = Config::from_json(&config.to_string(), |_| None)?;
    Client::new(config, Arc::new(Pipes(simulator.clone())))
}

impl Host {
    /// A started client with this store, for the bot of the simulator.
    pub(crate) fn start(store: &str) -> Self {
        let options = Options { recommended_shards: 2, max_concurrency: 2, ..Options::default() };
        let token = options.token.clone();
        Self::start_with(&Simulator::new(options).expect("sensible options"), &token, store)
    }

    /// A started client for another bot, which Discord does not know; a store does not mind.
    pub(crate) fn of_bot(store: &str, token: &str) -> Self {
        let simulator = Simulator::new(Options::default()).expect("sensible options");
        Self::start_with(&simulator, token, store)
    }

    /// A started client that has none.
    pub(crate) fn without_store() -> Self {
        Self::start("")
    }

    /// Why a client with this store cannot even be made.
    pub(crate) fn refused(store: &str) -> Error {
        let simulator = Simulator::new(Options::default()).expect("sensible options");
        client(&simulator, "t", store).expect_err("it cannot be used")
    }

    fn start_with(simulator: &Simulator, token: &str, store: &str) -> Self {
        let client = client(simulator, token, store).expect("a client");
        client.start(&Handle::current()).expect("not started before");
        let (queue, told) = (Arc::clone(client.queue()), Arc::<Told>::default());
        let host = Self { client, told: Arc::clone(&told) };
        // Ends with the client.
        std::thread::spawn(move || {
            while queue.poll(64, None, |event| told.take(&event)).is_ok() {
                told.news.notify_waiters();
            }
            told.is_over.store(true, Ordering::Relaxed);
            told.news.notify_waiters();
        });
        host
    }

    /// Sends a command.
    pub(crate) fn send(&self, command: &Value) -> Result<u64, Error> {
        self.client.send_command(&command.to_string())
    }

    /// The reply to a command: its status and its data.
    pub(crate) async fn reply(&self, id: u64) -> (i32, Value) {
        let (status, data) = self.raw_reply(id).await;
        (status, serde_json::from_str(&data).expect("JSON"))
    }

    /// The data of a reply, byte for byte.
    pub(crate) async fn reply_text(&self, id: u64) -> String {
        self.raw_reply(id).await.1
    }

    async fn raw_reply(&self, id: u64) -> (i32, String) {
        self.until("a reply", |told| told.replies.lock().expect("no panic").remove(&id)).await
    }

    /// Sends a command and waits for its reply.
    pub(crate) async fn ask(&self, command: Value) -> (i32, Value) {
        let id = self.send(&command).unwrap_or_else(|error| panic!("{command}: {error}"));
        self.reply(id).await
    }

    /// The result of a command that succeeds.
    pub(crate) async fn done(&self, command: Value) -> Value {
        let text: String = command.to_string().chars().take(200).collect();
        let (status, data) = self.ask(command).await;
        assert_eq!(status, 0, "{text}: {data}");
        data
    }

    /// Stores a document of the collection `c`.
    pub(crate) async fn put(&self, key: &str, value: Value) -> i64 {
        let command = json!({"type": "store_put", "collection": "c", "key": key, "value": value});
        self.done(command).await["version"].as_i64().expect("a version")
    }

    /// The value of a document of the collection `c`.
    pub(crate) async fn get(&self, key: &str) -> Value {
        let command = json!({"type": "store_get", "collection": "c", "key": key});
        self.done(command).await["value"].clone()
    }

    /// Waits until both shards are ready.
    pub(crate) async fn until_ready(&self) {
        let ready = |told: &Told| {
            let states = told.states.lock().expect("no panic");
            (states.iter().filter(|state| *state == "ready").count() == 2).then_some(())
        };
        self.until("READY", ready).await;
    }

    /// The states that shards have come to, so far.
    pub(crate) fn states(&self) -> Vec<String> {
        self.told.states.lock().expect("no panic").clone()
    }

    /// What the status says of the store.
    pub(crate) fn store_error(&self) -> Value {
        let status: Value = serde_json::from_str(&self.client.status_json()).expect("JSON");
        status["store_error"].clone()
    }

    /// Stops the client and waits for the end of its events.
    pub(crate) async fn end(&self) {
        self.client.stop(StopMode::Abort);
        let is_over = |told: &Told| told.is_over.load(Ordering::Relaxed).then_some(());
        self.until("the end", is_over).await;
    }

    async fn until<T>(&self, what: &str, look: impl Fn(&Told) -> Option<T>) -> T {
        let wait = async {
            loop {
                let news = self.told.news.notified();
                if let Some(found) = look(&self.told) {
                    return found;
                }
                news.await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what} has not come"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.client.stop(StopMode::Abort);
    }
}

impl Told {
    fn take(&self, event: &shardwright::queue::Event) {
        match event.kind {
            EventKind::Reply => {
                let data = String::from_utf8(event.data().to_vec()).expect("UTF-8");
                let mut replies = self.replies.lock().expect("no panic");
                replies.insert(event.command_id, (event.status, data));
            }
            EventKind::ShardState => {
                let name = String::from_utf8_lossy(event.name()).into_owned();
                self.states.lock().expect("no panic").push(name);
            }
            _ => {}
        }
    }
}
