//! The store, as a host sees it: the same suite on SQLite and on a real PostgreSQL, and what can go
//! wrong with each.

#![allow(clippy::needless_pass_by_value, reason = "json! is written where it is used")]
#![allow(clippy::unchecked_time_subtraction, reason = "a test may panic")]

mod file;
mod host;
mod postgres;
mod postgres_server;
mod sqlite;
mod suite;
