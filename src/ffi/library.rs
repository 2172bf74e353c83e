//! Functions of the library itself: no client, never blocking.

use std::ffi::{CStr, c_char};
use std::num::NonZeroU32;

use super::status::{NAMES, shard_status};
use super::{args, last_error};
use crate::protocol::shard_for_guild as shard_of;
use crate::queue::NO_SHARD;

/// The version of this ABI: major << 16 | minor. The major number changes when something that a host
/// relies on changes; the minor number when something is added.
pub const SHARD_ABI_VERSION: u32 = 0x0001_0000;

/// The version of the ABI that the library speaks. Compare `>> 16` with that of SHARD_ABI_VERSION
/// when you load it, and refuse another one.
#[unsafe(no_mangle)]
pub extern "C" fn shard_abi_version() -> u32 {
    SHARD_ABI_VERSION
}

/// The version of the library, for people: `"shardwright/0.1.0 …"`. Static, NUL-terminated.
#[unsafe(no_mangle)]
pub extern "C" fn shard_version() -> *const c_char {
    const TEXT: &CStr = match CStr::from_bytes_with_nul(
        concat!("shardwright/", env!("CARGO_PKG_VERSION"), " abi/1.0\0").as_bytes(),
    ) {
        Ok(text) => text,
        Err(_) => panic!("checked at compile time"),
    };
    TEXT.as_ptr()
}

/// The name of a status, such as `"SHARD_E_CLOSED"`. Static, NUL-terminated, never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn shard_status_name(status: shard_status) -> *const c_char {
    let name = NAMES.iter().find(|(known, _)| *known == status).map(|(_, name)| *name);
    name.unwrap_or(c"unknown status").as_ptr()
}

/// The status of the last call that failed in this thread; SHARD_OK when none did.
#[unsafe(no_mangle)]
pub extern "C" fn shard_last_status() -> shard_status {
    last_error::with(|status, _| status)
}

/// Copies what went wrong last in this thread into `buf`: UTF-8, cut to `cap` bytes if it is longer,
/// with a NUL behind it where there is room. Returns the full length; 0 when nothing went wrong.
/// With a NULL `buf` it only returns the length.
///
/// # Safety
/// Unless it is NULL, `buf` must have room for `cap` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shard_last_error(buf: *mut c_char, cap: usize) -> usize {
    last_error::with(|_, text| {
        if !buf.is_null() && cap > 0 {
            let fits = text.floor_char_boundary(cap - 1);
            // SAFETY: the caller promises the room.
            unsafe { args::copy(&text[..fits], buf, cap) };
        }
        text.len()
    })
}

/// The shard that carries a guild when a bot has `total_shards`: `(guild_id >> 22) % total_shards`.
/// SHARD_NONE when `total_shards` is 0.
#[unsafe(no_mangle)]
pub extern "C" fn shard_for_guild(guild_id: u64, total_shards: u32) -> u32 {
    NonZeroU32::new(total_shards).map_or(NO_SHARD, |total| shard_of(guild_id, total))
}
