//! The actions as methods, for those who have the simulator in their process.

use serde_json::{Map, Value};

use super::{AcceptPlan, Acks, Action, ConnectPlan, ControlError, Posted, Ready, Split, Target};
use crate::rest::NewInteraction;
use crate::rest::fault::RestFault;
use crate::simulator::Simulator;
use crate::wire::Cut;
use crate::world::snowflake::Snowflake;

/// How many connections or sessions an action was carried out on.
fn affected(result: Result<Value, ControlError>) -> usize {
    let count = result.ok().and_then(|value| value["affected"].as_u64());
    usize::try_from(count.unwrap_or_default()).unwrap_or(usize::MAX)
}

/// Making things happen. Each of these is an [`Action`] and answers how many connections or
/// sessions it was carried out on, where that makes sense.
impl Simulator {
    /// Carries out any action.
    pub fn act(&self, action: &Action) -> Result<Value, ControlError> {
        let result = self.shared.with(|state| state.act(action));
        self.shared.traffic.notify_one();
        result
    }

    /// A user (without one the guild's owner) writes a message.
    pub fn post_message(
        &self,
        channel: Snowflake,
        user: Option<Snowflake>,
        content: impl Into<String>,
    ) -> Result<Posted, ControlError> {
        self.posted(&Action::Message { channel, user, content: content.into() })
    }

    /// A user (without one the first of the world) writes to the bot directly.
    pub fn direct_message(
        &self,
        user: Option<Snowflake>,
        content: impl Into<String>,
    ) -> Result<Posted, ControlError> {
        self.posted(&Action::DirectMessage { user, content: content.into() })
    }

    fn posted(&self, action: &Action) -> Result<Posted, ControlError> {
        let posted = self.act(action)?;
        serde_json::from_value(posted).map_err(|error| ControlError::Invalid(error.to_string()))
    }

    /// A user invokes a command or uses a component; gives back the interaction's id.
    pub fn interact(&self, interaction: NewInteraction) -> Result<Snowflake, ControlError> {
        let channel = interaction.channel;
        let fired = self.act(&Action::Interaction(interaction))?;
        serde_json::from_value(fired["id"].clone())
            .map_err(|_| ControlError::UnknownChannel(channel))
    }

    /// Dispatches an event as it stands to the sessions that are meant and whose intents let it
    /// pass.
    pub fn dispatch(&self, target: Target, t: impl Into<String>, d: Value) -> usize {
        affected(self.act(&Action::Dispatch { target, t: t.into(), d, ignore_intents: false }))
    }

    /// Sends any text as a payload, encoded as the connections asked for.
    pub fn send(&self, target: Target, text: impl Into<String>) -> usize {
        affected(self.act(&Action::Send { target, text: text.into() }))
    }

    /// Drops sockets.
    pub fn drop_sockets(&self, target: Target, how: Cut) -> usize {
        affected(self.act(&Action::Drop { target, how }))
    }

    /// Closes connections with a close frame; without a code it is empty.
    pub fn close(&self, target: Target, code: Option<u16>, reason: impl Into<String>) -> usize {
        affected(self.act(&Action::Close { target, code, reason: reason.into() }))
    }

    /// Sends op 7.
    pub fn reconnect(&self, target: Target) -> usize {
        affected(self.act(&Action::Reconnect { target, close_after_ms: None }))
    }

    /// Sends op 9; with `false` the sessions end.
    pub fn invalid_session(&self, target: Target, resumable: bool) -> usize {
        affected(self.act(&Action::InvalidSession { target, resumable }))
    }

    /// Sends op 1.
    pub fn request_heartbeat(&self, target: Target) -> usize {
        affected(self.act(&Action::RequestHeartbeat { target }))
    }

    /// Changes how heartbeats are acknowledged.
    pub fn acks(&self, target: Target, acks: Acks) -> usize {
        affected(self.act(&Action::Acks { target, acks }))
    }

    /// Corrupts the next dispatches.
    pub fn corrupt_next(&self, target: Target, count: u32) -> usize {
        affected(self.act(&Action::Corrupt { target, count }))
    }

    /// Splits the next dispatch.
    pub fn split_next(&self, target: Target, split: Split) -> usize {
        affected(self.act(&Action::Split { target, split }))
    }

    /// Slows down what is sent, or ends that.
    pub fn slow(&self, target: Target, bytes_per_second: Option<u64>) -> usize {
        affected(self.act(&Action::Slow { target, bytes_per_second }))
    }

    /// Plans what goes wrong with the next `count` gateway connections (`None`: with all).
    pub fn plan(&self, count: Option<u64>, plan: ConnectPlan) -> Result<(), ControlError> {
        self.act(&Action::Plan { count, plan }).map(drop)
    }

    /// Plans what goes wrong with the next `count` streams of any kind (`None`: with all).
    pub fn plan_accept(&self, count: Option<u64>, plan: AcceptPlan) -> Result<(), ControlError> {
        self.act(&Action::Accept { count, plan }).map(drop)
    }

    /// Changes when IDENTIFY and RESUME are answered, for one shard or all.
    pub fn ready(&self, shard: Option<u32>, ready: Ready) -> usize {
        affected(self.act(&Action::Ready { shard, ready }))
    }

    /// Lets REST calls go wrong; gives back the fault's number.
    pub fn rest_fault(&self, fault: RestFault) -> Result<u64, ControlError> {
        let added = self.act(&Action::RestFault { fault })?;
        Ok(added["rest_fault"].as_u64().unwrap_or_default())
    }

    /// Forgets plans, rules and REST faults.
    pub fn clear_faults(&self) {
        let _ = self.act(&Action::ClearFaults { rest_fault: None });
    }

    /// Ends sessions as if nobody had resumed them in time.
    pub fn expire(&self, target: Target) -> usize {
        affected(self.act(&Action::Expire { target }))
    }

    /// Does not introduce these guilds to sessions to come.
    pub fn withhold(&self, guilds: Vec<Snowflake>) -> Result<(), ControlError> {
        self.act(&Action::Withhold { guilds }).map(drop)
    }

    /// Introduces withheld guilds after all.
    pub fn release(&self, guilds: Vec<Snowflake>) -> Result<(), ControlError> {
        self.act(&Action::Release { guilds }).map(drop)
    }

    /// A guild fails.
    pub fn guild_down(&self, guild: Snowflake) -> Result<(), ControlError> {
        self.act(&Action::GuildDown { guild }).map(drop)
    }

    /// A guild recovers.
    pub fn guild_up(&self, guild: Snowflake) -> Result<(), ControlError> {
        self.act(&Action::GuildUp { guild }).map(drop)
    }

    /// The bot joins a new guild.
    pub fn join_guild(&self) -> Result<Snowflake, ControlError> {
        let joined = self.act(&Action::JoinGuild {})?;
        serde_json::from_value(joined["guild"].clone())
            .map_err(|error| ControlError::Invalid(error.to_string()))
    }

    /// The bot is removed from a guild.
    pub fn leave_guild(&self, guild: Snowflake) -> Result<(), ControlError> {
        self.act(&Action::LeaveGuild { guild }).map(drop)
    }

    /// Changes the rate of the traffic.
    pub fn set_traffic(&self, events_per_second: f64) -> Result<(), ControlError> {
        self.act(&Action::Traffic { events_per_second }).map(drop)
    }

    /// Changes options; see [`Action::Configure`] for which.
    pub fn configure(&self, options: Map<String, Value>) -> Result<(), ControlError> {
        self.act(&Action::Configure { options }).map(drop)
    }
}
