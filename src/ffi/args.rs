//! Arguments as hosts pass them: pointers with lengths.

use std::ffi::c_char;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// The text of `len` bytes at `text`.
///
/// # Safety
/// Unless `len` is 0, `text` must be NULL or point to that many readable bytes, and they must not
/// change while the result is used.
pub(super) unsafe fn text<'a>(
    name: &str,
    text: *const c_char,
    len: usize,
) -> Result<&'a str, Error> {
    let wrong = |why: &str| Error::new(ErrorKind::InvalidArgument, format!("{name} {why}"));
    if len == 0 {
        return Ok("");
    }
    if text.is_null() {
        return Err(wrong("is NULL, but its length is not 0"));
    }
    if len > isize::MAX as usize {
        return Err(wrong("has a length that no memory has"));
    }
    // SAFETY: not NULL, and the caller promises the rest.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    std::str::from_utf8(bytes).map_err(|error| wrong(&format!("is not UTF-8: {error}")))
}

/// Copies a text into the host's buffer, with a NUL behind it where there is room.
///
/// # Errors
/// `BufferTooSmall` when it does not fit; then nothing is copied. `*len` says its length either way.
///
/// # Safety
/// `len` must be NULL or writable; unless `cap` is 0, `buf` must be NULL or have room for `cap` bytes.
pub(super) unsafe fn copy_out(
    text: &str,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> Result<(), Error> {
    if len.is_null() {
        return Err(Error::new(ErrorKind::InvalidArgument, "len is NULL"));
    }
    // SAFETY: not NULL, and the caller promises the rest.
    unsafe { len.write(text.len()) };
    if buf.is_null() || cap < text.len() {
        let text = format!("{} bytes are needed, the buffer has {cap}", text.len());
        return Err(Error::new(ErrorKind::BufferTooSmall, text));
    }
    // SAFETY: `buf` has room for `cap` bytes, which is enough.
    unsafe { copy(text, buf, cap) };
    Ok(())
}

/// Copies as much of a text as fits, with a NUL behind it where there is room.
///
/// # Safety
/// `buf` must have room for `cap` bytes.
pub(super) unsafe fn copy(text: &str, buf: *mut c_char, cap: usize) {
    let count = text.len().min(cap);
    // SAFETY: both sides have `count` bytes, and a fresh text cannot overlap the host's buffer.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), buf.cast::<u8>(), count) };
    if count < cap {
        // SAFETY: `count` is inside the buffer.
        unsafe { buf.add(count).write(0) };
    }
}

/// A timeout: 0 does not wait, a negative one waits for ever (`None`).
pub(super) fn timeout(timeout_ms: i32) -> Option<Duration> {
    u64::try_from(timeout_ms).ok().map(Duration::from_millis)
}
