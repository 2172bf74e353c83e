//! The shared library exports the contract's functions, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::build::{compiles, library_dir, panics_dir, root, run};

/// What `nm` finds.
fn exported() -> BTreeSet<String> {
    let library = library_dir().join("libshardwright.so");
    let output = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect()
}

/// What `tests/abi/symbols.txt` lists.
fn listed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("tests/abi/symbols.txt")).expect("symbols.txt");
    let names = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    names.map(str::to_owned).collect()
}

/// A missing symbol breaks hosts; an unlisted one was not meant to be a promise.
#[test]
fn the_symbols_are_the_listed_ones() {
    assert_eq!(exported(), listed());
}

/// What panics on demand is a library of its own: the shipped one has nothing of it, not even hidden.
#[test]
fn the_panics_of_the_tests_are_not_in_it() {
    let symbols = |library: &Path| {
        let output = run(Command::new("nm").arg(library));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let test = library_dir().join("libshardwright.so");
    assert!(!symbols(&test).contains("shard_test_"));
    assert!(symbols(&panics_dir().join("libshardwright_panics.so")).contains("shard_test_panic"));
}

/// The header declares every one of them, and hides the short names on demand.
#[test]
fn the_header_declares_every_symbol() {
    let names = listed();
    let uses = names.iter().map(|name| format!("void *p_{name} = (void *){name};\n"));
    let text = format!("#include \"shardwright.h\"\n{}", uses.collect::<String>());
    let twice = "#include \"shardwright.h\"\n#include \"shardwright.h\"\n";
    for (compiler, standard) in [("gcc", "-std=c99"), ("gcc", "-std=c11"), ("g++", "-std=c++17")] {
        let name =
            format!("symbols_{}.{}", &standard[5..], if compiler == "gcc" { "c" } else { "cpp" });
        // ISO C has no conversion from function to object pointer; it is only to see the name.
        compiles(compiler, &[standard, "-Wno-pedantic"], &text, &name);
        compiles(compiler, &[standard], twice, &format!("twice_{name}"));
    }
    let hidden = "#define SHARD_NO_SHORT_NAMES\n#include \"shardwright.h\"\n\
        static int poll_event;\nstatic int send_command;\n\
        int sum(void) { return poll_event + send_command; }\n";
    compiles("gcc", &["-std=c11"], hidden, "hidden.c");
}

/// The SONAME names the ABI, and the library stays when a host closes it.
#[test]
fn the_library_has_its_soname() {
    let library = library_dir().join("libshardwright.so");
    let output = run(Command::new("readelf").arg("-d").arg(library));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("[libshardwright.so.0]"), "{text}");
    assert!(text.contains("NODELETE"), "{text}");
}
