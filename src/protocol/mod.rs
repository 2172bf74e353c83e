//! The vocabulary of Discord's gateway, version 10: what is on the wire and what it means.
//!
//! Nothing here does IO, reads a clock or keeps state; the shard machine stands on it. The source for
//! all of it is <https://discord.com/developers/docs/events/gateway>.

mod close_code;
mod envelope;
mod gateway_url;
mod intents;
pub mod json;
mod opcode;
mod outgoing;
mod presence;
mod sharding;
mod token;

pub use close_code::{CloseCode, Next};
pub use envelope::{Envelope, Scanner, Span, guild_id_of};
pub(crate) use gateway_url::host_of;
pub use gateway_url::{Compression, GatewayUrl};
pub use intents::Intents;
pub use opcode::OpCode;
pub use outgoing::{
    Identify, MAX_NONCE_BYTES, MAX_OUTGOING_BYTES, MAX_USER_IDS, Payload, heartbeat, identify,
    resume, send_event,
};
pub use presence::presence;
pub use sharding::shard_for_guild;
pub use token::Token;

/// The gateway and REST version the engine speaks.
pub const API_VERSION: u8 = 10;
