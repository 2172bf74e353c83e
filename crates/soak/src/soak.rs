//! Many worlds, on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::life::{Broken, Lived};
use crate::shrink::shrink;
use crate::world::World;

/// A row of worlds.
#[derive(Debug)]
pub struct Soak {
    worlds: Vec<World>,
}

/// What became of a world.
#[derive(Debug)]
pub struct Verdict {
    /// The world; a broken one with the troubles that it takes to break it.
    pub world: World,
    /// What it was like.
    pub result: Result<Lived, Broken>,
}

impl Soak {
    /// The worlds of `seed`, `seed` + 1, … until there are that many shard-hours in them; at least
    /// one.
    pub fn new(seed: u64, shard_hours: f64) -> Self {
        let mut worlds = vec![World::new(seed)];
        let mut hours = worlds[0].shard_hours();
        while hours < shard_hours {
            let world = World::new(seed.wrapping_add(worlds.len() as u64));
            hours += world.shard_hours();
            worlds.push(world);
        }
        Self { worlds }
    }

    /// The worlds.
    pub fn worlds(&self) -> &[World] {
        &self.worlds
    }

    /// Lives through all of them, as many at once as there are cores, and tells of each as it ends.
    pub fn run(&self, tell: impl FnMut(Verdict) + Send) {
        let next = AtomicUsize::new(0);
        let tell = Mutex::new(tell);
        let work = || {
            while let Some(world) = self.worlds.get(next.fetch_add(1, Ordering::Relaxed)) {
                let verdict = match world.run() {
                    Ok(lived) => Verdict { world: world.clone(), result: Ok(lived) },
                    Err(broken) => {
                        let (world, broken) = shrink(world, broken);
                        Verdict { world, result: Err(broken) }
                    }
                };
                let mut tell = tell.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                tell(verdict);
            }
        };
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    }
}
