//! The least that still breaks a world.

use crate::life::Broken;
use crate::world::World;

/// Runs that may be spent on it.
const MAX_RUNS: usize = 200;

/// Leaves troubles out, as many as can be, while the world is still broken in the same way.
pub fn shrink(world: &World, broken: Broken) -> (World, Broken) {
    let (mut world, mut broken) = (world.clone(), broken);
    let mut runs = 0;
    let mut part = world.troubles.len().div_ceil(2);
    while part > 0 && runs < MAX_RUNS {
        let mut from = 0;
        while from < world.troubles.len() && runs < MAX_RUNS {
            let mut smaller = world.clone();
            let to = (from + part).min(smaller.troubles.len());
            smaller.troubles.drain(from..to);
            runs += 1;
            match smaller.run() {
                Err(other) if kind(&other) == kind(&broken) => (world, broken) = (smaller, other),
                _ => from = to,
            }
        }
        part /= 2;
    }
    (world, broken)
}

/// The first problem without its numbers.
fn kind(broken: &Broken) -> String {
    let first = broken.problems.first().map_or("", String::as_str);
    first.chars().filter(|c| c.is_alphabetic()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Discord with another rule than the client knows: the judge notices, and no trouble is needed.
    #[test]
    fn a_broken_world_is_found_and_made_small() {
        let mut world = World::new(47);
        world.options.identify_window_ms = 60_000;
        let broken = world.run().expect_err("identifies came too soon");
        assert!(broken.problems[0].contains("IdentifyTooSoon"), "{broken}");
        let (small, broken) = shrink(&world, broken);
        assert!(small.troubles.len() < world.troubles.len());
        assert!(broken.problems[0].contains("IdentifyTooSoon"), "{broken}");
        assert!(!broken.history.is_empty());
    }
}
