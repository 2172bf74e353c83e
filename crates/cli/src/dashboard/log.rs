//! The last lines that a worker of the cluster said.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::Dashboard;
use crate::cluster::log_path;

/// How far back a file is read.
const MAX_BYTES: u64 = 1 << 20;

/// The most lines of one answer.
const MAX_LINES: usize = 1_000;

/// Which lines.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Of this worker, by its name.
    worker: String,
    /// So many.
    lines: Option<usize>,
    /// Only those that name this shard.
    shard: Option<u32>,
}

/// Reads them.
///
/// # Errors
/// When there are none.
pub(crate) async fn tail(dashboard: &Dashboard, wanted: Wanted) -> Result<Value, String> {
    let Wanted { worker, lines, shard } = wanted;
    // Nothing but the names of workers becomes a path.
    let is_known = dashboard.hub.look(|state| {
        state["cluster"]["workers"].get(&worker).is_some_and(|place| place["log"] == true)
    });
    let directory = dashboard.directory.as_deref().filter(|_| is_known).ok_or_else(|| {
        format!("no cluster in reach keeps what {worker:?} says; where it was started knows more")
    })?;
    let path = log_path(directory, &worker);
    let (token, lines) = (dashboard.token.clone(), lines.unwrap_or(200).min(MAX_LINES));
    let read = spawn_blocking(move || read(&path, lines, shard, &token)).await;
    let read = read.map_err(|_| "the dashboard met a bug; see its log".to_owned())?;
    let (lines, complete) =
        read.map_err(|error| format!("the log of {worker} cannot be read: {error}"))?;
    Ok(json!({"lines": lines, "complete": complete}))
}

/// The last lines of a file, and whether those are all that there are.
fn read(
    path: &Path,
    most: usize,
    shard: Option<u32>,
    token: &str,
) -> io::Result<(Vec<String>, bool)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(MAX_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    if from > 0 {
        // Most likely a part of one.
        lines.next();
    }
    let is_wanted = |line: &&str| shard.is_none_or(|shard| names(line, shard));
    let mut found: Vec<&str> = lines.filter(is_wanted).collect();
    let complete = from == 0 && found.len() <= most;
    let found = found.split_off(found.len().saturating_sub(most));
    let hide = |line: &str| {
        // A program may say anything, and this goes to browsers.
        if token.is_empty() { line.to_owned() } else { line.replace(token, "[token]") }
    };
    Ok((found.into_iter().map(hide).collect(), complete))
}

/// Whether a line names a shard: `shard 7`, `shard=7`, `"shard":7`, `[shard 7]`.
fn names(line: &str, shard: u32) -> bool {
    let number = shard.to_string();
    line.match_indices("shard").any(|(at, word)| {
        let rest =
            line[at + word.len()..].trim_start_matches(['"', ':', '=', ' ', '#', '_', 'i', 'd']);
        let rest = rest.strip_prefix(number.as_str());
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_found_in_lines() {
        for line in
            ["shard 7 ready", "INFO shard=7 x", "{\"shard\":7}", "shard_id=7", "in shard #7"]
        {
            assert!(names(line, 7), "{line}");
            assert!(!names(line, 1) && !names(line, 77), "{line}");
        }
        assert!(!names("7 shards", 7));
        assert!(!names("shard 71", 7));
    }

    #[test]
    fn the_last_lines_come_without_the_token() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("worker-0.log");
        std::fs::write(&path, "one\ntwo secret\nshard 3 up\n").expect("written");
        let lines = |most, shard| read(&path, most, shard, "secret").expect("a file");
        assert_eq!(
            lines(2, None),
            (vec!["two [token]".to_owned(), "shard 3 up".to_owned()], false)
        );
        assert_eq!(lines(9, Some(3)), (vec!["shard 3 up".to_owned()], true));
        let long = "x".repeat(100) + "\n";
        std::fs::write(&path, long.repeat(20_000)).expect("written");
        let (found, complete) = lines(1_000, None);
        assert_eq!((found.len(), complete), (1_000, false));
        assert!(found.iter().all(|line| line.len() == 100));
    }
}
