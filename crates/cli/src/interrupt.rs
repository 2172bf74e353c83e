//! Ctrl-C and `kill`.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::Notify;

/// Waits for the first SIGINT, SIGTERM or SIGHUP from now on. May be called once.
///
/// # Errors
/// When it was called before.
pub(crate) fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    let notify = Arc::new(Notify::new());
    let waiting = Arc::clone(&notify);
    ctrlc::set_handler(move || notify.notify_one()).context("cannot wait for Ctrl-C")?;
    Ok(async move { waiting.notified().await })
}
