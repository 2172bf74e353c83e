//! What all SQLite files of the engine have in common: who may open one, and how.
//!
//! Each of them has its tables elsewhere. All of this blocks: never call it on a thread of the runtime.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

/// Patience with another process that writes. Nothing here takes longer than a few milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Time between two looks at a file that another process makes.
const BUSY_STEP: Duration = Duration::from_millis(5);

/// What is in these files is nobody else's business.
const MODE: u32 = 0o600;

/// The process that uses SQLite, once one does.
static USED_BY: AtomicU32 = AtomicU32::new(0);

/// Opens a file, or makes it, for several processes of one machine.
///
/// # Errors
/// Says why it cannot be used.
pub(crate) fn open(path: &Path) -> Result<Connection, String> {
    // SQLite would take locks of the process that it was forked from for its own, or wait for them for ever.
    let this = std::process::id();
    let used_by = USED_BY.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed);
    if used_by.is_err_and(|other| other != this) {
        return Err("this process was forked from one that has such a file open already, which SQLite \
                    cannot go on from; fork before the first client that uses SQLite, or spawn a new process"
            .to_owned());
    }
    // SQLite itself would make it readable for everybody.
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(path);
    made.map_err(|error| error.to_string())?;
    let connection = Connection::open(path).map_err(|error| error.to_string())?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(|error| error.to_string())?;
    use_wal(&connection).map_err(|error| error.to_string())?;
    Ok(connection)
}

/// Readers and one writer at a time, none of which waits for the other.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    let give_up_at = Instant::now() + BUSY_TIMEOUT;
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
