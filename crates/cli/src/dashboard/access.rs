//! Who may see the dashboard, and who may do something with it.
//!
//! Without tokens, on an address of this machine only, everybody on this machine may do everything. A browser is
//! made to help others in: a page of theirs could have it ask us (so the origin is checked, and what changes
//! something carries a header that no form can send), or take our name (so without tokens the host has to be this
//! machine's).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Uri};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use subtle::ConstantTimeEq;

/// The variable with the token of those who may do everything.
pub(crate) const OPERATE: &str = "SHARDWRIGHT_DASHBOARD_TOKEN";

/// The variable with the token of those who may only look.
pub(crate) const VIEW: &str = "SHARDWRIGHT_DASHBOARD_VIEW_TOKEN";

/// A shorter token can be guessed.
const SHORTEST: usize = 16;

/// The cookie of a browser that has logged in.
const COOKIE_NAME: &str = "shardwright";

/// The header of requests that change something.
const HEADER: &str = "x-shardwright";

/// A browser has to log in again after this.
const LOGGED_IN: Duration = Duration::from_secs(12 * 60 * 60);

/// Browsers that are logged in at the same time; the oldest has to log in again.
const MAX_LOGGED_IN: usize = 1_000;

/// Wrong tokens that are looked at in a minute.
const MAX_WRONG: u32 = 20;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    View,
    Operate,
}

/// Why somebody may not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No token, or a wrong one.
    Unknown,
    /// The request comes from another page, or under another name.
    Foreign(&'static str),
    /// Too many wrong tokens.
    TooMany,
}

/// Who may do what.
#[derive(Debug)]
pub(crate) struct Access {
    /// Digests of the tokens, so that all are of one length.
    tokens: Vec<([u8; 32], Role)>,
    logged_in: Mutex<HashMap<[u8; 32], (Role, Instant)>>,
    /// When the minute began, and how many wrong tokens there were in it.
    wrong: Mutex<(Instant, u32)>,
}

impl Access {
    /// For a server at this address, with the tokens that the environment has.
    ///
    /// # Errors
    /// When others could get in: without a token, or with one that can be guessed.
    pub(crate) fn new(
        address: SocketAddr,
        env: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let mut tokens = Vec::new();
        for (name, role) in [(OPERATE, Role::Operate), (VIEW, Role::View)] {
            let Some(token) = env(name).filter(|token| !token.is_empty()) else { continue };
            ensure!(
                token.len() >= SHORTEST,
                "{name} has {} characters, which can be guessed; take {SHORTEST} or more, such as `openssl rand \
                 -hex 24` prints",
                token.len()
            );
            tokens.push((hash(token.as_bytes()), role));
        }
        ensure!(
            !tokens.is_empty() || address.ip().is_loopback(),
            "everybody who reaches {address} could drive the bot: set {OPERATE} (and {VIEW} for those who may only \
             look) in the environment, or stay on 127.0.0.1"
        );
        Ok(Self { tokens, logged_in: Mutex::default(), wrong: Mutex::new((Instant::now(), 0)) })
    }

