//! A simulated Discord to test bots against: gateway and REST in one process, written from
//! Discord's documentation, with every fault a network and a gateway can have at your command.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use shardwright_sim::{Options, Simulator};
//!
//! let simulator = Simulator::new(Options { guilds: 4, ..Options::default() })?;
//! let server = simulator.bind().await?;
//! println!("point your bot at {} (gateway {})", server.api_url(), server.gateway_url());
//!
//! let channel = simulator.text_channels(simulator.guilds()[0])[0];
//! simulator.post_message(channel, None, "!ping")?;
//! assert!(simulator.violations().is_empty());
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! - [`Options`]: what the world and its rules are.
//! - [`Simulator`]: serving, over TCP ([`Simulator::bind`]) or inside the process
//!   ([`Simulator::connect`], also under tokio's paused clock); making things happen
//!   ([`Action`]); and asking what was seen ([`Seen`]).
//! - [`Script`]: actions with times, from a file.
//!
//! It is not for: voice, ETF, user accounts, API versions before 9, permissions.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod chat;
mod clock;
mod control;
mod drive;
mod gateway;
mod http;
pub mod intents;
mod ledger;
mod memory;
mod options;
mod rest;
mod server;
mod simulator;
mod state;
mod tls;
mod wire;
mod world;

pub use control::{
    AcceptPlan, Acks, Action, Chunks, ConnectPlan, ControlError, EndPlan, Ending, HandshakePlan,
    Hello, Posted, Ready, Script, ScriptError, Split, Stage, Step, Target,
};
pub use gateway::compression::Transport;
pub use ledger::{
    ActionRecord, By, Closed, CommandRecord, ConnectionRecord, Counts, DispatchRecord, Handshake,
    HeartbeatRecord, IdentifyRecord, Outcome, RestRecord, ResumeRecord, Rule, Seen,
    ViolationRecord,
};
pub use memory::MemoryStream;
pub use options::{
    Exhausted, MAX_CHANNELS_PER_GUILD, MAX_GUILDS, MAX_MEMBERS_PER_GUILD, MAX_RECORDED_EVENTS,
    Options, OptionsError, RefusedResume, RestLimits, SessionStarts, default_token,
};
pub use rest::NewInteraction;
pub use rest::fault::{RestFault, RestFaultKind};
pub use rest::ratelimit::Scope;
pub use server::Server;
pub use simulator::Simulator;
pub use wire::{Cut, Pace};
pub use world::snowflake::{DISCORD_EPOCH_MS, Snowflake};
