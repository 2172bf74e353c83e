//! Every file of `fuzz/corpus`, as the fuzzers run it. `make fuzz` looks for new ones.

use std::panic::catch_unwind;
use std::path::Path;

use crate::targets::TARGETS;

#[test]
fn the_fuzzers_corpora_hold() {
    for (name, run) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let files = std::fs::read_dir(&folder).expect("every target has a corpus");
        let mut count = 0;
        for file in files {
            let path = file.expect("a file").path();
            let bytes = std::fs::read(&path).expect("a file");
            assert!(catch_unwind(|| run(&bytes)).is_ok(), "{name} falls over {}", path.display());
            count += 1;
        }
        assert!(count >= 10, "{name} has {count} inputs");
    }
}