    /// Whether somebody has to log in.
    pub(crate) fn is_closed(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// What who sent a request may do.
    ///
    /// # Errors
    /// Why it is refused.
    pub(crate) fn role(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Role, Refusal> {
        let text = |name: &axum::http::HeaderName| headers.get(name)?.to_str().ok();
        let host = text(&HOST).or_else(|| uri.authority().map(Authority::as_str));
        if let Some(origin) = headers.get(ORIGIN) {
            let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            if origin.is_none_or(|(_, origin)| Some(origin) != host) {
                return Err(Refusal::Foreign("this request comes from a page of somebody else"));
            }
        }
        let is_safe = matches!(*method, Method::GET | Method::HEAD);
        if !is_safe && !headers.contains_key(HEADER) {
            return Err(Refusal::Foreign(
                "a request that changes something has the header X-Shardwright: 1",
            ));
        }
        if !self.is_closed() {
            let is_ours = host.is_some_and(is_this_machine);
            let foreign = "open the dashboard as 127.0.0.1 or localhost: without a token it answers to no other name";
            return if is_ours { Ok(Role::Operate) } else { Err(Refusal::Foreign(foreign)) };
        }
        if let Some(token) = text(&AUTHORIZATION).and_then(|it| it.strip_prefix("Bearer ")) {
            return self.role_of(token);
        }
        let cookies = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut cookies = cookies.flat_map(|cookies| cookies.split("; "));
        let cookie = cookies.find_map(|it| it.strip_prefix(COOKIE_NAME)?.strip_prefix('='));
        self.role_of_cookie(cookie.unwrap_or_default()).ok_or(Refusal::Unknown)
    }

    /// Logs a browser in: its cookie.
    ///
    /// # Errors
    /// When the token is wrong.
    pub(crate) fn log_in(&self, token: &str) -> Result<String, Refusal> {
        let role = self.role_of(token.trim())?;
        let mut secret = [0; 32];
        // Only without a source of random numbers, and then nobody gets in.
        SystemRandom::new().fill(&mut secret).map_err(|_| Refusal::Unknown)?;
        let secret = URL_SAFE_NO_PAD.encode(secret);
        let now = Instant::now();
        let mut logged_in = self.logged_in.lock().unwrap_or_else(PoisonError::into_inner);
        logged_in.retain(|_, (_, since)| now.duration_since(*since) < LOGGED_IN);
        if logged_in.len() >= MAX_LOGGED_IN {
            let oldest = logged_in.iter().min_by_key(|(_, (_, since))| *since);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                logged_in.remove(&oldest);
            }
        }
        logged_in.insert(hash(secret.as_bytes()), (role, now));
        let seconds = LOGGED_IN.as_secs();
        Ok(format!("{COOKIE_NAME}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}"))
    }

    /// What who has a token may do.
    fn role_of(&self, token: &str) -> Result<Role, Refusal> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.0.elapsed() > Duration::from_secs(60) {
            *wrong = (Instant::now(), 0);
        }
        if wrong.1 >= MAX_WRONG {
            return Err(Refusal::TooMany);
        }
        let digest = hash(token.as_bytes());
        // All are looked at, so that the time it takes says nothing.
        let same =
            |(known, role): &([u8; 32], Role)| bool::from(known.ct_eq(&digest)).then_some(*role);
        let roles: Vec<Role> = self.tokens.iter().filter_map(same).collect();
        roles.first().copied().ok_or_else(|| {
            wrong.1 += 1;
            Refusal::Unknown
        })
    }

    /// The same of a browser that has logged in. What is looked up is a digest: the time it takes says nothing of
    /// the cookie.
    fn role_of_cookie(&self, cookie: &str) -> Option<Role> {
        let logged_in = self.logged_in.lock().unwrap_or_else(PoisonError::into_inner);
        let (role, since) = logged_in.get(&hash(cookie.as_bytes()))?;
        (since.elapsed() < LOGGED_IN).then_some(*role)
    }
}

