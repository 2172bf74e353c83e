//! Several clients of one bot and what they share, with a SQLite file and with a real Redis server that
//! the tests start: the same tests on both. In real time, for a server has no other.

#![allow(clippy::unchecked_time_subtraction, reason = "a test may panic")]

mod backend;
mod cache;
mod calls;
mod cluster;
mod faults;
mod forward;
#[path = "../client/host.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod host;
mod jobs;
mod latency;
mod leases;
mod machines;
mod messages;
mod operator;
mod outages;
mod proxy;
mod redis_server;
mod sessions;
mod standby;
#[path = "../client/temp_file.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod temp_file;
mod tls;
mod turns;
