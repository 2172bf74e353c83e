//! REST rate limits: buckets of routes, and the bot's global limit.
//!
//! <https://docs.discord.com/developers/topics/rate-limits>

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::reply::Reply;
use crate::world::snowflake::mix;

/// Most windows remembered; beyond it the ones that have ended are forgotten.
const MAX_WINDOWS: usize = 10_000;

/// How often one route may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) requests: u32,
    pub(crate) window: Duration,
}

/// What a call counts against.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// The route, without its ids: what the bucket's hash is made of.
    pub(crate) route: &'static str,
    /// The top-level resource: channel, guild or webhook.
    pub(crate) major: String,
    pub(crate) limit: Limit,
    /// Whether it also counts against the global limit.
    pub(crate) global: bool,
}

/// Whose limit a 429 is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The bot's limit on this route.
    User,
    /// The resource's limit, which others use up too.
    Shared,
    /// The bot's limit over all routes.
    Global,
}

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Shared => "shared",
            Self::Global => "global",
        }
    }
}

#[derive(Debug)]
struct Window {
    ends: Duration,
    used: u32,
}

/// All windows that are running.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    buckets: BTreeMap<(&'static str, String), Window>,
    global: Option<Window>,
}

/// The state of a bucket after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) remaining: u32,
    pub(crate) reset_after: Duration,
    /// Over the limit.
    pub(crate) exceeded: bool,
}

fn count(window: &mut Option<Window>, now: Duration, limit: Limit) -> Standing {
    let window = match window {
        Some(window) if now < window.ends => window,
        window => window.insert(Window { ends: now + limit.window, used: 0 }),
    };
    let exceeded = window.used >= limit.requests;
    if !exceeded {
        window.used += 1;
    }
    let reset_after = window.ends.saturating_sub(now);
    Standing { remaining: limit.requests.saturating_sub(window.used), reset_after, exceeded }
}

impl Limits {
    /// Counts a call against the global limit.
    pub(crate) fn count_global(&mut self, now: Duration, per_second: u32) -> Standing {
        let limit = Limit { requests: per_second, window: Duration::from_secs(1) };
        count(&mut self.global, now, limit)
    }

    /// Counts a call against its bucket.
    pub(crate) fn count(&mut self, now: Duration, bucket: &Bucket) -> Standing {
        if self.buckets.len() >= MAX_WINDOWS {
            self.buckets.retain(|_, window| now < window.ends);
        }
        let key = (bucket.route, bucket.major.clone());
        let mut window = self.buckets.remove(&key);
        let standing = count(&mut window, now, bucket.limit);
        if let Some(window) = window {
            self.buckets.insert(key, window);
        }
        standing
    }
}

/// A bucket's name: the same for every call of the route, and of no other.
pub(crate) fn hash(route: &str) -> String {
    let fold = |seed| route.bytes().fold(seed, |hash, byte| mix(hash, u64::from(byte), 0, 0));
    format!("{:016x}{:016x}", fold(1), fold(2))
}

/// Seconds with milliseconds, as the headers have them.
fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

/// The headers of a call.
pub(crate) fn headers(bucket: &Bucket, standing: Standing, unix_ms: u64) -> Vec<(String, String)> {
    let reset = Duration::from_millis(unix_ms) + standing.reset_after;
    vec![
        ("x-ratelimit-bucket".to_owned(), hash(bucket.route)),
        ("x-ratelimit-limit".to_owned(), bucket.limit.requests.to_string()),
        ("x-ratelimit-remaining".to_owned(), standing.remaining.to_string()),
        ("x-ratelimit-reset".to_owned(), seconds(reset)),
        ("x-ratelimit-reset-after".to_owned(), seconds(standing.reset_after)),
    ]
}

/// A 429.
pub(crate) fn too_many(
    scope: Scope,
    retry_after: Duration,
    bucket_headers: Vec<(String, String)>,
) -> Reply {
    let message = match scope {
        Scope::Shared => "The resource is being rate limited.",
        Scope::User | Scope::Global => "You are being rate limited.",
    };
    // Clients sleep for exactly this long: never round down.
    let retry_ms = retry_after.as_nanos().div_ceil(1_000_000);
    let retry_after_s = retry_ms as f64 / 1000.0;
    let global = scope == Scope::Global;
    let body = json!({"message": message, "retry_after": retry_after_s, "global": global});
    let mut reply = Reply::json(429, body.to_string());
    reply.headers = if global {
        vec![("x-ratelimit-global".to_owned(), "true".to_owned())]
    } else {
        bucket_headers
    };
    reply.headers.push(("x-ratelimit-scope".to_owned(), scope.name().to_owned()));
    reply.headers.push(("retry-after".to_owned(), retry_ms.div_ceil(1000).to_string()));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(requests: u32) -> Bucket {
        let limit = Limit { requests, window: Duration::from_secs(5) };
        Bucket { route: "/channels/{channel}/messages", major: "1".to_owned(), limit, global: true }
    }

    #[test]
    fn a_window_fills_and_ends() {
        let mut limits = Limits::default();
        let bucket = bucket(2);
        let at = Duration::from_millis;
        assert_eq!(limits.count(at(0), &bucket).remaining, 1);
        assert_eq!(limits.count(at(100), &bucket).remaining, 0);
        let full = limits.count(at(1_000), &bucket);
        assert!(full.exceeded);
        assert_eq!(full.reset_after, at(4_000));
        let other = Bucket { major: "2".to_owned(), ..bucket.clone() };
        assert!(!limits.count(at(1_000), &other).exceeded, "another channel has its own");
        assert!(!limits.count(at(5_000), &bucket).exceeded);
    }

    #[test]
    fn a_429_never_says_too_little() {
        let reply = too_many(Scope::User, Duration::from_nanos(1_200_000_001), Vec::new());
        let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(body["retry_after"], 1.201);
        assert!(reply.headers.contains(&("retry-after".to_owned(), "2".to_owned())));
    }

    #[test]
    fn hashes_tell_routes_apart() {
        assert_eq!(hash("/a"), hash("/a"));
        assert_ne!(hash("/a"), hash("/b"));
        assert_eq!(hash("/a").len(), 32);
    }
}
