//! Finding values in JSON text without parsing it.
//!
//! The engine hands `d` to the host as it came, so all it needs is where a value begins and ends.
//! These functions walk over bytes, never recurse (depth costs nothing), never panic, and check only
//! as much grammar as finding the end of a value takes; they do not validate. Text that needs
//! decoding goes through `serde_json`.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;
use serde::Deserialize;

/// The index of the first byte at or after `at` that is not JSON white space.
fn skip_space(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The index after the string whose opening quote is at `at`.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The index after the value that starts at `at`, or `None` where the text ends first or no value
/// starts there.
fn value_end(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => string_end(text, at),
        b'{' | b'[' => container_end(text, at),
        b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
            let is_scalar =
                |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
            let length = text[at..].iter().position(|byte| !is_scalar(byte));
            Some(length.map_or(text.len(), |length| at + length))
        }
        _ => None,
    }
}

/// [`value_end`] for objects and arrays.
fn container_end(text: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = at;
    loop {
        match text.get(at)? {
            b'"' => {
                at = string_end(text, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// One member of an object, as positions in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The key between its quotes, escapes as they stand.
    pub key: Range<usize>,
    /// The whole value.
    pub value: Range<usize>,
}

/// The members of an object, one after another. Stops at the closing brace; an error ends it too.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    text: &'a [u8],
    /// Where the next member, comma or brace is looked for; `None` after the end.
    at: Option<usize>,
    first: bool,
    /// Index after the closing brace, once it was reached.
    end: Option<usize>,
}

impl<'a> Members<'a> {
    /// The members of the object that starts at `at`, after white space.
    pub fn of(text: &'a [u8], at: usize) -> Self {
        let at = skip_space(text, at);
        let inside = (text.get(at) == Some(&b'{')).then_some(at + 1);
        Self { text, at: inside, first: true, end: None }
    }

    /// The index after the object; `None` before the iterator ran to the end, and for ever where the
    /// text is not a whole object.
    pub fn end(&self) -> Option<usize> {
        self.end
    }

    /// The next member, or `None` at the end or at the first thing that cannot be.
    fn step(&mut self) -> Option<Member> {
        let text = self.text;
        let mut at = skip_space(text, self.at.take()?);
        if text.get(at) == Some(&b'}') {
            self.end = Some(at + 1);
            return None;
        }
        if !self.first {
            if text.get(at) != Some(&b',') {
                return None;
            }
            at = skip_space(text, at + 1);
        }
        self.first = false;
        if text.get(at) != Some(&b'"') {
            return None;
        }
        let key_end = string_end(text, at)?;
        let key = at + 1..key_end - 1;
        at = skip_space(text, key_end);
        if text.get(at) != Some(&b':') {
            return None;
        }
        at = skip_space(text, at + 1);
        let end = value_end(text, at)?;
        self.at = Some(end);
        Some(Member { key, value: at..end })
    }
}

impl Iterator for Members<'_> {
    type Item = Member;

    fn next(&mut self) -> Option<Member> {
        self.step()
    }
}

/// Whether a key as it stands in the text is `name`.
fn key_is(raw: &[u8], name: &str) -> bool {
    raw == name.as_bytes() || (raw.contains(&b'\\') && unescape(raw).as_deref() == Some(name))
}

/// The value of the member `name` of the object `object`; of the last one, where a key repeats, as
/// other JSON readers do.
pub fn member(object: &[u8], name: &str) -> Option<Range<usize>> {
    Members::of(object, 0).filter(|m| key_is(&object[m.key.clone()], name)).last().map(|m| m.value)
}

/// The value of the first member `name`, without a look at what follows: for hot paths where the
/// sender is known not to repeat keys.
pub fn first_member(object: &[u8], name: &str) -> Option<Range<usize>> {
    Members::of(object, 0).find(|m| object[m.key.clone()] == *name.as_bytes()).map(|m| m.value)
}

/// The elements of an array, one after another. Stops at the closing bracket; an error ends it too.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    text: &'a [u8],
    /// Where the next element starts, after white space; `None` after the end.
    at: Option<usize>,
}

impl<'a> Elements<'a> {
    /// The elements of the array that `array` is.
    pub fn of(array: &'a [u8]) -> Self {
        let at = skip_space(array, 0);
        Self { text: array, at: (array.get(at) == Some(&b'[')).then_some(at + 1) }
    }
}

impl Iterator for Elements<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let at = skip_space(self.text, self.at.take()?);
        let end = value_end(self.text, at)?;
        let next = skip_space(self.text, end);
        self.at = (self.text.get(next) == Some(&b',')).then_some(next + 1);
        Some(at..end)
    }
}

