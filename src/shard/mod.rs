//! One shard: a gateway connection over time.
//!
//! [`Machine`] decides everything and does nothing: bytes, time and chance go in, outputs come out.
//! [`driver`] does what it says, with tokio. Rules that have a name of their own stand in files of
//! their own and are part of the machine.

mod backoff;
mod cause;
pub(crate) mod detour;
pub(crate) mod driver;
mod guild_patience;
mod guilds;
mod heartbeat;
pub(crate) mod hold;
mod limiter;
mod machine;
mod measure;
mod member_chunks;
mod members;
pub(crate) mod notes;
pub(crate) mod overlap;
mod session;
mod stage;
mod state;
pub(crate) mod status;
mod stored_guilds;
mod timers;
mod watchdog;

pub use cause::{Cause, Reconnects};
pub use guilds::{Guild, GuildCounts, GuildIndex, Guilds, Loading, Standing};
pub use machine::{
    Command, Counters, Delivery, Input, Machine, Outcome, Output, Settings, StateChange, StopMode,
};
pub use measure::Measure;
pub(crate) use member_chunks::CollectedBytes;
pub use members::MemberRequest;
pub use session::Session;
pub use state::ShardState;
