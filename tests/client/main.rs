//! The whole client against the simulator: in virtual time over pipes in memory where time matters,
//! over real sockets where sockets do. One file per promise.

#![allow(clippy::unchecked_time_subtraction, reason = "a test may panic")]

mod backpressure;
mod commands;
mod events;
mod guilds;
mod host;
mod identify_limits;
mod killed;
mod lifecycle;
mod members;
mod monitoring;
mod panics;
mod proxy;
mod refusals;
mod reshard;
mod restart;
mod resume;
mod sessions;
mod temp_file;
mod tls;
