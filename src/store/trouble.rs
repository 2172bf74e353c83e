//! What is wrong with the store at the moment: told once when it begins and once when it ends.

use std::sync::{Mutex, PoisonError};

use tracing::{info, warn};

/// What is wrong with one store.
#[derive(Debug)]
pub(super) struct Trouble {
    /// What the store is called: a path, or hosts. Without credentials.
    name: String,
    now: Mutex<Option<String>>,
}

impl Trouble {
    /// None yet.
    pub(super) fn new(name: String) -> Self {
        Self { name, now: Mutex::default() }
    }

    /// What it is, if anything.
    pub(super) fn get(&self) -> Option<String> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The store cannot be used. Returns the text for people.
    pub(super) fn begin(&self, why: &str) -> String {
        let text = format!("{}: {why}", self.name);
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.is_none() {
            warn!("store: {text}; shards go on, commands for the store wait or fail");
        }
        *now = Some(text.clone());
        text
    }

    /// The store can be used.
    pub(super) fn end(&self) {
        if self.now.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            info!("store: {} can be used again", self.name);
        }
    }
}
