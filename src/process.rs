//! What the system says of processes, and of this machine.

use std::fs::read_to_string;

/// Clock ticks per second that `/proc` counts in: the same for all programs, whatever the kernel itself uses.
const TICKS_PER_SECOND: u64 = 100;

/// What a process takes of its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Memory that it has in use.
    pub memory_bytes: u64,
    /// Processor time since it began.
    pub cpu_ms: u64,
}

/// What this process takes; `None` where the system does not say.
///
/// Sources: <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>,
/// <https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>.
pub fn usage() -> Option<Usage> {
    const UTIME: usize = 14 - 3;
    let stat = read_to_string("/proc/self/stat").ok()?;
    let mut words = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(UTIME);
    let mut ticks = || words.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    let status = read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Usage { memory_bytes: kib * 1024, cpu_ms: ticks * 1_000 / TICKS_PER_SECOND })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_something() {
        let before = usage().expect("a system that says");
        assert!(before.memory_bytes > 1 << 20, "{before:?}");
        // Until it shows: a tick is 10 ms.
        while usage().expect("as before").cpu_ms == before.cpu_ms {}
    }
}
