//! The C ABI. Each file exports the functions of one noun; none of them decides anything.
//!
//! `include/shardwright.h` is generated from these files by cbindgen, doc comments and all, so what
//! is written here is what C programmers read. The rules that hold for every function:
//!
//! - Panics never cross the boundary (`guard`).
//! - A handle is an index into a table with a generation, not a pointer, so that a stale one is a
//!   status (`handle`).
//! - Every pointer comes with its length; NULL with length 0 is empty (`args`).
//! - The text of a failure is kept for the thread it happened in (`last_error`).
//!
//! This is one of the two places in the engine that need `unsafe`; the other is the readiness
//! descriptor in `queue`.
#![allow(unsafe_code)]
// C names; and handles are checked, so that a wrong pointer there is safe.
#![allow(non_camel_case_types, clippy::not_unsafe_ptr_arg_deref)]

mod args;
mod client;
mod command;
mod event;
mod fork;
mod guard;
mod handle;
mod instance;
mod last_error;
mod library;
mod log;
mod observe;
mod runtime;
mod status;
mod table;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod testing;

pub use self::client::*;
pub use self::command::*;
pub use self::event::*;
pub use self::library::*;
pub use self::log::*;
pub use self::observe::*;
pub use self::status::*;
