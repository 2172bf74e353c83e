//! A client's life.

use std::ffi::c_char;

use super::args;
use super::guard::guard;
use super::handle;
use super::instance::Instance;
use super::status::{SHARD_OK, shard_status};
use crate::error::{Error, ErrorKind};
use crate::shard::StopMode;

/// Sessions survive at Discord: for a restart. What shard_client_free() does.
pub const SHARD_STOP_RESUMABLE: u32 = 0;
/// Sessions end (close code 1000); the bot goes offline.
pub const SHARD_STOP_CLOSE: u32 = 1;
/// Drops the sockets and waits for nothing.
pub const SHARD_STOP_ABORT: u32 = 2;

/// A bot in this process: its shards and one event queue. The pointer is a handle that is checked on
/// every call; a stale one is SHARD_E_INVALID_HANDLE, never a crash.
#[derive(Debug)]
pub struct shard_client {
    _private: [u8; 0],
}

/// Makes a client from a JSON object (see the README for its keys). It does nothing until
/// shard_client_start(). The host owns it and frees it with shard_client_free().
///
/// NULL on failure: shard_last_status() and shard_last_error() say why, naming the key.
///
/// # Safety
/// `config_json` must be readable for `config_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shard_client_new(
    config_json: *const c_char,
    config_len: usize,
) -> *mut shard_client {
    guard(|| {
        // SAFETY: the caller's promise.
        let config = unsafe { args::text("config_json", config_json, config_len) }?;
        handle::insert(Instance::new(config)?)
    })
}

/// Starts the client's threads and shards, and returns at once; progress comes as events.
/// SHARD_E_STATE when it was started before; SHARD_E_IO when `metrics_address` cannot be listened on,
/// after which it can be started again.
#[unsafe(no_mangle)]
pub extern "C" fn shard_client_start(client: *mut shard_client) -> shard_status {
    guard(|| {
        handle::get(client)?.start()?;
        Ok(SHARD_OK)
    })
}

/// Waits until every shard has been ready once: `timeout_ms` 0 looks only, a negative one waits for
/// ever. SHARD_E_TIMEOUT; SHARD_E_FATAL when Discord refuses a shard for good; SHARD_E_CLOSED when the
/// client stops first; SHARD_E_INTERRUPTED when a signal handler ran in this thread.
#[unsafe(no_mangle)]
pub extern "C" fn shard_client_wait_ready(
    client: *mut shard_client,
    timeout_ms: i32,
) -> shard_status {
    guard(|| {
        handle::get(client)?.client.wait_ready(args::timeout(timeout_ms))?;
        Ok(SHARD_OK)
    })
}

/// Stops the client (`how`: SHARD_STOP_…) and waits for its threads to end: `timeout_ms` 0 does not
/// wait, a negative one waits as long as it takes, which is a few seconds at most. Events that were
/// received can still be polled; then polls say SHARD_E_CLOSED. Open commands are replied to with
/// SHARD_E_CLOSED. May be called again, also with a more impatient `how`.
///
/// SHARD_E_TIMEOUT when it is still stopping; SHARD_E_INTERRUPTED when a signal handler ran.
#[unsafe(no_mangle)]
pub extern "C" fn shard_client_stop(
    client: *mut shard_client,
    how: u32,
    timeout_ms: i32,
) -> shard_status {
    guard(|| {
        let mode = match how {
            SHARD_STOP_RESUMABLE => StopMode::Resumable,
            SHARD_STOP_CLOSE => StopMode::Close,
            SHARD_STOP_ABORT => StopMode::Abort,
            _ => {
                let text = format!("there is no way {how} to stop; see SHARD_STOP_…");
                return Err(Error::new(ErrorKind::InvalidArgument, text));
            }
        };
        handle::get(client)?.stop(mode, args::timeout(timeout_ms))?;
        Ok(SHARD_OK)
    })
}

/// Frees the client; its handle is invalid from now on. A running one is stopped first as with
/// SHARD_STOP_RESUMABLE, for which it gets two seconds; one that was stopped goes at once. A poll that
/// waits in another thread returns. Events that were polled stay valid until they are released.
///
/// NULL, and a handle that was freed already, are left alone.
#[unsafe(no_mangle)]
pub extern "C" fn shard_client_free(client: *mut shard_client) {
    guard(|| {
        if !client.is_null() {
            handle::remove(client)?.free();
        }
        Ok(())
    });
}