/// Whether a `Host` is this machine by one of its own names.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// The SHA-256 digest.
fn hash(text: &[u8]) -> [u8; 32] {
    let mut digest32 = [0; 32];
    digest32.copy_from_slice(digest(&SHA256, text).as_ref());
    digest32
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";
    const VIEWER: &str = "fedcba9876543210";

    fn closed() -> Access {
        let env = |name: &str| Some(if name == OPERATE { TOKEN } else { VIEWER }.to_owned());
        Access::new(([0, 0, 0, 0], 80).into(), env).expect("tokens")
    }

    fn open() -> Access {
        Access::new(([127, 0, 0, 1], 80).into(), |_| None).expect("this machine")
    }

    fn asks(access: &Access, method: &Method, headers: &[(&str, &str)]) -> Result<Role, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in [("host", "localhost:80")].iter().chain(headers) {
            let name: axum::http::HeaderName = name.parse().expect("a name");
            map.insert(name, value.parse().expect("a value"));
        }
        access.role(method, &"/api/v1/state".parse().expect("a path"), &map)
    }

    #[test]
    fn nobody_is_let_in_by_mistake() {
        let error = Access::new(([0, 0, 0, 0], 80).into(), |_| None).expect_err("open to all");
        assert!(error.to_string().contains(OPERATE), "{error}");
        let error = Access::new(([127, 0, 0, 1], 80).into(), |_| Some("short".to_owned()));
        let error = error.expect_err("easy to guess").to_string();
        assert!(error.contains("5 characters") && !error.contains("short;"), "{error}");
        let none = Access::new(([127, 0, 0, 1], 80).into(), |_| Some(String::new()));
        assert!(!none.expect("as without").is_closed());
    }

    #[test]
    fn tokens_have_roles() {
        let access = closed();
        assert_eq!(asks(&access, &Method::GET, &[]), Err(Refusal::Unknown));
        let bearer = |token: &str| format!("Bearer {token}");
        let with = |token: &str| asks(&access, &Method::GET, &[("authorization", &bearer(token))]);
        assert_eq!(with(TOKEN), Ok(Role::Operate));
        assert_eq!(with(VIEWER), Ok(Role::View));
        assert_eq!(with(&TOKEN[1..]), Err(Refusal::Unknown));
        let cookie = access.log_in(VIEWER).expect("the right token");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
        assert!(!cookie.contains(VIEWER));
        let cookie = format!("other=1; {}", cookie.split(';').next().expect("a pair"));
        assert_eq!(asks(&access, &Method::GET, &[("cookie", &cookie)]), Ok(Role::View));
        let forged = [("cookie", "shardwright=x")];
        assert_eq!(asks(&access, &Method::GET, &forged), Err(Refusal::Unknown));
        assert_eq!(access.log_in("wrong"), Err(Refusal::Unknown));
    }

    #[test]
    fn guessing_is_slow() {
        let access = closed();
        for _ in 0..MAX_WRONG {
            assert_eq!(access.log_in("wrong"), Err(Refusal::Unknown));
        }
        assert_eq!(access.log_in(TOKEN), Err(Refusal::TooMany));
        // Who is logged in stays so.
        access.wrong.lock().expect("no panic").1 = 0;
        let cookie = access.log_in(TOKEN).expect("the right token");
        access.wrong.lock().expect("no panic").1 = MAX_WRONG;
        let cookie = cookie.split(';').next().expect("a pair");
        assert_eq!(asks(&access, &Method::GET, &[("cookie", cookie)]), Ok(Role::Operate));
    }

    #[test]
    fn pages_of_others_are_refused() {
        let access = open();
        assert_eq!(asks(&access, &Method::GET, &[]), Ok(Role::Operate));
        let same = ("origin", "http://localhost:80");
        assert_eq!(asks(&access, &Method::GET, &[same]), Ok(Role::Operate));
        for foreign in ["http://evil.example", "null", "http://localhost:81", "http://localhost"] {
            let refused = asks(&access, &Method::GET, &[("origin", foreign)]);
            assert!(matches!(refused, Err(Refusal::Foreign(_))), "{foreign}");
        }
        let refused = asks(&access, &Method::POST, &[same]);
        assert!(matches!(refused, Err(Refusal::Foreign(_))), "a form could send that");
        assert_eq!(asks(&access, &Method::POST, &[same, (HEADER, "1")]), Ok(Role::Operate));
    }

    #[test]
    fn others_cannot_take_our_name() {
        let access = open();
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:80", "127.1.2.3", "[::1]:80", "[::1]"] {
            assert_eq!(asks(&access, &Method::GET, &[("host", host)]), Ok(Role::Operate), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:80", "10.0.0.1", "", ":80"] {
            let refused = asks(&access, &Method::GET, &[("host", host)]);
            assert!(matches!(refused, Err(Refusal::Foreign(_))), "{host}");
        }
    }
}
