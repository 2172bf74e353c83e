//! Field access of the ABI on any event, against a full parse.
//!
//! Input: JSON Pointers separated by 0xff, the event's data behind the last one.
#![allow(unsafe_code, reason = "this is how a C host asks")]

use std::ffi::c_char;

use serde_json::Value;
use shardwright::ffi::{
    SHARD_E_INVALID_ARG, SHARD_E_NOT_FOUND, SHARD_OK, shard_event, shard_event_get,
    shard_event_release, shard_status,
};
use shardwright::queue::{Event, EventKind};

pub fn run(bytes: &[u8]) {
    let mut parts: Vec<&[u8]> = bytes.split(|byte| *byte == 0xff).collect();
    let data = parts.pop().unwrap_or_default();
    let parsed = serde_json::from_slice::<Value>(data).ok();
    let mut event = shard_event::from(Event::new(EventKind::Dispatch, "FUZZED", data));
    let mut found = Vec::new();
    for pointer in &parts {
        let (status, text) = get(&mut event, pointer);
        found.push(text.map(<[u8]>::as_ptr_range));
        let Ok(pointer) = std::str::from_utf8(pointer) else {
            assert_eq!(status, SHARD_E_INVALID_ARG, "a pointer that is not UTF-8");
            continue;
        };
        let text = text.map(|text| std::str::from_utf8(text).expect("UTF-8"));
        match parsed.as_ref().map(|value| value.pointer(pointer)) {
            // The text may still be near enough to JSON for the field to be found.
            None => assert_eq!(text.is_some(), status == SHARD_OK),
            Some(None) => assert_eq!((status, text), (SHARD_E_NOT_FOUND, None), "{pointer:?}"),
            Some(Some(Value::String(expected))) => assert_eq!(text, Some(expected.as_str())),
            Some(Some(expected)) => {
                let text = text.unwrap_or_else(|| panic!("{pointer:?} is there, but {status}"));
                assert_eq!(serde_json::from_str::<Value>(text).ok().as_ref(), Some(expected));
            }
        }
    }
    // What was found stays where it is until the release.
    for (pointer, before) in parts.iter().zip(found) {
        assert_eq!(get(&mut event, pointer).1.map(<[u8]>::as_ptr_range), before);
    }
    // SAFETY: the event was made as a poll makes it, and the second release is allowed.
    unsafe {
        shard_event_release(&raw mut event);
        shard_event_release(&raw mut event);
    }
    assert_eq!(get(&mut event, b"").0, SHARD_E_INVALID_ARG, "released");
}

/// Asks as a C host does.
fn get<'a>(event: &mut shard_event, pointer: &[u8]) -> (shard_status, Option<&'a [u8]>) {
    let mut text: *const c_char = std::ptr::null();
    let mut len = 0;
    // SAFETY: all pointers are to live memory of the lengths given.
    let status = unsafe {
        let (pointer, pointer_len) = (pointer.as_ptr().cast(), pointer.len());
        shard_event_get(event, pointer, pointer_len, &raw mut text, &raw mut len)
    };
    // SAFETY: it says that there is a text, which lives as long as the event's reference.
    let found =
        (status == SHARD_OK).then(|| unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) });
    (status, found)
}
