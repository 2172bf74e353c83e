//! Paths and queries as hosts write them, checked and encoded as they go out.
//!
//! Hosts write what they read in Discord's documentation: with or without the slash at the front, an
//! emoji as itself or percent-encoded. All of that is taken. What is refused is what cannot be meant,
//! and what would lead anywhere but below the API's base URL. No error repeats any of it: paths can
//! hold the tokens of webhooks.

use percent_encoding::{
    AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode,
};

use crate::config::MAX_REST_PATH_BYTES;

/// What a path cannot hold as it is, as the URL standard has it.
const NOT_IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'^')
    .add(b'|');

/// What a query cannot hold as it is.
const NOT_IN_QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'^')
    .add(b'|');

/// What a single value cannot hold as it is: all but what is never special.
pub(super) const NOT_IN_VALUE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A path with a slash at the front, and the query that came with it, both encoded.
///
/// # Errors
/// What is wrong with the path, to be read after its name.
pub(super) fn check(text: &str) -> Result<(String, String), String> {
    const EXAMPLE: &str = "expected for example /channels/1/messages";
    if text.len() > MAX_REST_PATH_BYTES {
        return Err(format!("is longer than {MAX_REST_PATH_BYTES} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("has control characters in it".into());
    }
    if text.contains('#') {
        return Err("has a fragment (`#`), which is never sent; write %23 for the character".into());
    }
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if path.contains("://") || path.starts_with("//") {
        let advice = "give what comes after the version in it, such as /channels/1/messages";
        return Err(format!("is a whole URL; {advice}"));
    }
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        return Err(format!("is empty; {EXAMPLE}"));
    }
    for part in path.split('/') {
        check_part(part).map_err(|why| format!("{why}; {EXAMPLE}"))?;
    }
    check_escapes(query)?;
    let path = format!("/{}", utf8_percent_encode(path, NOT_IN_PATH));
    Ok((path, utf8_percent_encode(query, NOT_IN_QUERY).to_string()))
}

/// Appends a parameter to a query.
pub(super) fn push_parameter(query: &mut String, name: &str, value: &str) {
    if !query.is_empty() {
        query.push('&');
    }
    query.extend(utf8_percent_encode(name, NOT_IN_VALUE));
    query.push('=');
    query.extend(utf8_percent_encode(value, NOT_IN_VALUE));
}

/// Checks what stands between two slashes.
fn check_part(part: &str) -> Result<(), String> {
    if part.is_empty() {
        return Err("has an empty part (two slashes in a row, or one at the end)".into());
    }
    check_escapes(part)?;
    if part.contains('\\') {
        return Err("has a backslash in it".into());
    }
    // Encoded or not, servers and proxies may resolve them.
    if matches!(percent_decode_str(part).collect::<Vec<u8>>().as_slice(), b"." | b"..") {
        return Err("has a part that is `.` or `..`".into());
    }
    Ok(())
}

/// Checks that each `%` is followed by two hexadecimal digits.
fn check_escapes(text: &str) -> Result<(), String> {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if text.split('%').skip(1).all(is_escape) {
        return Ok(());
    }
    Err("has a `%` that is no escape; write %25 for the character".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_as_people_write_them() {
        for (text, path, query) in [
            ("/channels/1/messages", "/channels/1/messages", ""),
            ("channels/1", "/channels/1", ""),
            (
                "/users/@me/guilds?limit=5&with_counts=true",
                "/users/@me/guilds",
                "limit=5&with_counts=true",
            ),
            ("/gateway?", "/gateway", ""),
            ("/c/1/reactions/🔥/@me", "/c/1/reactions/%F0%9F%94%A5/@me", ""),
            ("/c/1/reactions/%F0%9F%94%A5/@me", "/c/1/reactions/%F0%9F%94%A5/@me", ""),
            ("/c/1/reactions/wave:3/@me", "/c/1/reactions/wave:3/@me", ""),
            ("/g/1/s?query=two words", "/g/1/s", "query=two%20words"),
            ("/g/1/s?q=a/../b&u=https://x", "/g/1/s", "q=a/../b&u=https://x"),
            ("/invites/%2e%2ex", "/invites/%2e%2ex", ""),
            ("/...", "/...", ""),
        ] {
            assert_eq!(check(text), Ok((path.to_owned(), query.to_owned())), "{text}");
        }
    }

    #[test]
    fn paths_that_cannot_be_meant_are_refused() {
        let long = format!("/{}", "x".repeat(MAX_REST_PATH_BYTES));
        for (text, why) in [
            ("", "empty"),
            ("/", "empty"),
            ("?limit=1", "empty"),
            ("https://discord.com/api/v10/users/@me", "whole URL"),
            ("//evil.example/users/@me", "whole URL"),
            ("/channels//messages", "empty part"),
            ("/channels/1/", "empty part"),
            ("/channels/../users", "`..`"),
            ("/channels/%2e%2E/users", "`..`"),
            ("/channels/./users", "`..`"),
            ("/channels\\1", "backslash"),
            ("/channels/1#x", "fragment"),
            ("/channels/1\r\nHost: x", "control"),
            ("/channels/\u{85}", "control"),
            ("/channels/100%", "%25"),
            ("/channels/%zz", "%25"),
            ("/channels/%f", "%25"),
            ("/channels/%é", "%25"),
            ("/channels?q=%", "%25"),
            (&long, "longer"),
        ] {
            let error = check(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn parameters_are_encoded_whole() {
        let mut query = String::from("a=1");
        push_parameter(&mut query, "name", "Jörg & Co=100%#?/+");
        push_parameter(&mut query, "x[]", "");
        assert_eq!(query, "a=1&name=J%C3%B6rg%20%26%20Co%3D100%25%23%3F%2F%2B&x%5B%5D=");
    }
}
