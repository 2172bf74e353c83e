//! Looking at a client.

use std::ffi::c_char;

use super::client::shard_client;
use super::guard::guard;
use super::status::{SHARD_OK, shard_status};
use super::{args, handle};

/// Writes how the client is doing into `buf` as a JSON object: its stage, its queue, and for every
/// shard its state, session, sequence, latency, counts and last error. `*len` is the full length, also
/// with SHARD_E_BUFFER_TOO_SMALL; a NUL follows where there is room.
///
/// # Safety
/// `buf` must be NULL or have room for `cap` bytes; `len` must be writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shard_client_status_json(
    client: *mut shard_client,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> shard_status {
    guard(|| {
        let text = handle::get(client)?.client.status_json();
        // SAFETY: the caller's promise.
        unsafe { args::copy_out(&text, buf, cap, len) }?;
        Ok(SHARD_OK)
    })
}

/// Writes the client's numbers into `buf` for Prometheus, with the same rules. The format is OpenMetrics,
/// `application/openmetrics-text; version=1.0.0; charset=utf-8`. See `metrics_address` of the
/// configuration for an endpoint that does it all.
///
/// # Safety
/// As shard_client_status_json().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shard_client_metrics_text(
    client: *mut shard_client,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> shard_status {
    guard(|| {
        let text = handle::get(client)?.client.metrics_text();
        // SAFETY: the caller's promise.
        unsafe { args::copy_out(&text, buf, cap, len) }?;
        Ok(SHARD_OK)
    })
}

/// A readiness probe: SHARD_OK when every shard is ready, else the worst reason why not, which is one
/// of SHARD_E_FATAL, SHARD_E_CLOSED and SHARD_E_STATE; shard_last_error() says which shard and why.
#[unsafe(no_mangle)]
pub extern "C" fn shard_client_healthy(client: *mut shard_client) -> shard_status {
    guard(|| {
        handle::get(client)?.client.healthy()?;
        Ok(SHARD_OK)
    })
}
