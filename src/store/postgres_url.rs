//! `postgres://…`: where a server is, and how far it is to be trusted.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, Host, SslMode};

/// The longest wait for one of several hosts, unless the URL says another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A PostgreSQL server. Its password is not in its `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    config: Config,
    /// Whether the server has to show a certificate that is trusted.
    is_verified: bool,
    /// The certificate authorities that are trusted instead of the others.
    root_certificates: Option<PathBuf>,
    /// What it is called in texts for people.
    name: String,
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PostgresUrl {
    /// Reads `postgres://user:password@host:port/database?sslmode=require`, with what libpq calls
    /// parameters behind the `?`.
    ///
    /// # Errors
    /// Says what is wrong with it, without repeating any of it: it may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let mut is_verified = false;
        let mut mode = SslMode::Prefer;
        let mut root_certificates = None;
        let mut others = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=').unwrap_or((parameter, "")) {
                ("sslmode", value) => {
                    (mode, is_verified) = match value {
                        "disable" => (SslMode::Disable, false),
                        "prefer" => (SslMode::Prefer, false),
                        "require" | "verify-full" => (SslMode::Require, true),
                        _ => {
                            let known = "disable, prefer, require and verify-full";
                            return Err(format!("has another `sslmode` than {known}"));
                        }
                    };
                }
                ("sslrootcert", value) => {
                    let path = percent_decode_str(value).decode_utf8();
                    let path = path.map_err(|_| "has an `sslrootcert` that is not UTF-8")?;
                    root_certificates = Some(PathBuf::from(path.as_ref()));
                }
                _ => others.push(parameter),
            }
        }
        let url = format!("{base}?{}", others.join("&"));
        let mut config: Config = url.parse().map_err(|_| {
            "is not a URL like postgres://user:password@host:5432/database?sslmode=require; what a \
             URL gives a meaning to (: / ? # @ % &) is percent-encoded in a password, and the \
             parameters are those of tokio-postgres, sslmode and sslrootcert"
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("names no host".to_owned());
        }
        if config.get_channel_binding() == ChannelBinding::Require {
            return Err("requires `channel_binding`, which is not supported".to_owned());
        }
        config.ssl_mode(mode);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("shardwright");
        }
        let name = name_of(&config);
        Ok(Self { config, is_verified, root_certificates, name })
    }

    /// What it is called in texts for people: the hosts.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How to connect.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the server has to show a certificate that is trusted.
    pub(super) fn is_verified(&self) -> bool {
        self.is_verified
    }

    /// The certificate authorities that are trusted instead of the others.
    pub(super) fn root_certificates(&self) -> Option<&Path> {
        self.root_certificates.as_deref()
    }
}

/// The hosts with their ports.
fn name_of(config: &Config) -> String {
    let ports = config.get_ports();
    let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| match host {
        Host::Tcp(name) => format!("{name}:{}", port(index)),
        Host::Unix(path) => format!("{}:{}", path.display(), port(index)),
    });
    let mut names: Vec<String> = hosts.collect();
    if names.is_empty() {
        let addresses = config.get_hostaddrs().iter().enumerate();
        names = addresses.map(|(index, address)| format!("{address}:{}", port(index))).collect();
    }
    format!("PostgreSQL at {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> PostgresUrl {
        PostgresUrl::parse(text).expect(text)
    }

    #[test]
    fn every_form_is_read() {
        let plain = read("postgres://me:a%3Ab%40c@db.example/bot");
        assert_eq!(plain.config().get_user(), Some("me"));
        assert_eq!(plain.config().get_password(), Some(&b"a:b@c"[..]));
        assert_eq!(plain.config().get_dbname(), Some("bot"));
        assert_eq!(plain.name(), "PostgreSQL at db.example:5432");
        assert_eq!((plain.config().get_ssl_mode(), plain.is_verified()), (SslMode::Prefer, false));

        let full = read(
            "postgresql://one:1,two:2/bot?sslmode=verify-full&sslrootcert=/a%20b.pem\
             &target_session_attrs=read-write&application_name=x",
        );
        assert_eq!(full.name(), "PostgreSQL at one:1, two:2");
        assert_eq!((full.config().get_ssl_mode(), full.is_verified()), (SslMode::Require, true));
        assert_eq!(full.root_certificates(), Some(Path::new("/a b.pem")));
        assert_eq!(full.config().get_application_name(), Some("x"));

        let socket = read("postgres:///bot?host=/run/postgresql&sslmode=disable");
        assert_eq!(socket.name(), "PostgreSQL at /run/postgresql:5432");
        assert_eq!(socket.config().get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, part) in [
            ("postgres://me:hunter2@host:port/bot", "percent-encoded"),
            ("postgres://me:hunter2@host/bot?hunter2=1", "percent-encoded"),
            ("postgres://me:hunter2@/bot", "no host"),
            ("postgres://me:hunter2@host/bot?sslmode=hunter2", "verify-full"),
            ("postgres://me:hunter2@host/bot?channel_binding=require", "channel_binding"),
        ] {
            let error = PostgresUrl::parse(url).expect_err(url);
            assert!(error.contains(part) && !error.contains("hunter2"), "{url}: {error}");
        }
        assert!(!format!("{:?}", read("postgres://me:hunter2@host/bot")).contains("hunter2"));
    }
}
