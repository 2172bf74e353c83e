//! SQLite files, opened the same way whatever is in them: safe to share between the processes of one
//! machine, and refused where SQLite itself could not tell that it is not safe.

mod guard;
mod link;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

pub(crate) use self::link::Link;
use self::link::Place;

/// What is in these files is no secret without the token, but nobody else's business either.
const MODE: u32 = 0o600;

/// Time between two looks at a file that another process makes.
const BUSY_STEP: Duration = Duration::from_millis(5);

/// The process that uses SQLite, once one does.
static USED_BY: AtomicU32 = AtomicU32::new(0);

/// Opens a file, or makes it. `patience` is how long it waits for another process that writes.
///
/// # Errors
/// Says why it cannot be used.
pub(crate) fn open(path: &Path, patience: Duration) -> Result<Link, String> {
    // SQLite would take locks of the process that it was forked from for its own, or wait for them for ever.
    let this = std::process::id();
    let used_by = USED_BY.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed);
    if used_by.is_err_and(|other| other != this) {
        return Err("this process was forked from one that has such a file open already, which SQLite \
                    cannot go on from; fork before the first client that has a file, or spawn a new process"
            .to_owned());
    }
    make(path).map_err(|error| error.to_string())?;
    let place = Place::take(path).map_err(|error| error.to_string())?;
    let connection = Connection::open(place.path()).map_err(|error| error.to_string())?;
    prepare(&connection, patience).map_err(|error| error.to_string())?;
    Ok(Link::new(connection, place))
}

/// Makes the file where there is none: SQLite itself would make it readable for everybody.
///
/// One that is there is not opened, not even to be closed at once: with any descriptor of a file that a process
/// closes it loses all its locks on that file, those of its SQLite connections too. Then another process that
/// closes its own takes itself for the last one, and removes the log that this one still writes to.
fn make(path: &Path) -> io::Result<()> {
    // Nobody has a connection to it before the descriptor that made it is closed.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let make = |options: &mut OpenOptions| options.write(true).mode(MODE).open(path).map(drop);
    match make(OpenOptions::new().create_new(true)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        // A symbolic link that leads to nothing yet.
        Err(_) if !path.exists() => make(OpenOptions::new().create(true).truncate(false)),
        _ => Ok(()),
    }
}

/// What holds for every connection.
fn prepare(connection: &Connection, patience: Duration) -> rusqlite::Result<()> {
    connection.busy_timeout(patience)?;
    use_wal(connection, patience)?;
    // A loss of power may undo the last second; a killed process undoes nothing.
    connection.pragma_update(None, "synchronous", "normal")?;
    // From its first look at the tables on it has the log open, and a lock that says so.
    connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// Readers and one writer at a time, none of which waits for the other.
fn use_wal(connection: &Connection, patience: Duration) -> rusqlite::Result<()> {
    let give_up_at = Instant::now() + patience;
    loop {
        // A new file is made one by one process, and here SQLite does not wait for another.
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < give_up_at =>
            {
                std::thread::sleep(BUSY_STEP);
            }
            result => return result,
        }
    }
}

/// Brings the tables up to date: each step is done once, in order, whichever process comes first. The file
/// keeps count in its `user_version`.
///
/// # Errors
/// Says why that failed, or that the file is from a later version, and is left alone.
pub(crate) fn migrate(connection: &mut Connection, steps: &[&str]) -> Result<(), String> {
    let version = |connection: &Connection| {
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))
    };
    // With nothing to write, nobody who writes has to be waited for.
    if version(connection).is_ok_and(|done| done as usize == steps.len()) {
        return Ok(());
    }
    let migrated = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let migrate = || {
        let transaction = migrated?;
        let done = version(&transaction)?;
        let Some(missing) = steps.get(done as usize..) else { return Ok(false) };
        for step in missing {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", steps.len() as u32)?;
        transaction.commit()?;
        Ok(true)
    };
    match migrate() {
        Ok(true) => Ok(()),
        Ok(false) => Err("it was written by a later version of Shardwright".to_owned()),
        Err(error) => Err(rusqlite::Error::to_string(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_done_once_and_a_later_version_is_left_alone() {
        let mut memory = Connection::open_in_memory().expect("memory");
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b (x)"];
        assert_eq!(migrate(&mut memory, &steps[..1]), Ok(()));
        assert_eq!(migrate(&mut memory, &steps), Ok(()));
        assert_eq!(migrate(&mut memory, &steps), Ok(()));
        memory.execute_batch("SELECT * FROM a, b").expect("both are there");
        let refused = migrate(&mut memory, &steps[..1]);
        assert!(refused.expect_err("too new").contains("later version"));
    }
}
