//! Commands for shards that another process runs: sent there over the backplane, and the reply
//! sent back.
//!
//! The owner of a shard is who says in its record that it runs it. It takes a command as if its own host
//! had sent it, and answers one that it cannot carry out; it never forwards it further. A command is sent
//! once: when its reply is lost, the host hears that it may have been carried out.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::command::{Command, Route};
use super::post::{self, Post};
use super::replies::{Return, ReturnAddress};
use super::shared::{Shared, lock};
use super::stage::Stage;
use super::worker::Record;
use crate::config::FORWARD_TIMEOUT;
use crate::error::{Error, ErrorKind};
use crate::protocol::shard_for_guild;

/// Time between two looks whether the owner is still there.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Patience with a reshard: identifies may wait for their windows.
const RESHARD_TIMEOUT: Duration = Duration::from_secs(3_600);

/// What a reply takes on its way, beyond what the command may take.
const WAY: Duration = Duration::from_secs(5);

/// A reply: its status and data.
pub(super) type Answer = (i32, Bytes);

/// What a command for other processes needs to get there.
#[derive(Debug, Clone)]
pub(super) struct Forward {
    /// The number of shards of the bot.
    total: NonZeroU32,
    /// What to send, by the shard that it is for.
    parts: BTreeMap<u32, String>,
    /// How long it may take.
    patience: Duration,
}

impl Forward {
    /// How a command gets to the shards that it is for; `None` when it is not for others. `text` is the
    /// command as the host wrote it.
    pub(super) fn plan(command: &Command, text: &str, total: NonZeroU32) -> Option<Self> {
        let mut patience = FORWARD_TIMEOUT;
        let parts: BTreeMap<u32, String> = match command {
            Command::Send { route, .. } if *route != Route::All => {
                [(route.shard(total)?, text.to_owned())].into()
            }
            Command::RestartShard { shard_id, .. } => [(*shard_id, text.to_owned())].into(),
            // All shards of the bot are in one process, or it says that they are not.
            Command::Reshard { .. } => {
                patience = RESHARD_TIMEOUT;
                [(0, text.to_owned())].into()
            }
            Command::CollectMembers(request) => {
                patience = request.timeout;
                [(shard_for_guild(request.guild_id, total), text.to_owned())].into()
            }
            Command::SoundboardSounds { guild_ids } => {
                let mut by_shard: BTreeMap<u32, Vec<String>> = BTreeMap::new();
                for id in guild_ids {
                    by_shard.entry(shard_for_guild(*id, total)).or_default().push(id.to_string());
                }
                let command = |ids| json!({"type": "request_soundboard_sounds", "guild_ids": ids});
                by_shard.into_iter().map(|(shard, ids)| (shard, command(ids).to_string())).collect()
            }
            _ => return None,
        };
        // A shard that the bot does not have is nobody's.
        parts.keys().all(|shard| *shard < total.get()).then_some(Self { total, parts, patience })
    }
}

/// Commands that wait for replies of other processes.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    next: AtomicU64,
    open: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
}

/// A place among them, given back when it is dropped.
struct Waiting<'a> {
    forwards: &'a Forwards,
    number: u64,
    reply: oneshot::Receiver<Answer>,
}

impl Forwards {
    /// A place for one more. There are no more than commands in flight.
    fn open(&self) -> Waiting<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, reply) = oneshot::channel();
        lock(&self.open).insert(number, sender);
        Waiting { forwards: self, number, reply }
    }

    /// A reply came; one that nobody waits for is no news.
    pub(super) fn reply(&self, number: u64, answer: Answer) {
        if let Some(sender) = lock(&self.open).remove(&number) {
            let _ = sender.send(answer);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.forwards.open).remove(&self.number);
    }
}

impl Post {
    /// Sends a command to the owners of its shards; what they reply. As with shards of this process, it
    /// fails only if no part of it was sent.
    pub(super) async fn forward(&self, forward: &Forward) -> Result<Answer, Error> {
        let workers = self.workers().await?;
        let parts = forward.parts.iter().map(|(shard, command)| {
            let owner = owner(&workers, *shard, forward.total);
            self.forward_part(*shard, owner, command, forward.patience)
        });
        let mut replies = join_all(parts).await;
        let best = replies.iter().position(|reply| matches!(reply, Ok((0, _)))).unwrap_or(0);
        replies.swap_remove(best)
    }

