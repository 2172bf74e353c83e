//! Where the backplane is, as the config says it.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use crate::protocol::host_of;

/// Redis's port.
const REDIS_PORT: u16 = 6_379;

/// Where the backplane is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A file of this machine.
    Sqlite(PathBuf),
    /// A server.
    Redis(RedisUrl),
}

/// A Redis or Valkey server. Its credentials are not in its `Debug` and `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// `rediss://`.
    pub tls: bool,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The user of Redis's access control lists; none is the default user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Zeroizing<String>>,
    /// The number of the database.
    pub database: i64,
}

impl Address {
    /// Reads `sqlite:PATH`, `redis://[[user]:password@]host[:port][/database]`, or the same with `rediss://`.
    ///
    /// # Errors
    /// Says what is expected, and nothing of the text: that may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "is neither \"sqlite:PATH\" nor a URL like redis://host:6379/0, \
                             rediss://user:password@host:6379 (a password is percent-encoded)";
        if let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            return Ok(Self::Sqlite(path.into()));
        }
        let uri: http::Uri = text.parse().map_err(|_| WRONG)?;
        let tls = match uri.scheme_str() {
            Some("redis") => false,
            Some("rediss") => true,
            _ => return Err(WRONG),
        };
        let authority = uri.authority().ok_or(WRONG)?;
        let host = host_of(authority).ok_or(WRONG)?.to_owned();
        let decode = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8().map_err(|_| WRONG)?;
            Ok::<_, &'static str>((!decoded.is_empty()).then(|| decoded.into_owned()))
        };
        let (username, password) = match authority.as_str().rsplit_once('@') {
            None => (None, None),
            Some((typed, _)) => {
                let (user, password) = typed.split_once(':').unwrap_or((typed, ""));
                (decode(user)?, decode(password)?.map(Zeroizing::new))
            }
        };
        if uri.query().is_some() {
            return Err("has a query; there are no options");
        }
        let database = match uri.path().trim_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| "has a path that is no number of a database")?,
        };
        let port = authority.port_u16().unwrap_or(REDIS_PORT);
        Ok(Self::Redis(RedisUrl { tls, host, port, username, password, database }))
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        write!(f, "{scheme}://{}:{}/{}", self.host, self.port, self.database)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis(text: &str) -> RedisUrl {
        match Address::parse(text).expect(text) {
            Address::Redis(url) => url,
            Address::Sqlite(path) => panic!("{text} is {path:?}"),
        }
    }

    #[test]
    fn every_form_is_read_and_no_password_shows() {
        assert_eq!(Address::parse("sqlite:a/b"), Ok(Address::Sqlite("a/b".into())));
        let url = redis("redis://[::1]");
        assert_eq!(
            (url.tls, url.port, url.database, url.password.clone()),
            (false, 6_379, 0, None)
        );
        for (text, user) in [
            ("rediss://ann:s%40c%3Aret@redis.example:7000/3", Some("ann")),
            ("rediss://:s%40c%3Aret@redis.example:7000/3", None),
        ] {
            let url = redis(text);
            assert_eq!(url.username.as_deref(), user);
            assert_eq!(url.password.as_ref().map(|password| password.as_str()), Some("s@c:ret"));
            assert_eq!(format!("{url:?} {url}"), {
                let shown = "rediss://redis.example:7000/3";
                format!("{shown} {shown}")
            });
        }
        for text in [
            "",
            "sqlite:",
            "redis:x",
            "http://x",
            "redis://",
            "redis://:secret@x/a",
            "redis://x?db=1",
        ] {
            let why = Address::parse(text).expect_err(text);
            assert!(!why.contains("secret"), "{text}: {why}");
        }
    }
}
