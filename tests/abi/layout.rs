//! C and Rust agree on what an event looks like and what the constants are.

use std::mem::offset_of;
use std::process::Command;

use shardwright::ffi::*;

use crate::build::{compile, root, run};

/// Offsets, sizes and values as a C program prints them, against Rust's.
#[test]
fn c_and_rust_agree() {
    let program = compile("gcc", "tests/abi/layout.c", "layout", &["-std=c11"]);
    let printed = String::from_utf8(run(&mut Command::new(program)).stdout).expect("UTF-8");
    let mut expected = String::new();
    macro_rules! fields {
        ($($field:ident),*) => {
            $(expected += &format!("{} {}\n", stringify!($field), offset_of!(shard_event, $field));)*
        };
    }
    fields!(
        kind,
        shard_id,
        seq,
        guild_id,
        command_id,
        received_ns,
        name,
        name_len,
        data,
        data_len,
        status,
        flags,
        owner,
        reserved
    );
    expected += &format!("shard_event {}\n", size_of::<shard_event>());
    expected += &format!("shard_status {}\n", size_of::<shard_status>());
    macro_rules! constants {
        ($($name:ident),*) => {
            $(expected += &format!("{} {}\n", stringify!($name), i64::from($name));)*
        };
    }
    constants!(
        SHARD_ABI_VERSION,
        SHARD_NONE,
        SHARD_OK,
        SHARD_E_INVALID_ARG,
        SHARD_E_INVALID_HANDLE,
        SHARD_E_INVALID_CONFIG,
        SHARD_E_STATE,
        SHARD_E_CLOSED,
        SHARD_E_INTERRUPTED,
        SHARD_E_UNKNOWN_SHARD,
        SHARD_E_QUEUE_FULL,
        SHARD_E_TOO_LARGE,
        SHARD_E_BUFFER_TOO_SMALL,
        SHARD_E_TIMEOUT,
        SHARD_E_FATAL,
        SHARD_E_FORKED,
        SHARD_E_UNSUPPORTED,
        SHARD_E_IO,
        SHARD_E_NOT_FOUND,
        SHARD_E_CANCELLED,
        SHARD_E_PANIC,
        SHARD_EVENT_DISPATCH,
        SHARD_EVENT_SHARD_STATE,
        SHARD_EVENT_REPLY,
        SHARD_EVENT_MESSAGE,
        SHARD_EVENT_CALL,
        SHARD_EVENT_JOB,
        SHARD_EVENT_OVERFLOW,
        SHARD_EVENT_LOG,
        SHARD_EVENT_FATAL,
        SHARD_EVENT_GUILDS_COMPLETE,
        SHARD_EVENT_FLAG_REPLAYED,
        SHARD_STOP_RESUMABLE,
        SHARD_STOP_CLOSE,
        SHARD_STOP_ABORT,
        SHARD_LOG_OFF,
        SHARD_LOG_ERROR,
        SHARD_LOG_WARN,
        SHARD_LOG_INFO,
        SHARD_LOG_DEBUG,
        SHARD_LOG_TRACE
    );
    assert_eq!(printed, expected);
}

/// The C program prints every constant that the header defines: a new one must be added there.
#[test]
fn no_constant_is_forgotten() {
    let header = std::fs::read_to_string(root().join("include/shardwright.h")).expect("a header");
    let program = std::fs::read_to_string(root().join("tests/abi/layout.c")).expect("layout.c");
    let defined = header.lines().filter_map(|line| line.strip_prefix("#define SHARD_"));
    let mut count = 0;
    for name in defined.filter_map(|rest| rest.split_once(' ').map(|(name, _)| name)) {
        assert!(program.contains(&format!("(SHARD_{name})")), "layout.c misses SHARD_{name}");
        count += 1;
    }
    assert!(count > 30, "{count}");
}
