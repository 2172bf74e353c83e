//! How a command of the host finds its way.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::command::Command;
use super::fleet::Fleet;
use super::forward::{self, Forward};
use super::shared::{InCaseOfPanic, Shared, lock};
use super::stage::{Held, Stage};
use super::{guilds, post, startup};
use crate::error::{Error, ErrorKind};
use crate::store;

impl Shared {
    /// Routes a command, or holds it until there are shards.
    pub(super) fn accept(self: &Arc<Self>, command: Command, text: &str) -> Result<u64, Error> {
        let needs_shards = !matches!(
            command,
            Command::Rest(_)
                | Command::GatewayInfo
                | Command::Backplane(_)
                | Command::Reshard { .. }
                | Command::Store(_)
        );
        match command {
            Command::Backplane(_) if self.post.is_none() => return Err(post::missing()),
            Command::Store(_) if self.store.is_none() => return Err(store::missing()),
            _ => {}
        }
        let stage = self.stage();
        match &*stage {
            Stage::New => Err(Error::new(ErrorKind::State, "start the client first")),
            Stage::Stopped { .. } => Err(Error::new(ErrorKind::Closed, "the client has stopped")),
            Stage::Starting { runtime, .. } | Stage::Running { runtime, .. } if !needs_shards => {
                let id = self.replies.open()?;
                self.spawn(runtime, id, command);
                Ok(id)
            }
            // Known at once, if it is only that no shard is there yet.
            stage if matches!(command, Command::Guilds(_) | Command::GuildStats) => {
                let fleet = stage.fleet();
                fleet.map_or(Ok(()), |fleet| fleet.check(&command))?;
                let id = self.replies.open()?;
                self.replies.finish(id, 0, guilds::answer(fleet, &command));
                Ok(id)
            }
            Stage::Running { runtime, fleet, .. } => {
                if let Err(error) = fleet.check(&command) {
                    let Some(forward) = self.plan_forward(&command, text, fleet) else {
                        return Err(error);
                    };
                    let id = self.replies.open()?;
                    self.spawn_forward(runtime, id, forward);
                    return Ok(id);
                }
                let id = self.replies.open()?;
                fleet.dispatch(id, command, &self.replies);
                Ok(id)
            }
            Stage::Starting { .. } => {
                drop(stage);
                self.hold(command, text)
            }
        }
    }

    /// Keeps a command until there are shards, unless they have come just now.
    fn hold(self: &Arc<Self>, command: Command, text: &str) -> Result<u64, Error> {
        let mut stage = self.stage_mut();
        let Stage::Starting { held, .. } = &mut *stage else {
            drop(stage);
            return self.accept(command, text);
        };
        if let Some(error) = lock(&self.progress).refusal() {
            return Err(error);
        }
        let id = self.replies.open()?;
        let text = self.post.is_some().then(|| text.into());
        held.push(Held { id, command, text });
        Ok(id)
    }

    /// How a command for shards that are not here gets to them, if there is a way.
    pub(super) fn plan_forward(
        &self,
        command: &Command,
        text: &str,
        fleet: &Fleet,
    ) -> Option<Forward> {
        self.post.as_ref()?;
        Forward::plan(command, text, fleet.total)
    }

    /// Sends a command to other processes.
    pub(super) fn spawn_forward(self: &Arc<Self>, runtime: &Handle, id: u64, forward: Forward) {
        let shared = Arc::clone(self);
        self.spawn_work(runtime, id, async move {
            let result = forward::carry_out(&shared, &forward).await;
            match result {
                Ok((status, data)) => shared.replies.finish(id, status, data),
                Err(error) => shared.replies.fail(id, &error),
            }
        });
    }

    /// Runs a command that takes a while in a task of its own.
    pub(super) fn spawn(self: &Arc<Self>, runtime: &Handle, id: u64, command: Command) {
        let shared = Arc::clone(self);
        self.spawn_work(runtime, id, async move {
            let result = match command {
                Command::Rest(request) => {
                    let response = shared.rest.request(*request).await;
                    response.map(|response| (i32::from(response.status), response.body))
                }
                Command::Backplane(request) => match &shared.post {
                    Some(post) => post.carry_out(*request, &shared).await,
                    None => Err(post::missing()),
                },
                Command::Store(request) => match &shared.store {
                    Some(store) => {
                        let reply = store.run(&request).await;
                        reply.map(|(status, data)| (status, data.into()))
                    }
                    None => Err(store::missing()),
                },
                Command::Reshard { target } => {
                    // The reply comes when it is done.
                    if let Err(error) = shared.request_reshard(Some(id), target).await {
                        shared.replies.fail(id, &error);
                    }
                    return;
                }
                _ => startup::ask(&shared.rest).await.map(|response| (0, response.body)),
            };
            match result {
                Ok((status, body)) => shared.replies.finish(id, status, body),
                Err(error) => shared.replies.fail(id, &error),
            }
        });
    }

    /// Runs a command's work in a task, which can be cancelled.
    fn spawn_work(
        self: &Arc<Self>,
        runtime: &Handle,
        id: u64,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let shared = Arc::clone(self);
        let work = async move {
            let _answer = InCaseOfPanic(|| {
                let text = "the command met a bug in the engine; see the log";
                shared.replies.fail(id, &Error::new(ErrorKind::Panic, text));
            });
            work.await;
        };
        let mut tasks = lock(&self.tasks);
        // Those that ended are forgotten here, so that the set holds what runs.
        while tasks.try_join_next().is_some() {}
        self.replies.attach(id, tasks.spawn_on(work, runtime));
    }
}
