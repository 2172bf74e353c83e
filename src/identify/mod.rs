//! Who may identify now.
//!
//! Discord allows `max_concurrency` identifies per 5 s, one in each bucket `shard_id % max_concurrency`,
//! and a number of them per day (the session start limit). Resumes are free and never come here.
//! [`Gate`] holds the rules without IO; [`line`] lets the shards of a client wait at it.
//!
//! Source: <https://discord.com/developers/docs/events/gateway#sharding-max-concurrency>.

mod gate;
#[allow(dead_code)]
pub(crate) mod line;

pub(crate) use gate::{Claim, DAY};
pub use gate::{Gate, GateEvent, SessionStartLimit};
