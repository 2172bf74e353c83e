//! What the library must not be built from.

use std::process::Command;

use crate::build::{root, run};

/// With this feature tokio's locks share a table of the threads that wait. A forked child inherits it
/// in any state, its own runtime would trip over entries of threads that it does not have, and abort.
#[test]
fn tokio_is_built_without_parking_lot() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["tree", "--workspace", "--edges=all", "--invert=tokio", "--depth=0"]);
    let output = run(command.args(["--format={f}", "--offline"]).current_dir(root()));
    let features = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(features.contains("rt-multi-thread"), "{features}");
    assert!(!features.contains("parking_lot"), "{features}");
}
