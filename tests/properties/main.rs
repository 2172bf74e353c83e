//! Properties: rules that hold for whatever comes, shown with thousands of made-up inputs (proptest)
//! and with those that the fuzzers found worth keeping.
//!
//! A failure prints the smallest input that shows it, and leaves its seed in a file below
//! `tests/proptest-regressions`, to be committed with the fix.

#![allow(clippy::unchecked_time_subtraction, reason = "a test may panic")]

mod corpora;
mod envelope;
mod gate;
mod inflate;
mod json_text;
mod machine;
mod watchdog;

/// The targets of the fuzzers.
#[allow(unreachable_pub, reason = "they are another crate there")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;
