//! The places that handles name, and who lives in them.

use std::sync::{Arc, PoisonError};

use crate::sync::RwLock;

/// Clients that can be alive at once in a process.
pub(super) const MAX_CLIENTS: usize = 1 << 16;

/// A place, and which of its tenants is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) index: u16,
    pub(super) generation: u32,
}

/// All places, whoever the tenants are.
#[derive(Debug)]
pub(super) struct Table<T>(RwLock<Places<T>>);

/// What the lock protects.
#[derive(Debug)]
struct Places<T> {
    all: Vec<Place<T>>,
    /// Places without a tenant.
    vacant: Vec<u16>,
}

/// A place for one.
#[derive(Debug)]
struct Place<T> {
    /// Counts the tenants.
    generation: u32,
    tenant: Option<Arc<T>>,
}

impl<T> Table<T> {
    /// No places yet.
    pub(super) fn new() -> Self {
        Self(RwLock::new(Places { all: Vec::new(), vacant: Vec::new() }))
    }

    /// Finds a place; `None` when there are [`MAX_CLIENTS`].
    pub(super) fn insert(&self, tenant: T) -> Option<Key> {
        let mut places = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let index = match places.vacant.pop() {
            Some(index) => index,
            None if places.all.len() < MAX_CLIENTS => {
                places.all.push(Place { generation: 0, tenant: None });
                (places.all.len() - 1) as u16
            }
            None => return None,
        };
        let place = &mut places.all[usize::from(index)];
        place.generation = place.generation.wrapping_add(1);
        place.tenant = Some(Arc::new(tenant));
        Some(Key { index, generation: place.generation })
    }

    /// The tenant that is meant, unless it is gone.
    pub(super) fn get(&self, key: Key) -> Option<Arc<T>> {
        let places = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let place = places.all.get(usize::from(key.index))?;
        place.tenant.clone().filter(|_| place.generation == key.generation)
    }

    /// Moves the tenant out; its key is stale from now on.
    pub(super) fn remove(&self, key: Key) -> Option<Arc<T>> {
        let mut places = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let place = places.all.get_mut(usize::from(key.index))?;
        if place.generation != key.generation {
            return None;
        }
        let tenant = place.tenant.take()?;
        places.vacant.push(key.index);
        Some(tenant)
    }
}
