//! What a worker says, in a file that does not grow for ever.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Older parts of a file that are kept, as `NAME.1` and so on.
const KEPT: u32 = 5;

/// The file of a worker, in the directory of its cluster.
pub(crate) fn path_of(directory: &Path, worker: &str) -> PathBuf {
    directory.join(format!("{}.log", worker.replace(' ', "-")))
}

/// A file that lines are added to. When it is full it becomes the newest of the older ones, and the oldest
/// goes.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    file: File,
    bytes: u64,
}

impl LogFile {
    /// Goes on with a file, or begins it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), max_bytes, file, bytes })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When the disk is full, say. The line is lost then; the next one is tried again.
    pub(crate) fn add(&mut self, line: &str) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.max_bytes {
            self.rotate()?;
        }
        writeln!(self.file, "{line}")?;
        self.bytes += line.len() as u64 + 1;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let older = |number: u32| {
            let mut path = self.path.clone().into_os_string();
            path.push(format!(".{number}"));
            PathBuf::from(path)
        };
        for number in (1..KEPT).rev() {
            match fs::rename(older(number), older(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, older(1))?;
        *self = Self::open(&self.path, self.max_bytes)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_makes_room() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("worker-0.log");
        let mut log = LogFile::open(&path, 10).expect("a file");
        for number in 0..20 {
            log.add(&format!("line {number:02}")).expect("room");
        }
        drop(log);
        let mut log = LogFile::open(&path, 10).expect("the same file");
        log.add("a line that is longer than all").expect("room");
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).expect(name);
        assert_eq!(read("worker-0.log"), "a line that is longer than all\n");
        assert_eq!(read("worker-0.log.1"), "line 19\n");
        assert_eq!(read("worker-0.log.5"), "line 15\n");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 6);
    }
}
