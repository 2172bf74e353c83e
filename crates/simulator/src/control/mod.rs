//! Control: making things happen in the simulator.
//!
//! There is one vocabulary, [`Action`], and three ways to speak it: the methods of
//! [`Simulator`](crate::Simulator), `POST /sim/do` with an action as JSON (or `POST /sim/<name>`
//! with the action's fields), and the steps of a [`Script`]. What each action looks like in JSON
//! stands with it. Every action is written into the ledger with its result.

mod act;
mod action;
mod guilds;
pub(crate) mod http;
mod methods;
mod plan;
mod script;
mod target;

use serde::{Deserialize, Serialize};

pub use action::Action;
pub(crate) use plan::Plans;
pub use plan::{
    AcceptPlan, Acks, Chunks, ConnectPlan, EndPlan, Ending, HandshakePlan, Hello, Ready, Split,
    Stage,
};
pub use script::{Script, ScriptError, Step};
pub use target::Target;

use crate::world::snowflake::Snowflake;

/// Why an action was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// A channel the bot cannot see.
    #[error("there is no channel {0}")]
    UnknownChannel(Snowflake),
    /// A guild the bot is not in.
    #[error("the bot is in no guild {0}")]
    UnknownGuild(Snowflake),
    /// A user the world does not have.
    #[error("there is no user {0}")]
    UnknownUser(Snowflake),
    /// An action or one of its fields that makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// A message that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The message's id.
    pub id: Snowflake,
    /// The channel's id.
    pub channel: Snowflake,
    /// The world event's number, which is also the message's nonce.
    pub number: u64,
}

type Result<T> = std::result::Result<T, ControlError>;
