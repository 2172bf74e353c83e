//! Doors behind the boundary, for the test library of `tests/abi/panics.rs` that has panics happen there.
//!
//! Compiled with debug assertions only, which no release build has, and exported by no library but that
//! one. A test looks for it in the shipped one.

use std::sync::Arc;

use super::client::shard_client;
use super::guard::guard;
use super::handle;
use super::instance::Instance;
use crate::client::Client;
use crate::error::Error;
use crate::transport::Network;

/// Runs the body of an exported function on a client, as all of them are run.
pub fn call(client: *mut shard_client, body: impl FnOnce(&Client) -> Result<i32, Error>) -> i32 {
    guard(|| body(&handle::get(client)?.client))
}

/// The same as `shard_client_new`, on another network.
pub fn new_client(config_json: &str, network: Arc<dyn Network>) -> *mut shard_client {
    guard(|| handle::insert(Instance::with_network(config_json, network)?))
}
