//! What an answer says about rate limits.
//!
//! Times count from now, never from the epoch: the clocks of this machine and of Discord need not
//! agree.
//!
//! Source: <https://discord.com/developers/docs/topics/rate-limits>.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;

/// The longest wait that is believed.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The wait after a 429 that names none.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);

/// The same when it comes from Cloudflare, whose bans last for minutes up to an hour.
const DEFAULT_CLOUDFLARE_WAIT: Duration = Duration::from_secs(60);

/// The longest name of a bucket that is taken for one.
const MAX_NAME_BYTES: usize = 128;

/// An answer as the limiter sees it.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The limit that the request was counted in.
    pub(super) limits: Option<Limits>,
    /// That and why it was refused with a 429.
    pub(super) rate_limited: Option<RateLimited>,
}

/// The `X-RateLimit` headers.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// The name of the limit, the same for all routes that share it.
    pub(super) bucket: Option<Box<str>>,
    /// Requests per window.
    pub(super) limit: u32,
    /// Requests left in the window.
    pub(super) remaining: u32,
    /// Time until the window ends.
    pub(super) reset_after: Duration,
}

/// A 429.
#[derive(Debug, Clone, Copy)]
pub(super) struct RateLimited {
    /// What was exceeded.
    pub(super) scope: RateLimitScope,
    /// Time until it may be tried again.
    pub(super) retry_after: Duration,
}

/// Which limit a 429 speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimitScope {
    /// The bot's own limit of a route.
    User,
    /// The bot's requests per second, all routes together.
    Global,
    /// A limit of the resource that others use up, too. Not counted as a mistake.
    Shared,
    /// No limit of the API: the address is kept out for its many invalid requests.
    Cloudflare,
}

impl RateLimitScope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::User, Self::Global, Self::Shared, Self::Cloudflare];

    /// The word Discord has for it; `cloudflare` for that, where Discord has none.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Global => "global",
            Self::Shared => "shared",
            Self::Cloudflare => "cloudflare",
        }
    }
}

/// The body of a 429.
#[derive(Deserialize)]
struct Refusal {
    retry_after: Option<f64>,
    #[serde(default)]
    global: bool,
}

impl Answer {
    /// Reads status, headers and, for a 429, the body.
    pub(super) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let limits = Limits::read(headers);
        let rate_limited = (status == StatusCode::TOO_MANY_REQUESTS)
            .then(|| RateLimited::read(headers, body, limits.as_ref()));
        Self { status: status.as_u16(), limits, rate_limited }
    }

    /// Whether Discord counts it towards the limit of 10,000 invalid requests.
    ///
    /// Source: <https://discord.com/developers/docs/topics/rate-limits#invalid-request-limit-aka-cloudflare-bans>.
    pub(super) fn is_invalid(&self) -> bool {
        match self.rate_limited {
            Some(refused) => refused.scope != RateLimitScope::Shared,
            None => matches!(self.status, 401 | 403),
        }
    }

    /// Whether it came from the API itself, so that what is not in it is not there.
    pub(super) fn is_conclusive(&self) -> bool {
        self.status < 500 && !matches!(self.status, 401 | 429)
    }
}

impl Limits {
    /// Reads the headers; half a limit is none.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let limit: u32 = number(headers, "x-ratelimit-limit")?;
        Some(Self {
            bucket: text(headers, "x-ratelimit-bucket")
                .filter(|name| !name.is_empty() && name.len() <= MAX_NAME_BYTES)
                .map(Into::into),
            limit: limit.max(1),
            remaining: number(headers, "x-ratelimit-remaining")?,
            reset_after: seconds(number(headers, "x-ratelimit-reset-after")?)?,
        })
    }
}

impl RateLimited {
    /// Reads headers and body of a 429.
    fn read(headers: &HeaderMap, body: &[u8], limits: Option<&Limits>) -> Self {
        let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
        let named_wait = refusal
            .as_ref()
            .and_then(|refusal| seconds(refusal.retry_after?))
            .or_else(|| seconds(number(headers, "retry-after")?));
        let is_global = headers.contains_key("x-ratelimit-global")
            || refusal.as_ref().is_some_and(|refusal| refusal.global);
        let scope = match text(headers, "x-ratelimit-scope") {
            Some("shared") => RateLimitScope::Shared,
            Some("global") => RateLimitScope::Global,
            _ if is_global => RateLimitScope::Global,
            Some(_) => RateLimitScope::User,
            None if limits.is_some() => RateLimitScope::User,
            // The API names the wait in the body; Cloudflare sends HTML, or JSON without it.
            None if refusal.is_some_and(|refusal| refusal.retry_after.is_some()) => {
                RateLimitScope::User
            }
            None => RateLimitScope::Cloudflare,
        };
        let default = match scope {
            RateLimitScope::Cloudflare => DEFAULT_CLOUDFLARE_WAIT,
            _ => limits.map_or(DEFAULT_WAIT, |limits| limits.reset_after),
        };
        Self { scope, retry_after: named_wait.unwrap_or(default) }
    }
}

/// A header as text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// A header as a number.
fn number<N: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<N> {
    text(headers, name)?.parse().ok()
}

