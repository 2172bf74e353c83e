//! Whole fleets in virtual time: the real client and the real simulator in one process, on tokio's
//! paused clock and pipes in memory.
//!
//! A seed makes a [`World`]: how many shards, how busy, and what troubles it goes through, from reset
//! sockets to an outage of all of Discord, slow hosts and a machine that was suspended. [`World::run`]
//! lives through it and checks afterwards, against what the simulator sent and saw, that the promises
//! held: nothing lost, doubled or out of order (1), heartbeats in time (2), the identify limits and
//! the budget kept (3), no more sent than allowed (4), every shard back (5), nothing crashed (6), no
//! token told (7), queues within their bounds (8).
//!
//! Some worlds keep their sessions in a file, and their host stops and dies and goes on where it was:
//! with `at_least_once` nothing is lost and what comes twice is flagged, with `at_most_once` nothing
//! comes twice and what no poll had returned is not lost, and what Discord kept costs no identify. Some
//! are resharded, with and without kept sessions, amid everything else: each event comes once, those of
//! a guild in their order, and whatever became of it, a last reshard without trouble succeeds. Worlds
//! whose queue drops events have neither, for what it drops cannot be told from what was lost.
//!
//! A known gap: a host that restarts amid a reshard may get again, flagged, what the old set of shards had
//! delivered and the new one not yet, with `at_most_once` too.
//!
//! A host that dies leaves what it had written by then, and its client is aborted; a client that is
//! really killed is what `tests/client/killed.rs` has.
//!
//! - [`world`](World): what a seed means.
//! - [`trouble`](Trouble): what can go wrong.
//! - `network`: pipes that can fail. `disk`: where sessions are kept. `host`: the program around the
//!   client, with what it asks for (`commands`) and takes (`dispatch`). `life`: lives through it, to the
//!   end (`recovery`).
//! - `came`: what came of a session. `numbers`: what came of the world's events.
//! - `judge`: what must hold. `shrink`: the least that still breaks it.

mod at;
mod came;
mod commands;
mod disk;
mod dispatch;
mod host;
mod judge;
mod life;
mod network;
mod numbers;
mod recovery;
mod shrink;
mod soak;
mod trouble;
mod world;

pub use life::{Broken, Lived};
pub use shrink::shrink;
pub use soak::{Soak, Verdict};
pub use trouble::Trouble;
pub use world::World;
