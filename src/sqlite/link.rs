//! A connection to a file, and what this process has to know of the file meanwhile.

use std::collections::BTreeMap;
use std::fs::metadata;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tracing::warn;

use super::guard::Guard;

/// What this process has open.
static FILES: Mutex<BTreeMap<Inode, File>> = Mutex::new(BTreeMap::new());

/// A device, and an inode of it. It is not used again while it is open.
type Inode = (u64, u64);

/// A file that this process has open.
#[derive(Debug, Default)]
struct File {
    /// Its places, those included that are not connected yet or any more.
    places: usize,
    /// Its connections that are to stay.
    links: usize,
    guard: Option<Guard>,
}

fn files() -> MutexGuard<'static, BTreeMap<Inode, File>> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Connection,
    /// Given up after the connection is closed.
    place: Place,
}

impl Link {
    /// A connection that is ready for use.
    pub(super) fn new(connection: Connection, place: Place) -> Self {
        if let Some(file) = files().get_mut(&place.inode) {
            file.links += 1;
            file.guard.get_or_insert_with(|| Guard::new(&place.path)).hold();
        }
        Self { connection, place }
    }

    /// The link, if what is written over it can be read at its path. Whoever removed or replaced the file did not mean
    /// this process to go on with what has no name any more.
    pub(crate) fn if_current(self) -> Option<Self> {
        let is_current = inode(&self.place.path).is_ok_and(|inode| inode == self.place.inode);
        if !is_current {
            let path = self.place.path.display();
            warn!("{path} was removed or replaced while it was in use; it is opened anew");
        }
        is_current.then_some(self)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(file) = files().get_mut(&self.place.inode) {
            file.links -= 1;
            // The last connection of all processes tidies up as it is closed, which the guard would prevent.
            if let (0, Some(guard)) = (file.links, &file.guard) {
                guard.release();
            }
        }
    }
}

impl Deref for Link {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Link {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// Where a file is, from before it is connected to until after that.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    inode: Inode,
}

impl Place {
    /// Takes the place of a file that is there.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        // Whatever the working directory is later on, and beside what a symbolic link leads to, as SQLite has it.
        let path = path.canonicalize()?;
        let inode = inode(&path)?;
        files().entry(inode).or_default().places += 1;
        Ok(Self { path, inode })
    }

    /// Its path, absolute.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut files = files();
        let Some(file) = files.get_mut(&self.inode) else { return };
        file.places -= 1;
        if file.places == 0 {
            // Not before: with the guard's descriptors the process loses the locks of its connections, too.
            files.remove(&self.inode);
        }
    }
}

fn inode(path: &Path) -> io::Result<Inode> {
    metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
impl From<Connection> for Link {
    /// One without a file.
    fn from(connection: Connection) -> Self {
        Self { connection, place: Place { path: PathBuf::new(), inode: (0, 0) } }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::open;
    use super::*;

    /// A folder that is gone with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = format!("shardwright-sqlite-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(path);
            std::fs::create_dir(&path).expect("a place for temporary files");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A lock of this process that other processes see, on the file that SQLite has in view of its log.
    #[cfg(target_os = "linux")]
    #[test]
    fn another_connection_leaves_the_first_one_its_lock() {
        let folder = Folder::new("locks");
        let path = folder.0.join("file");
        let connect = || open(&path, Duration::from_secs(1)).expect("a file");
        let first = connect();
        first.execute_batch("CREATE TABLE a (x)").expect("room");
        let inode = format!(":{} ", std::fs::metadata(&path).expect("it is there").ino());
        let this = format!(" {} ", std::process::id());
        let is_locked = || {
            let locks = std::fs::read_to_string("/proc/locks").expect("Linux says");
            locks.lines().any(|line| line.contains(&inode) && line.contains(&this))
        };
        assert!(is_locked(), "the first has one");
        let second = connect();
        assert!(is_locked(), "it still has");
        drop((first, second));
    }

    #[test]
    fn a_link_ends_with_its_file() {
        let folder = Folder::new("file");
        let path = folder.0.join("file");
        let name = folder.0.join("name");
        std::os::unix::fs::symlink(&path, &name).expect("a place");
        let link = open(&name, Duration::ZERO).expect("a file");
        link.execute_batch("CREATE TABLE a (x)").expect("room");
        let link = link.if_current().expect("nobody touched it");
        std::fs::rename(&path, folder.0.join("old")).expect("it is there");
        assert!(link.if_current().is_none(), "it leads to another file");
        let link = open(&name, Duration::ZERO).expect("a new file");
        link.execute_batch("CREATE TABLE a (x)").expect("it was empty");
        assert!(link.if_current().is_some());
    }

    /// The last of all connections leaves one file behind, whichever it is.
    #[test]
    fn the_last_one_tidies_up() {
        let folder = Folder::new("tidy");
        let path = folder.0.join("file");
        let names = || {
            let names = std::fs::read_dir(&folder.0).expect("it is there");
            names.count()
        };
        let connect = || open(&path, Duration::from_secs(1)).expect("a file");
        for round in 0..2 {
            let (first, second) = (connect(), connect());
            first.execute_batch(&format!("CREATE TABLE a{round} (x)")).expect("room");
            drop(first);
            assert_eq!(names(), 3);
            let third = connect();
            drop(second);
            assert_eq!(names(), 3);
            drop(third);
            assert_eq!(names(), 1, "round {round}");
            assert!(!files().contains_key(&inode(&path).expect("it is there")));
        }
    }
}
