//! What the system says of processes, and of this machine.

use std::fs::read_to_string;

/// When a process began, as the system counts; the same id with another beginning is another process. `None` when
/// it is not there, or only its exit code waits for its parent.
///
/// Source: <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>.
pub fn began_at(pid: u32) -> Option<u64> {
    const STARTTIME: usize = 22 - 3;
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may have anything in it.
    let mut words = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if matches!(words.clone().next()?, "Z" | "X") {
        return None;
    }
    words.nth(STARTTIME)?.parse().ok()
}

/// What this machine calls itself.
pub fn host_name() -> String {
    let kernel = read_to_string("/proc/sys/kernel/hostname");
    let name = kernel.ok().or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown" } else { name }.to_owned()
}
