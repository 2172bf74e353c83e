//! What another SQLite in this process must not do to a file.
//!
//! The locks of SQLite are the process's. A second copy of it in the same process, such as Python's `sqlite3`, sees
//! none of those of the first: as it opens the file it empties the shared memory that the first has mapped, which ends
//! the process with SIGBUS; as it closes the file it removes the log, and takes the locks of the first along.
//! See <https://sqlite.org/howtocorrupt.html#multiple_copies_of_sqlite_linked_into_the_same_application>.
//!
//! Locks that belong to an open file description hold against everybody, within the process too. Those here are the
//! ones that a connection at rest has anyway, so other processes see no difference.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

/// What a connection at rest has locked: the "shared" range of the file, and the byte of the shared memory that says
/// that it is in use. First byte and length, as in SQLite's `os.h` and `os_unix.c`; part of its file format.
const LOCKED: [(&str, i64, i64); 2] = [("", 0x4000_0002, 510), ("-shm", 128, 1)];

/// Locks on a file and its shared memory.
#[derive(Debug)]
pub(super) struct Guard([Option<File>; 2]);

impl Guard {
    /// One that holds nothing yet. What cannot be opened is not guarded.
    pub(super) fn new(path: &Path) -> Self {
        Self(LOCKED.map(|(suffix, ..)| {
            let mut name = OsString::from(path);
            name.push(suffix);
            File::open(name).ok()
        }))
    }

    /// Holds the file.
    pub(super) fn hold(&self) {
        self.set(libc::F_RDLCK);
    }

    /// Lets go of it.
    pub(super) fn release(&self) {
        self.set(libc::F_UNLCK);
    }

    #[cfg(target_os = "linux")]
    fn set(&self, kind: libc::c_int) {
        use nix::fcntl::{FcntlArg, fcntl};

        for (file, (_, l_start, l_len)) in self.0.iter().zip(LOCKED) {
            let Some(file) = file else { continue };
            let (l_type, l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
            let lock = libc::flock { l_type, l_whence, l_start, l_len, l_pid: 0 };
            // A file system without such locks has no guard.
            let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&lock));
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn set(&self, _: libc::c_int) {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::OpenOptions;
    use std::time::Duration;

    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, fcntl};

    use super::super::open;
    use super::*;

    /// Does to the file what another SQLite in this process does.
    #[test]
    fn another_sqlite_gets_no_lock() {
        let path = std::env::temp_dir().join(format!("shardwright-guard-{}", std::process::id()));
        let first = open(&path, Duration::from_secs(1)).expect("a file");
        let second = open(&path, Duration::from_secs(1)).expect("the same");
        drop(first);
        for (suffix, l_start, l_len) in LOCKED {
            let name = format!("{}{suffix}", path.display());
            // With the first file that is closed SQLite's own locks are gone.
            for _ in 0..2 {
                let file =
                    OpenOptions::new().read(true).write(true).open(&name).expect("it is there");
                let l_type = libc::F_WRLCK as libc::c_short;
                let lock = libc::flock { l_type, l_whence: 0, l_start, l_len, l_pid: 0 };
                assert_eq!(fcntl(&file, FcntlArg::F_SETLK(&lock)), Err(Errno::EAGAIN), "{name}");
            }
        }
        second.execute_batch("CREATE TABLE a (x)").expect("all is well");
        drop(second);
        std::fs::remove_file(path).expect("it is there");
    }
}
