//! Gives the shared library its SONAME, which plain `cargo build` does not set.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // The number is the major version of the ABI (`SHARD_ABI_VERSION >> 16`) minus one: it
        // becomes 1 with the first release that promises stability.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libshardwright.so.0");
        // A host that calls dlclose while engine threads run must not pull the code from under them.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
