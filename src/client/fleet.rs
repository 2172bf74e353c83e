//! The shards of a client, and which of them a command is for.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::command::{Command, soundboard_sounds};
use super::guilds::GuildsPage;
use super::replies::Replies;
use crate::error::{Error, ErrorKind};
use crate::protocol::{OpCode, Payload, send_event, shard_for_guild};
use crate::queue::{Lease, Progress};
use crate::shard;
use crate::shard::GuildIndex;
use crate::shard::driver::{Mail, Mailbox};
use crate::shard::status::ShardStatus;

/// One shard as its client knows it.
#[derive(Debug)]
pub(super) struct Member {
    /// The way to it.
    pub(super) mailbox: Mailbox,
    /// What can be seen of it.
    pub(super) status: Arc<ShardStatus>,
    /// How far the host has come with its events, if sessions are kept.
    pub(super) progress: Option<Arc<Progress>>,
    /// Its guilds.
    pub(super) guilds: Arc<GuildIndex>,
    /// The right to run it, if it is leased.
    pub(super) lease: Option<Arc<Lease>>,
    /// It stops, for another process will run it.
    pub(super) leaving: bool,
}

/// The shards of a client.
#[derive(Debug)]
pub(super) struct Fleet {
    /// Tells it from another set of shards while the bot is resharded.
    pub(super) set: u8,
    /// The number of shards of the bot.
    pub(super) total: NonZeroU32,
    /// Those that run here.
    pub(super) members: BTreeMap<u32, Member>,
    /// The presence that the host gave when no shard was left to know it.
    pub(super) last_presence: Option<Box<RawValue>>,
}

impl Fleet {
    /// Says something to one shard, if it is here.
    pub(super) fn tell(&self, shard_id: u32, mail: Mail) {
        if let Some(member) = self.members.get(&shard_id) {
            // A shard that has gone needs no mail.
            let _ = member.mailbox.send(mail);
        }
    }

    /// Those that run here and stay.
    pub(super) fn running(&self) -> impl Iterator<Item = (&u32, &Member)> {
        self.members.iter().filter(|(_, member)| !member.leaving)
    }

    /// Forgets a shard.
    pub(super) fn remove(&mut self, shard_id: u32) {
        let removed = self.members.remove(&shard_id);
        let presence = removed.and_then(|member| member.status.get().presence);
        self.last_presence = presence.or(self.last_presence.take());
    }

    /// Says something to every shard.
    pub(super) fn tell_all(&self, mail: impl Fn() -> Mail) {
        for shard_id in self.members.keys() {
            self.tell(*shard_id, mail());
        }
    }

    /// Checks that all shards a gateway command is for are here.
    ///
    /// # Errors
    /// `UnknownShard`, naming the one that is not.
    pub(super) fn check(&self, command: &Command) -> Result<(), Error> {
        match command {
            Command::Send { route, .. } => {
                route.shard(self.total).map_or(Ok(()), |shard_id| self.is_here(shard_id))
            }
            Command::CollectMembers(request) => {
                self.is_here(shard_for_guild(request.guild_id, self.total))
            }
            Command::SoundboardSounds { guild_ids } => {
                let payloads = soundboard_sounds(guild_ids, self.total);
                payloads.iter().try_for_each(|(shard_id, _)| self.is_here(*shard_id))
            }
            Command::RestartShard { shard_id, .. }
            | Command::Guilds(GuildsPage { shard: Some(shard_id), .. }) => self.is_here(*shard_id),
            Command::Guilds(_)
            | Command::GuildStats
            | Command::Rest(_)
            | Command::GatewayInfo
            | Command::Backplane(_)
            | Command::Reshard { .. }
            | Command::Store(_) => Ok(()),
        }
    }

    /// Hands a checked gateway command to its shards.
    pub(super) fn dispatch(&self, id: u64, command: Command, replies: &Replies) {
        match command {
            Command::Send { route, payload, presence } => {
                let shards: Vec<u32> = match route.shard(self.total) {
                    Some(shard_id) => vec![shard_id],
                    None => self.running().map(|(shard_id, _)| *shard_id).collect(),
                };
                if shards.is_empty() {
                    // All that there are have it.
                    replies.finish(id, 0, &b"null"[..]);
                    return;
                }
                replies.expect(id, shards.iter().copied());
                for shard_id in shards {
                    let (payload, presence) = (payload.clone(), presence.clone());
                    let command = shard::Command { id, payload, presence };
                    self.tell(shard_id, Mail::Command(command));
                }
            }
            Command::SoundboardSounds { guild_ids } => {
                let payloads: Vec<(u32, Payload)> = soundboard_sounds(&guild_ids, self.total);
                replies.expect(id, payloads.iter().map(|(shard_id, _)| *shard_id));
                for (shard_id, payload) in payloads {
                    let command = shard::Command { id, payload, presence: None };
                    self.tell(shard_id, Mail::Command(command));
                }
            }
            Command::CollectMembers(request) => {
                let shard_id = shard_for_guild(request.guild_id, self.total);
                replies.expect(id, [shard_id]);
                self.tell(shard_id, Mail::CollectMembers { command_id: id, request });
            }
            Command::RestartShard { shard_id, resume } => {
                self.tell(shard_id, Mail::Restart { resume });
                replies.finish(id, 0, &b"null"[..]);
            }
            // Not for shards.
            Command::Rest(_)
            | Command::GatewayInfo
            | Command::Guilds(_)
            | Command::GuildStats
            | Command::Backplane(_)
            | Command::Reshard { .. }
            | Command::Store(_) => {}
        }
    }

    /// Sends the presence that the host gave the old set after this one was started with an earlier one.
    pub(super) fn take_presence_of(&self, old: &Self) {
        let presence = old.presence().map(|presence| presence.get().to_owned());
        let known = self.presence().map(|presence| presence.get().to_owned());
        let newer = presence.filter(|presence| known.as_ref() != Some(presence));
        let Some(d) = newer.and_then(|text| RawValue::from_string(text).ok()) else { return };
        let Ok(payload) = send_event(OpCode::PresenceUpdate.number(), &d) else { return };
        self.tell_all(|| {
            let (payload, presence) = (payload.clone(), Some(d.clone()));
            // Nobody waits for a reply.
            Mail::Command(shard::Command { id: 0, payload, presence })
        });
    }

    /// The newest presence that the host gave by a command, if it gave one.
    pub(super) fn presence(&self) -> Option<Box<RawValue>> {
        let known = self.members.values().find_map(|member| member.status.get().presence);
        known.or_else(|| self.last_presence.clone())
    }

    /// Whether a shard is one of this client.
    fn is_here(&self, shard_id: u32) -> Result<(), Error> {
        if self.members.get(&shard_id).is_some_and(|member| !member.leaving) {
            return Ok(());
        }
        let total = self.total;
        let text = if shard_id < total.get() {
            format!(
                "shard {shard_id} of {total} is not run by this client; send it to the one that does"
            )
        } else {
            format!("there is no shard {shard_id}; the bot has {total}, counted from 0")
        };
        Err(Error::new(ErrorKind::UnknownShard, text))
    }
}
