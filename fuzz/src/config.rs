//! A configuration from any text and environment.
//!
//! Input: the JSON text and the environment variables of [`ENV`], separated by 0xff.

use serde_json::value::RawValue;
use shardwright::config::{MAX_SHARD_TOTAL, MAX_SHARDS, Shards};
use shardwright::{Config, ErrorKind};

use super::{TOKEN, shows_token, with_token};

/// The variables that a configuration can come from.
const ENV: [&str; 5] = [
    "DISCORD_TOKEN",
    "SHARDWRIGHT_SHARDS",
    "SHARDWRIGHT_LOG",
    "SHARDWRIGHT_API_URL",
    "SHARDWRIGHT_SESSIONS",
];

pub fn run(bytes: &[u8]) {
    let parts: Option<Vec<String>> = bytes.split(|byte| *byte == 0xff).map(with_token).collect();
    let Some(parts) = parts else { return };
    let env = |name: &str| {
        let index = ENV.iter().position(|known| *known == name)?;
        parts.get(index + 1).cloned()
    };
    match Config::from_json(&parts[0], env) {
        Ok(config) => {
            check(&config);
            let is_once = bytes.split(|byte| *byte == 1).count() == 2;
            if is_once && config.token.expose().contains(TOKEN) {
                assert!(!shows_token(&format!("{config:?}")), "the token in a Debug");
            }
        }
        Err(error) => {
            let text = error.to_string();
            assert!(matches!(error.kind(), ErrorKind::InvalidConfig | ErrorKind::Unsupported));
            assert!(text.len() > 10, "{text:?} helps nobody");
            assert!(!shows_token(&text), "the token in an error: {text}");
            assert!(!shows_token(&format!("{error:?}")), "the token in a Debug");
        }
    }
}

/// The bounds that the engine relies on.
fn check(config: &Config) {
    assert!((1..=256).contains(&config.threads));
    assert!((1..=1 << 24).contains(&config.queue.max_events));
    assert!((1 << 16..=1 << 40).contains(&config.queue.max_bytes));
    assert!(config.large_threshold.is_none_or(|members| (50..=250).contains(&members)));
    assert!(config.api_url.to_lowercase().starts_with("http") && !config.api_url.ends_with('/'));
    assert!(!config.token.expose().is_empty());
    assert!(config.token.expose().bytes().all(|byte| byte.is_ascii_graphic()));
    for json in [Some(&config.properties), config.presence.as_ref()].into_iter().flatten() {
        assert!(json.get().len() < 4_096);
        // Not as a value: serde_json has a key of its own that it reads in another way.
        assert!(serde_json::from_str::<&RawValue>(json.get()).is_ok());
        assert!(json.get().starts_with('{'));
    }
    if let Shards::Fixed { total, ids } = &config.shards {
        assert!(total.get() <= MAX_SHARD_TOTAL);
        assert!((1..=MAX_SHARDS as usize).contains(&ids.len()));
        assert!(ids.iter().all(|id| *id < total.get()));
        assert!(ids.is_sorted_by(|a, b| a < b));
    }
    if let Some(url) = &config.gateway_url {
        let again = shardwright::protocol::GatewayUrl::parse(&url.to_string());
        assert_eq!(again.as_ref(), Ok(url), "a URL that is not read as it is written");
    }
}
