//! Commands: JSON in, one REPLY event out.

use std::ffi::c_char;

use super::client::shard_client;
use super::guard::guard;
use super::status::{SHARD_OK, shard_status};
use super::{args, handle};

/// Sends a command, a JSON object with a `type` (see the README). When it is accepted, `*command_id`
/// (unless NULL) is its id and exactly one REPLY event with that id will come; when not, none will,
/// and shard_last_error() says what is wrong. Never blocks.
///
/// # Safety
/// `json` must be readable for `json_len` bytes; `command_id` must be NULL or writable.
#[cfg(not(shard_no_short_names))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn send_command(
    client: *mut shard_client,
    json: *const c_char,
    json_len: usize,
    command_id: *mut u64,
) -> shard_status {
    // SAFETY: the caller's promise.
    unsafe { shard_client_send_command(client, json, json_len, command_id) }
}

/// The same as send_command().
///
/// # Safety
/// `json` must be readable for `json_len` bytes; `command_id` must be NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shard_client_send_command(
    client: *mut shard_client,
    json: *const c_char,
    json_len: usize,
    command_id: *mut u64,
) -> shard_status {
    guard(|| {
        let instance = handle::get(client)?;
        // SAFETY: the caller's promise.
        let json = unsafe { args::text("json", json, json_len) }?;
        let id = instance.client.send_command(json)?;
        if !command_id.is_null() {
            // SAFETY: not NULL, and the caller promises the rest.
            unsafe { command_id.write(id) };
        }
        Ok(SHARD_OK)
    })
}

/// Ends a command: its REPLY comes with SHARD_E_CANCELLED. What was sent stays sent.
/// SHARD_E_NOT_FOUND when its reply is written already.
#[unsafe(no_mangle)]
pub extern "C" fn shard_client_cancel(client: *mut shard_client, command_id: u64) -> shard_status {
    guard(|| {
        handle::get(client)?.client.cancel(command_id)?;
        Ok(SHARD_OK)
    })
}
