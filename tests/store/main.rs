//! The store, as a host sees it: the same suite on SQLite and on a real PostgreSQL, and what can go
//! wrong with each.

#![allow(clippy::needless_pass_by_value, reason = "json! is written where it is used")]
#![allow(clippy::unchecked_time_subtraction, reason = "a test may panic")]

#[path = "../client/host.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod client_host;
mod file;
mod host;
mod postgres;
mod postgres_server;
mod records;
mod sqlite;
mod suite;
