//! What outlives the process: sessions, so that a restart resumes, and the identifies of the day, so
//! that a crash loop cannot spend them all.
//!
//! A [`SessionStore`] is where they are: [`SessionFile`], one SQLite file that several processes of a machine
//! may share, or the server of the backplane, from which any machine can resume any shard. [`TakenFile`]
//! stands beside it for `at_most_once`: it says exactly how far the host has come, at the price of
//! sixteen bytes written per poll.

mod sqlite;
mod store;
mod taken;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};

pub(crate) use self::sqlite::{History, LastStart, SaidLimit, SessionFile, Stored, Write};
pub(crate) use self::store::{FileStore, Save, SessionStore, Storing, TakenOver, blocking};
pub(crate) use self::taken::TakenFile;
use crate::config::Config;
use crate::protocol::Token;
use crate::simulation;

/// Sessions that were alive this long ago are not tried: Discord keeps them for a few minutes after a
/// connection is lost, and says no number. A try costs no identify, only a second or two.
pub(crate) const FRESH: Duration = Duration::from_secs(15 * 60);

/// Whose sessions, and what they were made with. Only a session that agrees in all of it is resumed:
/// Discord would refuse the others, or go on with intents that the host no longer wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The bot's id, or of a token that does not show it, a part of the token's digest.
    pub(crate) bot: String,
    /// The digest of the token. It has too much chance in it to be guessed from this.
    pub(crate) token: [u8; 16],
    /// The digest of what identifies say beside the token and the shard.
    pub(crate) identify: [u8; 16],
}

impl Owner {
    /// The owner of sessions made with this configuration.
    pub(crate) fn new(config: &Config) -> Self {
        let token = tag(config.token.expose().as_bytes());
        let presence = config.presence.as_ref().map_or("", |presence| presence.get());
        let identify = format!(
            "{}\n{:?}\n{presence}\n{}",
            config.intents.0,
            config.large_threshold,
            config.properties.get()
        );
        let bot = bot_id(&config.token).unwrap_or_else(|| URL_SAFE_NO_PAD.encode(&token[..8]));
        Self { bot, token, identify: tag(identify.as_bytes()) }
    }
}

/// The bot's id, which is the first part of its token in base64.
fn bot_id(token: &Token) -> Option<String> {
    let first = token.expose().split('.').next()?;
    let id = String::from_utf8(STANDARD_NO_PAD.decode(first.trim_end_matches('=')).ok()?).ok()?;
    (!id.is_empty() && id.len() <= 20 && id.bytes().all(|byte| byte.is_ascii_digit())).then_some(id)
}

/// What a session is known by where there is only room for a number.
pub(crate) fn session_tag(session_id: &str) -> u64 {
    let half = tag(session_id.as_bytes()).first_chunk().map_or(0, |half| u64::from_le_bytes(*half));
    // Zero is what an empty file says.
    half.max(1)
}

/// The first half of a SHA-256.
fn tag(bytes: &[u8]) -> [u8; 16] {
    let mut tag = [0; 16];
    tag.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..16]);
    tag
}

/// Milliseconds since 1970, the only clock that a restart does not reset.
pub(crate) fn wall_ms() -> i64 {
    i64::try_from(simulation::since_1970().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_shows_its_bot() {
        let id = |token: &str| bot_id(&Token::new(token).expect("a token"));
        assert_eq!(id("MTEwMDAwMDAwMDAwMDAwMDAwMQ.x.y").as_deref(), Some("1100000000000000001"));
        assert_eq!(id("MTEwMDAwMDAwMDAwMDAwMDAwMQ==.x.y").as_deref(), Some("1100000000000000001"));
        for token in ["x", "secret.x.y", "aGVsbG8.x.y", "..", "!!!"] {
            assert_eq!(id(token), None, "{token}");
        }
    }
}
