//! What the library must not be built from.

use std::process::Command;

use crate::build::{root, run};

/// What these features of tokio keep is the process's, and a forked child inherits it. With
/// `parking_lot` that is a table of the threads that wait, in any state: the child's own runtime would
/// trip over entries of threads that it does not have, and abort. With the others it is a pipe for
/// signals, which no client needs and nobody closes.
const FORBIDDEN: [&str; 3] = ["parking_lot", "process", "signal"];

#[test]
fn tokio_is_built_without_what_does_not_survive_a_fork() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["tree", "--workspace", "--edges=all", "--invert=tokio", "--depth=0"]);
    let output = run(command.args(["--format={f}", "--offline"]).current_dir(root()));
    let features = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(features.contains("rt-multi-thread"), "{features}");
    for feature in FORBIDDEN {
        assert!(!features.split(',').any(|used| used.trim() == feature), "{feature}: {features}");
    }
}
