//! `include/shardwright.h` says what the source says.

use crate::build::root;

/// The files that export something, in the order of the header.
const SOURCES: [&str; 7] = ["status", "library", "log", "client", "event", "command", "observe"];

/// The committed header is what cbindgen makes of the source today. `make generate` writes it anew.
#[test]
fn the_header_is_fresh() {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml");
    let builder = SOURCES.iter().fold(cbindgen::Builder::new().with_config(config), |b, name| {
        b.with_src(root().join("src/ffi").join(name).with_extension("rs"))
    });
    let bindings = builder.generate().expect("exported items");
    let mut fresh = Vec::new();
    bindings.write(&mut fresh);
    let fresh = String::from_utf8(fresh).expect("UTF-8");
    let path = root().join("include/shardwright.h");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &fresh).expect("include/ is writable");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == fresh,
        "include/shardwright.h is stale; run `make generate` and commit it"
    );
}
