//! How far the host has come with each shard, exactly: for `at_most_once`.
//!
//! A database cannot be written for every poll, and a process that is killed must not hand out twice
//! what its host had taken. So before a poll returns, sixteen bytes per shard go into this file: the
//! session's tag and the sequence number. That is one system call into the page cache, which a kill
//! does not undo. After a loss of power the file may be older than the truth; what is stored in
//! SQLite then counts as far as it is newer.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::queue::Taken;

/// Bytes per shard: the session's tag and a sequence number, both little-endian.
const SLOT_BYTES: usize = 16;

/// The file of one bot with one number of shards.
#[derive(Debug, Clone)]
pub(crate) struct TakenFile {
    file: Arc<File>,
    /// Whether the last write failed.
    failed: Arc<AtomicBool>,
}

impl TakenFile {
    /// Opens or makes it, beside the session file. `failed` says from now on whether the last write failed.
    pub(crate) fn open(
        sessions: &Path,
        bot: &str,
        shard_total: u32,
        failed: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path(sessions, bot, shard_total))?;
        Ok(Self { file: Arc::new(file), failed })
    }

    /// What the host took last of the session with this tag, if it took anything of it.
    pub(crate) fn read(&self, shard_id: u32, tag: u64) -> Option<u64> {
        let mut slot = [0; SLOT_BYTES];
        self.file.read_exact_at(&mut slot, offset(shard_id)).ok()?;
        let [known, seq] = [&slot[..8], &slot[8..]].map(|half| {
            let mut number = [0; 8];
            number.copy_from_slice(half);
            u64::from_le_bytes(number)
        });
        (known == tag).then_some(seq)
    }

    /// What notes for one shard what was taken.
    pub(crate) fn writer(&self, shard_id: u32) -> impl Fn(Taken) + Send + Sync + use<> {
        let Self { file, failed } = self.clone();
        let last = Mutex::new((0, 0));
        move |taken: Taken| {
            // Held while writing: polls of two threads must not write the older number last.
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if (taken.session, taken.seq) <= *last {
                return;
            }
            *last = (taken.session, taken.seq);
            let mut slot = [0; SLOT_BYTES];
            slot[..8].copy_from_slice(&taken.tag.to_le_bytes());
            slot[8..].copy_from_slice(&taken.seq.to_le_bytes());
            let written = file.write_all_at(&slot, offset(shard_id));
            failed.store(written.is_err(), Ordering::Relaxed);
        }
    }
}

/// Where it stands.
fn path(sessions: &Path, bot: &str, shard_total: u32) -> PathBuf {
    let mut path = sessions.as_os_str().to_owned();
    path.push(format!("-taken-{bot}-{shard_total}"));
    path.into()
}

fn offset(shard_id: u32) -> u64 {
    u64::from(shard_id) * SLOT_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(name: &str) -> TakenFile {
        let path =
            std::env::temp_dir().join(format!("shardwright-taken-{}-{name}", std::process::id()));
        let file = TakenFile::open(&path, "1", 4, Arc::default()).expect("a file");
        std::fs::remove_file(super::path(&path, "1", 4)).expect("it is there");
        file
    }

    #[test]
    fn the_newest_of_a_session_is_kept() {
        let file = open("newest");
        assert_eq!(file.read(3, 9), None);
        let write = file.writer(3);
        write(Taken { session: 1, tag: 9, seq: 5 });
        write(Taken { session: 1, tag: 9, seq: 7 });
        write(Taken { session: 1, tag: 9, seq: 6 });
        assert_eq!(file.read(3, 9), Some(7));
        assert_eq!(file.read(3, 8), None, "another session");
        assert_eq!(file.read(2, 9), None, "another shard");
        write(Taken { session: 2, tag: 10, seq: 1 });
        write(Taken { session: 1, tag: 9, seq: 8 });
        assert_eq!((file.read(3, 10), file.read(3, 9)), (Some(1), None));
        assert!(!file.failed.load(Ordering::Relaxed));
    }
}
