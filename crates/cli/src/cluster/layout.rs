//! Which worker runs which shards.

use std::fmt;

use anyhow::{bail, ensure};

/// The shards of a bot, laid out over its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Shards of the bot.
    pub(crate) shards: u32,
    /// Processes that run them.
    pub(crate) workers: u32,
}

/// The shards of one worker. Shows as SHARDWRIGHT_SHARDS has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// The first.
    pub(crate) from: u32,
    /// The last.
    pub(crate) to: u32,
    /// Shards of the bot.
    pub(crate) total: u32,
}

impl Range {
    /// How many they are: at least one.
    pub(crate) fn count(self) -> u32 {
        self.to - self.from + 1
    }

    /// Whether a shard is one of them.
    pub(crate) fn contains(self, shard: u32) -> bool {
        (self.from..=self.to).contains(&shard)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}/{}", self.from, self.to, self.total)
    }
}

impl Layout {
    /// A layout that works.
    ///
    /// # Errors
    /// When there would be a worker without shards, or nothing at all.
    pub(crate) fn new(shards: u32, workers: u32) -> anyhow::Result<Self> {
        if shards == 0 || workers == 0 {
            bail!("there is nothing to plan for 0 shards or 0 processes");
        }
        ensure!(workers <= shards, "{workers} processes are more than {shards} shards; use fewer");
        Ok(Self { shards, workers })
    }

    /// The shards of each worker, in even parts.
    pub(crate) fn ranges(self) -> impl Iterator<Item = Range> {
        let bound = move |worker: u32| {
            u32::try_from(u64::from(self.shards) * u64::from(worker) / u64::from(self.workers))
                .unwrap_or(self.shards)
        };
        (0..self.workers).map(move |worker| Range {
            from: bound(worker),
            to: bound(worker + 1) - 1,
            total: self.shards,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_every_shard_once() {
        for (shards, workers) in [(1, 1), (7, 3), (16, 4), (1_000, 7)] {
            let layout = Layout::new(shards, workers).expect("a layout");
            let all: Vec<u32> = layout.ranges().flat_map(|range| range.from..=range.to).collect();
            assert_eq!(all, (0..shards).collect::<Vec<_>>());
        }
    }

    #[test]
    fn nobody_is_left_without_shards() {
        for (shards, workers) in [(0, 1), (1, 0), (2, 3)] {
            assert!(Layout::new(shards, workers).is_err());
        }
    }
}
