//! The REST client against servers that do as the tests say: over pipes in virtual time, and over TCP.

#![allow(clippy::unchecked_time_subtraction, reason = "a test may panic")]

mod bench;
mod limits;
mod network;
mod requests;
mod secrets;
mod tcp;
mod uploads;
