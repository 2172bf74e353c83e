//! Whether the backplane works, told once each time that changes.

use std::sync::{Mutex, PoisonError};

use tracing::{info, warn};

/// What is wrong with it at the moment, if anything.
#[derive(Debug)]
pub(super) struct Condition {
    /// What it is called in the log; without credentials.
    name: String,
    trouble: Mutex<Option<String>>,
}

impl Condition {
    /// Nothing is known to be wrong.
    pub(super) fn new(name: String) -> Self {
        Self { name, trouble: Mutex::default() }
    }

    /// Something is wrong.
    pub(super) fn worsen(&self, why: &str) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.is_none() {
            warn!("backplane: {}: {why}; shards go on without it", self.name);
        }
        *trouble = Some(format!("{}: {why}", self.name));
    }

    /// It works.
    pub(super) fn mend(&self) {
        if self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            info!("backplane: {} works again", self.name);
        }
    }

    /// What is wrong.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
