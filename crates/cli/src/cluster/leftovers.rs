//! Workers that a cluster left behind when it was killed: they would go on with shards that others get now.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use shardwright::process::began_at;

use super::say;

/// Time between two looks at those that were told to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The list of the workers of a cluster, in its directory.
#[derive(Debug)]
pub(crate) struct Leftovers {
    path: PathBuf,
    /// Who was noted last.
    pids: Vec<u32>,
}

impl Leftovers {
    /// The list of a directory.
    pub(crate) fn of(directory: &Path) -> Self {
        Self { path: directory.join("workers"), pids: Vec::new() }
    }

    /// Stops those in the list that still run, and kills those that do not stop in time.
    pub(crate) fn stop(&self, patience: Duration) {
        let list = fs::read_to_string(&self.path).unwrap_or_default();
        let processes = list.lines().filter_map(|line| {
            let (pid, began) = line.split_once(' ')?;
            Some((pid.parse().ok()?, began.parse().ok()?))
        });
        let runs = |(pid, began): &(u32, u64)| began_at(*pid) == Some(*began);
        let mut left: Vec<(u32, u64)> = processes.filter(runs).collect();
        if left.is_empty() {
            return;
        }
        say(format_args!(
            "the cluster before this one left {} workers behind, which are told to stop",
            left.len()
        ));
        let signal_all = |left: &[(u32, u64)], signal| {
            for (pid, _) in left {
                let pid = Pid::from_raw(pid.cast_signed());
                let _ = match signal {
                    Signal::SIGKILL => killpg(pid, signal),
                    signal => kill(pid, signal),
                };
            }
        };
        signal_all(&left, Signal::SIGTERM);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && !left.is_empty() {
            std::thread::sleep(LOOK_EVERY);
            left.retain(runs);
        }
        signal_all(&left, Signal::SIGKILL);
    }

    /// Notes who runs now, if that has changed.
    pub(crate) fn note(&mut self, pids: impl Iterator<Item = u32>) {
        let pids: Vec<u32> = pids.collect();
        if pids == self.pids {
            return;
        }
        let line = |pid: &u32| Some(format!("{pid} {}\n", began_at(*pid)?));
        let list: String = pids.iter().filter_map(line).collect();
        // With a full disk there is no list: then a killed cluster's workers are found by hand.
        let _ = fs::write(&self.path, list);
        self.pids = pids;
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn who_was_left_behind_is_stopped() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut sleeper =
            Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().expect("a process");
        let mut list = Leftovers::of(directory.path());
        list.note([sleeper.id()].into_iter());
        // Another process with the pid of one in the list is none of ours.
        let own = format!("{} 1\n", std::process::id());
        fs::write(&list.path, fs::read_to_string(&list.path).expect("a list") + &own)
            .expect("room");
        let waiting = std::thread::spawn(move || sleeper.wait().expect("it ends"));
        Leftovers::of(directory.path()).stop(Duration::from_secs(600));
        assert!(!waiting.join().expect("no panic").success());
    }
}
