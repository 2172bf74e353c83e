//! Requests for the members of guilds that end with all of them in one reply.
//!
//! Like the machine it knows no socket and no clock: the driver hands in what happened with the time, and
//! takes out what to do. What is sent goes through the machine, so it waits for the session and the rate
//! limit as every other command does.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::machine::{Command, Outcome};
use super::member_chunks::{ChunkEvent, Chunks, CollectedBytes, Progress};
use crate::config::{MAX_COLLECTED_BYTES, MAX_MEMBERS_TIMEOUT};
use crate::error::{Error, ErrorKind};
use crate::protocol::{OpCode, Payload, json};

/// Time between two requests for all members of one guild: Discord's 30 s, and what the way there may
/// squeeze together.
///
/// Source: <https://discord.com/developers/docs/change-log#introducing-rate-limit-when-requesting-all-guild-members>.
const FULL_LIST_SPACING: Duration = Duration::from_millis(30_500);

/// A request as the host made it.
#[derive(Debug, Clone)]
pub struct MemberRequest {
    /// The guild.
    pub guild_id: u64,
    /// What its chunks carry.
    pub nonce: String,
    /// What to send.
    pub payload: Payload,
    /// It is for all members, which Discord allows less often.
    pub is_full_list: bool,
    /// The reply has presences.
    pub presences: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// What the driver has to do.
#[derive(Debug)]
pub(super) enum Act {
    /// Hand this to the machine.
    Send(Command),
    /// Take it back, if it is still there.
    Withdraw(u64),
    /// Reply to this command.
    Done(u64, Result<Bytes, Error>),
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is not sent before this.
    Waits(Instant),
    /// The machine has it.
    Held,
    /// It went out.
    Sent,
}

/// A request without its reply.
#[derive(Debug)]
struct Open {
    request: MemberRequest,
    deadline: Instant,
    step: Step,
    chunks: Chunks,
    /// Discord wanted it later.
    was_limited: bool,
}

/// The requests of one shard.
#[derive(Debug)]
pub(super) struct Members {
    /// By command id, which is their order.
    open: BTreeMap<u64, Open>,
    /// When the next request for all members of a guild may go out; those in the past are forgotten.
    full_list_at: HashMap<u64, Instant>,
    /// Bytes collected by all shards.
    collected: Arc<CollectedBytes>,
    /// When [`Members::timeout`] wants to be called.
    due: Option<Instant>,
    acts: VecDeque<Act>,
}

impl Members {
    /// No requests.
    pub(super) fn new(collected: Arc<CollectedBytes>) -> Self {
        Self {
            open: BTreeMap::new(),
            full_list_at: HashMap::new(),
            collected,
            due: None,
            acts: VecDeque::new(),
        }
    }

    /// The next thing to do; ask until there is none.
    pub(super) fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// When [`Members::timeout`] wants to be called, if ever.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    // -- what the host wants ------------------------------------------------------------------

    /// A new request.
    pub(super) fn request(&mut self, command_id: u64, request: MemberRequest, now: Instant) {
        if self.find(request.guild_id, &request.nonce).is_some() {
            let text = format!(
                "`nonce`: {:?} is that of another request for members of guild {}, which is not done",
                request.nonce, request.guild_id
            );
            let error = Error::new(ErrorKind::InvalidArgument, text);
            self.acts.push_back(Act::Done(command_id, Err(error)));
            return;
        }
        let open = Open {
            deadline: now + request.timeout,
            request,
            step: Step::Waits(now),
            chunks: Chunks::new(&self.collected),
            was_limited: false,
        };
        self.open.insert(command_id, open);
        self.advance(now);
    }

    /// The host no longer wants it, and has its reply.
    pub(super) fn cancel(&mut self, command_id: u64, now: Instant) {
        if self.open.remove(&command_id).is_some() {
            self.advance(now);
        }
    }

    /// All requests, which are forgotten.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = u64> + use<> {
        self.due = None;
        std::mem::take(&mut self.open).into_keys()
    }

    // -- what the shard says ------------------------------------------------------------------

    /// The machine is done with a command; `false` if that is for somebody else to know.
    pub(super) fn settled(&mut self, command_id: u64, outcome: Outcome, now: Instant) -> bool {
        let Some(open) = self.open.get_mut(&command_id) else { return false };
        if outcome != Outcome::Sent {
            self.open.remove(&command_id);
            self.advance(now);
            return false;
        }
        open.step = Step::Sent;
        if open.request.is_full_list {
            self.full_list_at.insert(open.request.guild_id, now + FULL_LIST_SPACING);
        }
        self.advance(now);
        true
    }

    /// READY: a new session, in which nothing was asked yet.
    pub(super) fn ready(&mut self, now: Instant) {
        for open in self.open.values_mut() {
            open.chunks = Chunks::new(&self.collected);
            open.ask_again(now);
        }
        self.advance(now);
    }

    /// RESUMED: what was answered has been replayed. A request without any answer may have been lost with
    /// the old connection.
    pub(super) fn resumed(&mut self, now: Instant) {
        for open in self.open.values_mut().filter(|open| open.chunks.is_empty()) {
            open.ask_again(now);
        }
        self.advance(now);
    }

    /// GUILD_MEMBERS_CHUNK; whether it was for one of these requests.
    pub(super) fn chunk(&mut self, data: &[u8], now: Instant) -> bool {
        if self.open.is_empty() {
            return false;
        }
        let Some(chunk) = ChunkEvent::read(data) else { return false };
        let (Some(guild_id), Some(nonce)) = (chunk.guild_id(), chunk.nonce()) else { return false };
        let Some(command_id) = self.find(guild_id, nonce) else { return false };
        let Some(open) = self.open.get_mut(&command_id) else { return false };
        match open.chunks.add(&chunk) {
            Progress::Partial => {}
            Progress::Complete => {
                let answer = |open: Open| Ok(open.chunks.join(guild_id, open.request.presences));
                self.end(command_id, answer);
                self.advance(now);
            }
            Progress::TooLarge => {
                self.end(command_id, |_| Err(too_large()));
                self.advance(now);
            }
        }
        true
    }

