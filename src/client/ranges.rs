//! Shards as people write them.

/// Runs of shards, ascending: `0-7`, `9`.
pub fn shard_ranges(shards: impl IntoIterator<Item = u32>) -> Vec<String> {
    let mut shards: Vec<u32> = shards.into_iter().collect();
    shards.sort_unstable();
    let runs = shards.chunk_by(|shard, next| shard + 1 == *next).map(|run| match run {
        [one] => one.to_string(),
        _ => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    runs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_written_as_ranges() {
        let ranges = |shards: &[u32]| shard_ranges(shards.iter().copied()).join(",");
        assert_eq!(ranges(&[0, 1, 2, 3]), "0-3");
        assert_eq!(ranges(&[9, 0, 1, 5, 7, 8]), "0-1,5,7-9");
        assert_eq!(ranges(&[]), "");
    }
}
