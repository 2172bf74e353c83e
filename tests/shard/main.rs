//! The life of one shard in virtual time: the machine against a gateway written in the test.
//!
//! No socket, no sleep. Each test says which of the numbered scenarios it shows.

#![allow(clippy::unchecked_time_subtraction, reason = "a test may panic")]

mod bench;
mod close_codes;
mod commands;
mod handshake;
mod heartbeat;
mod identify;
mod resume;
mod watchdog;
mod whole_life;
