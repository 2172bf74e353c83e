//! Files and directories for one test.

use std::path::{Path, PathBuf};

/// A file that is gone with the test.
pub(crate) struct TempFile(PathBuf);

impl TempFile {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("shardwright-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("a place for temporary files");
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &PathBuf {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A directory that is gone with the test.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("shardwright-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).expect("a place for temporary files");
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes all files that are in it.
    pub(crate) fn clear(&self) {
        for file in std::fs::read_dir(&self.0).expect("it is there") {
            std::fs::remove_file(file.expect("it is there").path()).expect("ours");
        }
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