    /// Sends a part of it to the owner of one shard.
    async fn forward_part(
        &self,
        shard: u32,
        owner: Option<&Record>,
        command: &str,
        patience: Duration,
    ) -> Result<Answer, Error> {
        let Some(owner) = owner else {
            let text = format!("no process that the backplane knows of runs shard {shard}");
            return Err(Error::new(ErrorKind::UnknownShard, text));
        };
        let mut waiting = self.forwards.open();
        let (from, number) = (self.worker(), waiting.number);
        let letter = format!(r#"{{"from":"{from}","forward":{number},"command":{command}}}"#);
        self.send(&owner.worker, &letter).await?;
        let deadline = Instant::now() + patience + WAY;
        loop {
            tokio::select! {
                biased;
                reply = &mut waiting.reply => {
                    return reply.map_err(|_| Error::new(ErrorKind::Closed, "the client stops"));
                }
                () = sleep_until(deadline) => {
                    let text = format!(
                        "the process that runs shard {shard} did not reply in time; it may still do it"
                    );
                    return Err(Error::new(ErrorKind::Timeout, text));
                }
                () = sleep(LOOK_EVERY) => {
                    // While the backplane is away nobody knows; the deadline stands.
                    let Ok(workers) = self.workers().await else { continue };
                    if !workers.iter().any(|worker| worker.worker == owner.worker) {
                        let text = format!(
                            "the process that runs shard {shard} went away; it may have done it before"
                        );
                        return Err(Error::new(ErrorKind::Io, text));
                    }
                }
            }
        }
    }
}

/// Who runs a shard. While one process takes over from another both may; the newer one will stay.
fn owner(workers: &[Record], shard: u32, total: NonZeroU32) -> Option<&Record> {
    let runs_it = |worker: &&Record| {
        worker.shard_total == Some(total.get())
            && worker.shards.iter().any(|here| here.shard == shard)
    };
    workers.iter().filter(runs_it).max_by_key(|worker| worker.started_at_ms)
}

impl Shared {
    /// Carries out a command of another process, and has its reply sent there.
    pub(super) fn accept_forwarded(self: &Arc<Self>, to: ReturnAddress, command: &RawValue) {
        match self.replies.open_for(to.clone()) {
            Ok(id) => {
                if let Err(error) = self.begin_forwarded(id, command) {
                    self.replies.fail(id, &error);
                }
            }
            Err(error) => {
                let data = json!({"error": error.to_string()}).to_string().into();
                self.replies.send_back(Return { to, status: error.kind().status(), data });
            }
        }
    }

    /// Hands it to the shards, if they are here.
    fn begin_forwarded(self: &Arc<Self>, id: u64, command: &RawValue) -> Result<(), Error> {
        let command = Command::from_json(command.get())?;
        let is_for_shards = matches!(
            command,
            Command::Send { .. }
                | Command::CollectMembers(_)
                | Command::SoundboardSounds { .. }
                | Command::RestartShard { .. }
                | Command::Reshard { .. }
        );
        if !is_for_shards {
            let text = "only commands for shards are taken from other processes";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        match &*self.stage() {
            Stage::Running { runtime, .. } if matches!(command, Command::Reshard { .. }) => {
                self.spawn(runtime, id, command);
                Ok(())
            }
            Stage::Running { fleet, .. } => {
                fleet.check(&command)?;
                fleet.dispatch(id, command, &self.replies);
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::State, "the process that ran the shard has none now")),
        }
    }

    /// Sends replies to the processes that wait for them, until the client stops.
    pub(super) async fn send_replies(
        self: Arc<Self>,
        mut returns: mpsc::UnboundedReceiver<Return>,
    ) {
        let Some(post) = &self.post else { return };
        while let Some(Return { to, status, data }) = returns.recv().await {
            // What the engine replies is JSON.
            let Ok(data) = std::str::from_utf8(&data) else { continue };
            let (from, number) = (post.worker(), to.number);
            let letter =
                format!(r#"{{"from":"{from}","reply":{number},"status":{status},"data":{data}}}"#);
            // Who gets none runs into its time limit, which says what that means.
            let _ = post.send(&to.worker, &letter).await;
        }
    }
}

/// The command goes to other processes.
pub(super) async fn carry_out(shared: &Shared, forward: &Forward) -> Result<Answer, Error> {
    match &shared.post {
        Some(post) => post.forward(forward).await,
        None => Err(post::missing()),
    }
}