/// Seconds as a duration; `None` for what no clock can show.
fn seconds(seconds: f64) -> Option<Duration> {
    if seconds.is_nan() || seconds < 0.0 {
        return None;
    }
    Some(Duration::try_from_secs_f64(seconds).map_or(MAX_WAIT, |wait| wait.min(MAX_WAIT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect();
        Answer::read(StatusCode::from_u16(status).expect("a status"), &headers, body.as_bytes())
    }

    fn scope_and_wait_ms(answer: &Answer) -> (RateLimitScope, u128) {
        let refused = answer.rate_limited.expect("a 429");
        (refused.scope, refused.retry_after.as_millis())
    }

    const LIMITS: [(&str, &str); 5] = [
        ("x-ratelimit-limit", "10"),
        ("x-ratelimit-remaining", "9"),
        ("x-ratelimit-reset", "1470173023.123"),
        ("x-ratelimit-reset-after", "64.57"),
        ("x-ratelimit-bucket", "abcd1234"),
    ];

    #[test]
    fn limits_are_read_whole_or_not_at_all() {
        let limits = read(200, &LIMITS, "").limits.expect("complete");
        assert_eq!((limits.limit, limits.remaining), (10, 9));
        assert_eq!(limits.reset_after, Duration::from_millis(64_570));
        assert_eq!(limits.bucket.as_deref(), Some("abcd1234"));
        for missing in [0, 1, 3] {
            let mut headers = LIMITS.to_vec();
            headers.remove(missing);
            assert!(read(200, &headers, "").limits.is_none(), "without {}", LIMITS[missing].0);
        }
        assert!(read(200, &LIMITS[..4], "").limits.expect("complete").bucket.is_none());
    }

    /// Promise 6: whatever the headers say, there is a sensible number or none.
    #[test]
    fn numbers_from_a_broken_server_do_no_harm() {
        for (name, value) in [
            ("x-ratelimit-limit", "-1"),
            ("x-ratelimit-limit", "ten"),
            ("x-ratelimit-limit", "99999999999"),
            ("x-ratelimit-remaining", "NaN"),
            ("x-ratelimit-remaining", "-3"),
            ("x-ratelimit-reset-after", "NaN"),
            ("x-ratelimit-reset-after", "-1"),
            ("x-ratelimit-reset-after", ""),
        ] {
            let mut headers = LIMITS.to_vec();
            headers.retain(|(known, _)| *known != name);
            headers.push((name, value));
            assert!(read(200, &headers, "").limits.is_none(), "{name}: {value}");
        }
        for value in ["inf", "1e300", "99999999999999999999"] {
            let headers = [LIMITS[0], LIMITS[1], ("x-ratelimit-reset-after", value)];
            let limits = read(200, &headers, "").limits.expect("complete");
            assert_eq!(limits.reset_after, MAX_WAIT, "{value}");
        }
        let headers = [LIMITS[1], LIMITS[3], ("x-ratelimit-limit", "0")];
        assert_eq!(read(200, &headers, "").limits.expect("complete").limit, 1);
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        let headers = [LIMITS[0], LIMITS[1], LIMITS[3], ("x-ratelimit-bucket", long.as_str())];
        assert!(read(200, &headers, "").limits.expect("complete").bucket.is_none());
    }

    /// The three refusals in Discord's documentation, and those of Cloudflare.
    #[test]
    fn the_scope_of_a_refusal_is_recognized() {
        use RateLimitScope::{Cloudflare, Global, Shared, User};
        let body =
            r#"{"message":"You are being rate limited.","retry_after":64.57,"global":false}"#;
        let global =
            r#"{"message":"You are being rate limited.","retry_after":64.57,"global":true}"#;
        let with = |extra: &[(&'static str, &'static str)]| [&LIMITS[..], extra].concat();
        let banned = r#"{"code":0,"message":"You are being blocked from accessing our API"}"#;
        for (headers, body, expected) in [
            (with(&[("retry-after", "65"), ("x-ratelimit-scope", "user")]), body, (User, 64_570)),
            (with(&[("retry-after", "9"), ("x-ratelimit-scope", "shared")]), "", (Shared, 9_000)),
            (
                vec![("x-ratelimit-global", "true"), ("x-ratelimit-scope", "global")],
                global,
                (Global, 64_570),
            ),
            (vec![("x-ratelimit-global", "true")], "", (Global, 5_000)),
            (vec![], global, (Global, 64_570)),
            (vec![], body, (User, 64_570)),
            (with(&[]), "", (User, 64_570)),
            (with(&[]), r#"{"retry_after":"soon"}"#, (User, 64_570)),
            (vec![("retry-after", "1800")], "<html>error 1015</html>", (Cloudflare, 1_800_000)),
            (vec![], "", (Cloudflare, 60_000)),
            (vec![], banned, (Cloudflare, 60_000)),
            (vec![("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], "", (Cloudflare, 60_000)),
            (vec![], r#"{"retry_after":-1,"global":false}"#, (User, 5_000)),
            (vec![], r#"{"retry_after":1e99,"global":true}"#, (Global, 86_400_000)),
        ] {
            let answer = read(429, &headers, body);
            assert_eq!(scope_and_wait_ms(&answer), expected, "{headers:?} {body}");
            assert_eq!(answer.is_invalid(), expected.0 != Shared);
        }
        assert!(read(200, &LIMITS, global).rate_limited.is_none());
    }

    #[test]
    fn only_some_refusals_count_as_invalid() {
        for (status, invalid) in
            [(200, false), (400, false), (401, true), (403, true), (404, false)]
        {
            assert_eq!(read(status, &[], "").is_invalid(), invalid, "{status}");
        }
    }
}
