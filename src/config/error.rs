//! What is said of a wrong value. No error repeats what could be a secret.

use std::borrow::Cow;

use crate::error::{Error, ErrorKind};

/// A config error: the key, and what is wrong with it.
pub(super) fn invalid(key: &str, why: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("`{key}` {}", redact(why.as_ref())))
}

/// What serde says, with the path of the key.
pub(super) fn from_serde(error: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    let text = error.inner().to_string();
    let text = redact(&text);
    match redact(&error.path().to_string()).as_ref() {
        "." => Error::new(ErrorKind::InvalidConfig, format!("the config: {text}")),
        path => Error::new(ErrorKind::InvalidConfig, format!("`{path}`: {text}")),
    }
}

/// The text without anything that could be a token: serde repeats values that it did not expect, and
/// people put keys in the wrong place.
fn redact(text: &str) -> Cow<'_, str> {
    const SHORTEST_TOKEN: usize = 40;
    let is_token_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_suspect = |word: &str| word.len() >= SHORTEST_TOKEN;
    if !text.split(|c| !is_token_char(c)).any(is_suspect) {
        return Cow::Borrowed(text);
    }
    // Each word where it stands: one may be a part of another.
    let words = text.split_inclusive(|c| !is_token_char(c)).map(|word| {
        let end = word.trim_end_matches(|c| !is_token_char(c));
        if is_suspect(end) { ["…", &word[end.len()..]] } else { [word, ""] }
    });
    words.flatten().collect()
}

/// A number between two bounds, both allowed.
pub(super) fn in_range<N>(key: &str, value: N, min: N, max: N) -> Result<N, Error>
where
    N: PartialOrd + std::fmt::Display + Copy,
{
    if value < min || value > max {
        return Err(invalid(key, format!("is {value}; it must be between {min} and {max}")));
    }
    Ok(value)
}
