//! The log callback: one for the process, used by the clients whose config asks for it.

use std::ffi::{c_char, c_void};
use std::sync::{PoisonError, RwLock};

use tracing::Dispatch;

use super::guard::{self, guard};
use super::status::{SHARD_OK, shard_status};
use crate::client::Client;
use crate::error::{Error, ErrorKind};

/// Log level 0: nothing.
pub const SHARD_LOG_OFF: i32 = 0;
/// Log level 1: what needs a person.
pub const SHARD_LOG_ERROR: i32 = 1;
/// Log level 2: what may need one.
pub const SHARD_LOG_WARN: i32 = 2;
/// Log level 3: what an operator wants to read later.
pub const SHARD_LOG_INFO: i32 = 3;
/// Log level 4: every step.
pub const SHARD_LOG_DEBUG: i32 = 4;
/// Log level 5: every payload's envelope.
pub const SHARD_LOG_TRACE: i32 = 5;

/// Takes one log line, on one of the engine's threads. `target` and `text` are UTF-8, not
/// NUL-terminated, and valid during the call only. It must not block, and of this library it may call
/// only the functions that take no client.
pub type shard_log_fn = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        level: i32,
        target: *const c_char,
        target_len: usize,
        text: *const c_char,
        text_len: usize,
    ),
>;

/// The callback that is in place.
#[derive(Clone, Copy)]
struct Callback {
    call: unsafe extern "C" fn(*mut c_void, i32, *const c_char, usize, *const c_char, usize),
    userdata: *mut c_void,
    level: i32,
}

// SAFETY: the host hands over `userdata` for use on the engine's threads; that is what
// `shard_set_log_callback` is for, and its documentation says so.
unsafe impl Send for Callback {}
// SAFETY: as above.
unsafe impl Sync for Callback {}

/// The callback. Read-locked during each call, so that one that was taken away is not running any more.
static CALLBACK: RwLock<Option<Callback>> = RwLock::new(None);

/// Sets the function that takes the log lines of every client with `"log":{"to":"callback"}`, up to
/// `level` (SHARD_LOG_…; the client's own level applies too), or takes it away with NULL. When this
/// returns, the function that was set before is not running and will not be called again.
///
/// `userdata` is passed on as it is, on any of the engine's threads. Returns SHARD_OK;
/// SHARD_E_INVALID_ARG for an unknown level; SHARD_E_STATE from inside a log callback.
#[unsafe(no_mangle)]
pub extern "C" fn shard_set_log_callback(
    callback: shard_log_fn,
    userdata: *mut c_void,
    level: i32,
) -> shard_status {
    guard(|| {
        if !(SHARD_LOG_OFF..=SHARD_LOG_TRACE).contains(&level) {
            let text = format!("there is no log level {level}; levels go from 0 to 5");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let callback = callback.map(|call| Callback { call, userdata, level });
        *CALLBACK.write().unwrap_or_else(PoisonError::into_inner) = callback;
        Ok(SHARD_OK)
    })
}

/// The log of one client's threads.
pub(super) fn subscriber(client: &Client) -> Dispatch {
    crate::log::subscriber(client.config().log, client.queue(), Box::new(call))
}

/// Hands a line to the callback, if there is one.
fn call(level: i32, target: &str, text: &str) {
    // A callback that makes the engine log would wait for itself.
    if guard::is_in_callback() {
        return;
    }
    let callback = CALLBACK.read().unwrap_or_else(PoisonError::into_inner);
    let Some(Callback { call, userdata, level: most }) = *callback else { return };
    if level > most {
        return;
    }
    guard::in_callback(|| {
        let (target_len, text_len) = (target.len(), text.len());
        // SAFETY: the host set this function for this purpose, and the texts outlive the call.
        unsafe {
            call(
                userdata,
                level,
                target.as_ptr().cast(),
                target_len,
                text.as_ptr().cast(),
                text_len,
            );
        };
    });
}
