//! Workers that a cluster left behind when it was killed: they would go on with shards that others get now.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::say;

/// Time between two looks at those that were told to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The list of the workers of a cluster, in its directory.
#[derive(Debug)]
pub(crate) struct Leftovers {
    path: PathBuf,
    written: String,
}

impl Leftovers {
    /// The list of a directory.
    pub(crate) fn of(directory: &Path) -> Self {
        Self { path: directory.join("workers"), written: String::new() }
    }

    /// Stops those in the list that still run, and kills those that do not stop in time.
    pub(crate) fn stop(&self, patience: Duration) {
        let list = fs::read_to_string(&self.path).unwrap_or_default();
        let processes = list.lines().filter_map(|line| {
            let (pid, birth) = line.split_once(' ')?;
            Some((pid.parse().ok()?, birth.to_owned()))
        });
        let mut left: Vec<(i32, String)> = processes.collect();
        left.retain(|(pid, birth)| birth_of(*pid).as_ref() == Some(birth));
        if left.is_empty() {
            return;
        }
        say(format_args!(
            "the cluster before this one left {} workers behind, which are told to stop",
            left.len()
        ));
        let signal_all = |left: &[(i32, String)], signal| {
            for (pid, _) in left {
                let _ = match signal {
                    Signal::SIGKILL => killpg(Pid::from_raw(*pid), signal),
                    signal => kill(Pid::from_raw(*pid), signal),
                };
            }
        };
        signal_all(&left, Signal::SIGTERM);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && !left.is_empty() {
            std::thread::sleep(LOOK_EVERY);
            left.retain(|(pid, birth)| birth_of(*pid).as_ref() == Some(birth));
        }
        signal_all(&left, Signal::SIGKILL);
    }

    /// Notes who runs now, if that has changed.
    pub(crate) fn note(&mut self, pids: impl Iterator<Item = u32>) {
        let line = |pid: u32| {
            let birth = birth_of(pid.cast_signed())?;
            Some(format!("{pid} {birth}\n"))
        };
        let list: String = pids.filter_map(line).collect();
        if list != self.written {
            // With a full disk there is no list: then a killed cluster's workers are found by hand.
            let _ = fs::write(&self.path, &list);
            self.written = list;
        }
    }
}

/// When a process was born, in the kernel's ticks: the same pid at another time is another process. `None` if
/// there is none, or only its body.
///
/// Source: <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>.
fn birth_of(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may have blanks and brackets in it; what follows has none.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    // The 22nd field, and the state is the third.
    let birth = fields.nth(18)?;
    (!matches!(state, "Z" | "X")).then(|| birth.to_owned())
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