    /// RATE_LIMITED; whether it was for one of these requests.
    pub(super) fn rate_limited(&mut self, data: &[u8], now: Instant) -> bool {
        let Some((guild_id, nonce, wait)) = read_rate_limited(data) else { return false };
        let Some(command_id) = self.find(guild_id, &nonce) else { return false };
        let Some(open) = self.open.get_mut(&command_id) else { return false };
        open.was_limited = true;
        // With an answer on its way it was asked twice, and only the second was too soon.
        if open.chunks.is_empty() {
            if open.step == Step::Held {
                self.acts.push_back(Act::Withdraw(command_id));
            }
            open.step = Step::Waits(now + wait);
            if open.request.is_full_list {
                self.full_list_at.insert(guild_id, now + wait);
            }
        }
        self.advance(now);
        true
    }

    /// Acts on what is due.
    pub(super) fn timeout(&mut self, now: Instant) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let late = self.open.iter().filter(|(_, open)| open.deadline <= now);
        for command_id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end(command_id, |open| Err(open.late()));
        }
        self.advance(now);
    }

    // -- inside -------------------------------------------------------------------------------

    /// The request that a chunk or a refusal is about.
    fn find(&self, guild_id: u64, nonce: &str) -> Option<u64> {
        let is_it = |(_, open): &(&u64, &Open)| {
            open.request.guild_id == guild_id && open.request.nonce == nonce
        };
        self.open.iter().find(is_it).map(|(id, _)| *id)
    }

    /// Ends a request with a reply.
    fn end(&mut self, command_id: u64, reply: impl FnOnce(Open) -> Result<Bytes, Error>) {
        let Some(open) = self.open.remove(&command_id) else { return };
        if open.step == Step::Held {
            self.acts.push_back(Act::Withdraw(command_id));
        }
        self.acts.push_back(Act::Done(command_id, reply(open)));
    }

    /// Hands on what may be sent now, and finds when there is more to do. Of several requests for all
    /// members of one guild the machine has one at a time.
    fn advance(&mut self, now: Instant) {
        self.full_list_at.retain(|_, at| *at > now);
        let full_lists = self.open.values().filter(|open| open.request.is_full_list);
        let held = full_lists.filter(|open| open.step == Step::Held);
        let mut busy: Vec<u64> = held.map(|open| open.request.guild_id).collect();
        self.due = None;
        for (command_id, open) in &mut self.open {
            let mut due = open.deadline;
            if let Step::Waits(until) = open.step {
                let guild_id = open.request.guild_id;
                let full_list_at = self.full_list_at.get(&guild_id).copied();
                let at =
                    full_list_at.filter(|_| open.request.is_full_list).unwrap_or(until).max(until);
                if open.request.is_full_list && busy.contains(&guild_id) {
                    // Its turn comes when the one before it went out.
                } else if at > now {
                    due = due.min(at);
                } else {
                    open.step = Step::Held;
                    if open.request.is_full_list {
                        busy.push(guild_id);
                    }
                    let payload = open.request.payload.clone();
                    let command = Command { id: *command_id, payload, presence: None };
                    self.acts.push_back(Act::Send(command));
                }
            }
            self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
        }
    }
}

impl Open {
    /// Asks once more, unless the machine still has the question.
    fn ask_again(&mut self, now: Instant) {
        if self.step == Step::Sent {
            self.step = Step::Waits(now);
        }
    }

    /// The error of a request that took too long.
    fn late(&self) -> Error {
        let why = match self.step {
            Step::Waits(_) if self.was_limited => "; Discord's rate limit was waited for",
            Step::Waits(_) => "; the one before it was waited for, as Discord wants it",
            Step::Held => "; it could not be sent",
            Step::Sent => "",
        };
        let text = format!(
            "members of guild {}: {} within {} ms{why}",
            self.request.guild_id,
            self.chunks.progress(),
            self.request.timeout.as_millis()
        );
        Error::new(ErrorKind::Timeout, text)
    }
}

/// The error of a request that there is no room for.
fn too_large() -> Error {
    let text = format!(
        "the members that are being collected, and those in replies that were not released, would \
         take more than {MAX_COLLECTED_BYTES} bytes; ask for fewer at a time, or without `collect`"
    );
    Error::new(ErrorKind::TooLarge, text)
}

/// Guild, nonce and wait of a RATE_LIMITED that is about a request for members.
///
/// Source: <https://discord.com/developers/docs/events/gateway-events#rate-limited>.
fn read_rate_limited(data: &[u8]) -> Option<(u64, String, Duration)> {
    #[derive(Deserialize)]
    struct RateLimited<'a> {
        opcode: u64,
        retry_after: f64,
        #[serde(borrow)]
        meta: Meta<'a>,
    }
    #[derive(Deserialize)]
    struct Meta<'a> {
        #[serde(borrow)]
        guild_id: &'a RawValue,
        nonce: String,
    }
    let told: RateLimited<'_> = serde_json::from_slice(data).ok()?;
    if told.opcode != u64::from(OpCode::RequestGuildMembers.number()) {
        return None;
    }
    let guild_id = json::snowflake(told.meta.guild_id.get().as_bytes())?;
    let wait = Duration::try_from_secs_f64(told.retry_after).unwrap_or(FULL_LIST_SPACING);
    Some((guild_id, told.meta.nonce, wait.min(MAX_MEMBERS_TIMEOUT)))
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