/// Where the value at a JSON Pointer (RFC 6901, `/author/id`, `/embeds/0/title`, empty for the
/// whole) stands in `text`.
pub fn pointer(text: &[u8], pointer: &str) -> Option<Range<usize>> {
    let start = skip_space(text, 0);
    let mut found = start..value_end(text, start)?;
    if pointer.is_empty() {
        return Some(found);
    }
    for part in pointer.strip_prefix('/')?.split('/') {
        let part = part.replace("~1", "/").replace("~0", "~");
        let value = &text[found.clone()];
        let inner = match value.first()? {
            b'{' => member(value, &part)?,
            b'[' if part == "0" || !part.starts_with(['0', '+']) => {
                Elements::of(value).nth(part.parse().ok()?)?
            }
            _ => return None,
        };
        found = found.start + inner.start..found.start + inner.end;
    }
    Some(found)
}

/// The text between the quotes of a JSON string, decoded; borrowed where nothing is escaped, `None`
/// where it is not a JSON string.
pub fn unescape(raw: &[u8]) -> Option<Cow<'_, str>> {
    if !raw.contains(&b'\\') {
        return std::str::from_utf8(raw).ok().map(Cow::Borrowed);
    }
    let mut quoted = Vec::with_capacity(raw.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    serde_json::from_slice::<String>(&quoted).ok().map(Cow::Owned)
}

/// A non-negative integer, or `None` for every other value, as `serde_json::Value::as_u64` has it.
pub fn unsigned(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 20 || (value.len() > 1 && value[0] == b'0') {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// A snowflake: an integer in quotes, as Discord writes ids, or without.
pub fn snowflake(value: &[u8]) -> Option<u64> {
    let inner = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
    unsigned(inner.unwrap_or(value))
}

/// Reads a whole value of one type, with its text's end; what is wrong names the key.
///
/// # Errors
/// Says what is wrong.
pub(crate) fn parse<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        match error.path().to_string().as_str() {
            "." => error.inner().to_string(),
            path => format!("`{path}`: {}", error.inner()),
        }
    })?;
    json.end().map_err(|error| error.to_string())?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(text: &'a str, path: &str) -> Option<&'a str> {
        pointer(text.as_bytes(), path).map(|range| &text[range])
    }

    #[test]
    fn pointers_find_values() {
        let text = r#" {"a":{"b":[10,{"c":"x\"}"},[]],"":0},"m~/n":true,"e\u0041":null} "#;
        assert_eq!(at(text, "").map(str::len), Some(text.len() - 2));
        assert_eq!(at(text, "/a/b/0"), Some("10"));
        assert_eq!(at(text, "/a/b/1/c"), Some(r#""x\"}""#));
        assert_eq!(at(text, "/a/b/2"), Some("[]"));
        assert_eq!(at(text, "/a/"), Some("0"));
        assert_eq!(at(text, "/m~0~1n"), Some("true"));
        assert_eq!(at(text, "/eA"), Some("null"));
        for missing in ["/x", "/a/b/3", "/a/b/-1", "/a/b/01", "/a/b/+1", "a", "/a/b/0/c", "/m~/n/"]
        {
            assert_eq!(at(text, missing), None, "{missing}");
        }
    }

    #[test]
    fn the_last_of_repeated_keys_wins() {
        assert_eq!(at(r#"{"a":1,"a":2}"#, "/a"), Some("2"));
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(pointer(deep.as_bytes(), "").map(|r| r.len()), Some(2_000_000));
        assert_eq!(pointer(&deep.as_bytes()[..1_500_000], ""), None);
    }

    #[test]
    fn broken_text_is_none_and_no_panic() {
        let text = r#"{"a":["x\\",{"b":-1.5e3}],"c":"\u00e9"}"#;
        for cut in 0..text.len() {
            let _ = pointer(&text.as_bytes()[..cut], "/a/1/b");
            assert_eq!(Members::of(&text.as_bytes()[..cut], 0).end(), None);
        }
        for bad in ["{1:2}", "{\"a\" 1}", "{\"a\":}", "{\"a\":1 \"b\":2}", "\"\\", "{,}"] {
            assert_eq!(member(bad.as_bytes(), "b"), None, "{bad}");
        }
    }

    #[test]
    fn scalars_decode() {
        assert_eq!(unsigned(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "-1", "1.0", "1e3", "01", "18446744073709551616", "null"] {
            assert_eq!(unsigned(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(snowflake(b"\"41771983423143937\""), Some(41_771_983_423_143_937));
        assert_eq!(unescape(br"a\u00e9\n").as_deref(), Some("aé\n"));
        assert_eq!(unescape(br"\x"), None);
        assert_eq!(unescape(b"\xff"), None);
    }
}
