//! Discord gateway shards for programs in any language.
//!
//! This is the engine of Shardwright. Hosts use it through the C ABI in `include/shardwright.h`,
//! which the `ffi` module exports; the other modules are the same engine for Rust programs and tests.
//!
//! Arrows point down only: `ffi → client → shard → protocol`. `protocol` and [`shard::Machine`] know
//! no IO, no clock and no randomness of their own.

#![cfg_attr(test, allow(clippy::unchecked_time_subtraction, reason = "a test may panic"))]

pub mod backplane;
pub mod client;
pub mod config;
mod error;
pub mod ffi;
mod health;
mod histogram;
pub mod identify;
mod log;
mod metrics;
pub mod process;
pub mod protocol;
pub mod queue;
pub mod rest;
mod sessions;
pub mod shard;
pub mod simulation;
mod sqlite;
pub mod store;
mod sync;
pub mod transport;
mod usage;

pub use client::{Client, GatewayInfo, StartLimit};
pub use config::Config;
pub use error::{Error, ErrorKind};
