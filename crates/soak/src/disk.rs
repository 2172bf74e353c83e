//! Where the sessions of a world are kept: a directory that is gone with the world.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs, process};

/// A disk on which one process after the other keeps its sessions.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    /// Processes that died with it.
    deaths: u32,
}

impl Disk {
    /// An empty disk.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = env::temp_dir().join(format!("shardwright-soak-{}-{number}", process::id()));
        let disk = Self { root, deaths: 0 };
        fs::create_dir_all(disk.directory()).expect("a place for temporary files");
        disk
    }

    /// What the next process says for `sessions`.
    pub(crate) fn sessions(&self) -> String {
        format!("sqlite:{}", self.directory().join("sessions").display())
    }

    /// The process dies here and now: the next one finds what was written by this moment, whatever
    /// this one writes on its way out.
    pub(crate) fn die(&mut self) {
        let left = self.directory();
        self.deaths += 1;
        copy(&left, &self.directory()).expect("files of ours");
    }

    fn directory(&self) -> PathBuf {
        self.root.join(self.deaths.to_string())
    }
}

/// Copies what a kill leaves: all but SQLite's shared memory, which is the process's own.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().ends_with(b"-shm") {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}
