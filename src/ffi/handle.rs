//! Handles: an index and a generation that look like a pointer.
//!
//! A handle is looked up on every call, so that use after free, double free and free during a poll
//! find nothing instead of somebody else's memory. The finalizers of garbage-collected hosts do all
//! three.

use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::client::shard_client;
use super::fork;
use super::instance::Instance;
use super::table::{Key, MAX_CLIENTS, Table};
use crate::error::{Error, ErrorKind};

/// Marks a handle as ours, and as nothing that could be dereferenced: it is odd.
const TAG: u64 = 0x5b;

const _: () = assert!(usize::BITS == 64, "handles need 64-bit pointers");

/// A place in the table, and which of its tenants is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Handle {
    key: Key,
    fork_generation: u8,
}

impl Handle {
    /// `generation | index | fork generation | tag`, from the highest bits down.
    fn to_pointer(self) -> *mut shard_client {
        let bits = u64::from(self.key.generation) << 32
            | u64::from(self.key.index) << 16
            | u64::from(self.fork_generation) << 8
            | TAG;
        std::ptr::without_provenance_mut(bits as usize)
    }

    fn from_pointer(pointer: *const shard_client) -> Option<Self> {
        let bits = pointer.addr() as u64;
        (bits & 0xff == TAG).then_some(Self {
            key: Key { generation: (bits >> 32) as u32, index: (bits >> 16) as u16 },
            fork_generation: (bits >> 8) as u8,
        })
    }
}

/// The table; NULL before the first client, and again in a forked child.
static TABLE: AtomicPtr<Table<Instance>> = AtomicPtr::new(null_mut());

/// Leaves the table to the parent. Only for the fork handler, so nothing is freed.
pub(super) fn forget_table() {
    TABLE.store(null_mut(), Ordering::SeqCst);
}

/// The table, made on first use.
fn table() -> &'static Table<Instance> {
    let mut current = TABLE.load(Ordering::SeqCst);
    if current.is_null() {
        let made = Box::into_raw(Box::new(Table::new()));
        match TABLE.compare_exchange(null_mut(), made, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => current = made,
            Err(other) => {
                // SAFETY: `made` came from `Box::into_raw` just now, and nobody else has seen it.
                drop(unsafe { Box::from_raw(made) });
                current = other;
            }
        }
    }
    // SAFETY: tables are never freed.
    unsafe { &*current }
}

/// Makes a handle for a client.
pub(super) fn insert(instance: Instance) -> Result<*mut shard_client, Error> {
    fork::watch();
    let key = table().insert(instance).ok_or_else(|| {
        let text = format!("{MAX_CLIENTS} clients are alive in this process; free some");
        Error::new(ErrorKind::State, text)
    })?;
    Ok(Handle { key, fork_generation: fork::generation() }.to_pointer())
}

/// The client behind a handle.
///
/// # Errors
/// `InvalidHandle` or `Forked`.
pub(super) fn get(pointer: *const shard_client) -> Result<Arc<Instance>, Error> {
    table().get(check(pointer)?).ok_or_else(stale)
}

/// Takes a client out of the table; its handle is stale from now on.
///
/// # Errors
/// As [`get`].
pub(super) fn remove(pointer: *mut shard_client) -> Result<Arc<Instance>, Error> {
    table().remove(check(pointer)?).ok_or_else(stale)
}

/// What a handle says, if it is one and of this process.
fn check(pointer: *const shard_client) -> Result<Key, Error> {
    if pointer.is_null() {
        return Err(Error::new(ErrorKind::InvalidHandle, "the client is NULL"));
    }
    let Some(handle) = Handle::from_pointer(pointer) else {
        let text = "not a client: the pointer did not come from shard_client_new";
        return Err(Error::new(ErrorKind::InvalidHandle, text));
    };
    if handle.fork_generation != fork::generation() {
        let text = "the client belongs to the process that forked; make a new one in this process";
        return Err(Error::new(ErrorKind::Forked, text));
    }
    Ok(handle.key)
}

/// The error of a handle whose client is gone.
fn stale() -> Error {
    Error::new(ErrorKind::InvalidHandle, "the client was freed")
}
