//! The bot token, which must never be seen.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// A bot token: wiped on drop, and nothing in its `Debug`.
///
/// Kept without the `Bot ` prefix that REST wants and the gateway refuses; people paste both forms.
#[derive(Clone)]
pub struct Token(SecretString);

impl Token {
    /// Reads a token as people write it.
    ///
    /// # Errors
    /// Says what is wrong, without repeating any of it, when the token is empty or has characters
    /// that no token has (they would end up in an HTTP header).
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let text = text.trim_start();
        let text = text.strip_prefix("Bot ").unwrap_or(text).trim();
        if text.is_empty() {
            return Err("the token is empty");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the token has spaces or characters outside ASCII in it");
        }
        Ok(Self(SecretString::from(text)))
    }

    /// The bare token, for an identify or resume payload.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_one_token() {
        for text in ["abc.def", "Bot abc.def", "  Bot  abc.def\n"] {
            assert_eq!(Token::new(text).expect("a token").expose(), "abc.def");
        }
        for text in ["", "  ", "Bot ", "abc def", "abc\u{e9}", "abc\r\ndef"] {
            assert!(Token::new(text).is_err(), "{text:?}");
        }
    }

    /// Scenario 73.
    #[test]
    fn debug_hides_it() {
        let token = Token::new("very.secret").expect("a token");
        assert!(!format!("{token:?}").contains("very"));
    }
}
