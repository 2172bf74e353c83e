//! The REST client against servers that do as the tests say: over pipes in virtual time, and over TCP.

mod bench;
mod limits;
mod network;
mod requests;
mod secrets;
mod tcp;
mod uploads;
