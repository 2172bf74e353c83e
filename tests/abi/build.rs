//! The library and C programs, built as a user builds them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A place for what the tests build.
fn scratch() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("abi");
    std::fs::create_dir_all(&path).expect("the target directory is writable");
    path
}

/// A directory with the shared library, under the names it has once installed.
pub(crate) fn library_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        // Cargo, run by this test, may link the library anew, and the file is away while it does. After this it is not.
        panics_dir();
        // Cargo links it beside this test, at the same time as the library the test itself uses.
        let test = std::env::current_exe().expect("this process has a file");
        let library = test.with_file_name("libshardwright.so");
        let dir = scratch().join("lib");
        std::fs::create_dir_all(&dir).expect("the target directory is writable");
        for name in ["libshardwright.so", "libshardwright.so.0"] {
            let link = dir.join(name);
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(&library, link).expect("the target directory is writable");
        }
        dir
    })
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

/// The directory of the library that panics on demand (`panics.rs`).
pub(crate) fn panics_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let test = std::env::current_exe().expect("this process has a file");
        let profile = test.ancestors().nth(2).expect("target/debug/deps/abi");
        let target = profile.parent().expect("target/debug");
        // A run of all tests has built it; one of this file alone has not.
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "--workspace", "--example", "shardwright_panics", "--target-dir"]);
        run(command.arg(target).current_dir(root()));
        profile.join("examples")
    })
}

/// Compiles a C file of this directory, or of `examples/c`, against the header and the library.
pub(crate) fn compile(compiler: &str, source: &str, name: &str, flags: &[&str]) -> PathBuf {
    let program = scratch().join(name);
    let (library_dir, library) = if source.ends_with("/panics.c") {
        (panics_dir().to_owned(), "-lshardwright_panics")
    } else if source.ends_with("/dlclose.c") {
        (library_dir().to_owned(), "-ldl")
    } else {
        (library_dir().to_owned(), "-lshardwright")
    };
    let mut command = Command::new(compiler);
    command.args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-g"]).args(flags);
    command.arg("-I").arg(root().join("include"));
    command.arg(root().join(source)).arg("-o").arg(&program);
    command.arg("-L").arg(&library_dir).arg(library).arg("-lpthread");
    command.arg(format!("-Wl,-rpath,{}", library_dir.display()));
    run(&mut command);
    program
}

/// Checks that a compiler takes a file, without linking.
pub(crate) fn compiles(compiler: &str, flags: &[&str], text: &str, name: &str) {
    let source = scratch().join(name);
    std::fs::write(&source, text).expect("writable");
    let mut command = Command::new(compiler);
    command.args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]).args(flags);
    run(command.arg("-I").arg(root().join("include")).arg(&source));
}
