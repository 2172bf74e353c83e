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
//! What a world does not have yet: sessions that outlive the process, so a host that starts anew
//! identifies anew, and does so after the window of the identifies before it.
//!
//! - [`world`](World): what a seed means.
//! - [`trouble`](Trouble): what can go wrong.
//! - `network`: pipes that can fail. `host`: the program around the client. `life`: lives through it.
//! - `judge`: what must hold. `shrink`: the least that still breaks it.

mod at;
mod came;
mod commands;
mod disk;
mod host;
mod judge;
mod life;
mod network;
mod numbers;
mod shrink;
mod soak;
mod trouble;
mod world;

pub use life::{Broken, Lived};
pub use shrink::shrink;
pub use soak::{Soak, Verdict};
pub use trouble::Trouble;
pub use world::World;
