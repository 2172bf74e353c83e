//! The address a shard connects to.

use std::fmt;
use std::net::Ipv6Addr;

use serde::Deserialize;

use super::API_VERSION;

/// Transport compression of what Discord sends.
///
/// Source: <https://discord.com/developers/docs/events/gateway#transport-compression>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Plain JSON text frames: no inflate context in memory, about five times the bytes on the wire.
    None,
    /// `zlib-stream`: a small context per shard, the most CPU per event.
    Zlib,
    /// `zstd-stream`: the fewest bytes and far less CPU than zlib; the window costs memory per shard.
    #[default]
    Zstd,
}

/// A gateway base URL: scheme, host and port. Path and query are always ours.
///
/// `resume_gateway_url` and `/gateway/bot` give hosts without the parameters, and a resume must
/// repeat those of the first connection:
/// <https://discord.com/developers/docs/events/gateway#preparing-to-resume>.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GatewayUrl {
    /// Whether the scheme is `wss`.
    pub tls: bool,
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port; 443 or 80 where the URL has none.
    pub port: u16,
}

impl GatewayUrl {
    /// Reads `wss://host[:port][/…]` or `ws://…`; what follows the authority is dropped.
    ///
    /// # Errors
    /// Says what a gateway URL looks like when `url` is not one.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong =
            |why: &str| format!("{url:?} is not a gateway URL ({why}); expected wss://HOST");
        let uri: http::Uri = url.parse().map_err(|_| wrong("not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            _ => return Err(wrong("the scheme is not wss or ws")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it has a user name"));
        }
        let host = host_of(authority).ok_or_else(|| wrong("no host"))?.to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host, port })
    }

    /// The full URL of one connection, with version, encoding and compression.
    pub fn connect_url(&self, compression: Compression) -> String {
        let compress = match compression {
            Compression::None => "",
            Compression::Zlib => "&compress=zlib-stream",
            Compression::Zstd => "&compress=zstd-stream",
        };
        format!("{self}/?v={API_VERSION}&encoding=json{compress}")
    }
}

/// The host of a URL, IPv6 without brackets; `None` where there is none. The reader of URLs is not
/// strict about brackets, and takes what no name may have within them.
pub(crate) fn host_of(authority: &http::uri::Authority) -> Option<&str> {
    let host = authority.host();
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok().then_some(address),
        None => (!host.is_empty() && !host.contains(['[', ']'])).then_some(host),
    }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "wss" } else { "ws" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}", self.host)?;
        if self.port == if self.tls { 443 } else { 80 } {
            return Ok(());
        }
        write!(f, ":{}", self.port)
    }
}

impl fmt::Debug for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(url: &str) -> String {
        GatewayUrl::parse(url).expect("a gateway URL").connect_url(Compression::Zstd)
    }

    /// Scenario 7: with or without path and query, the parameters are ours and always the same.
    #[test]
    fn parameters_are_the_same_for_every_form() {
        let expected = "wss://gateway.discord.gg/?v=10&encoding=json&compress=zstd-stream";
        for url in [
            "wss://gateway.discord.gg",
            "wss://gateway.discord.gg/",
            "wss://gateway.discord.gg/?v=9&encoding=etf",
            "wss://gateway.discord.gg:443",
        ] {
            assert_eq!(full(url), expected);
        }
        assert_eq!(
            full("ws://[::1]:8080"),
            "ws://[::1]:8080/?v=10&encoding=json&compress=zstd-stream"
        );
        let plain = GatewayUrl::parse("ws://localhost").expect("a gateway URL");
        assert_eq!(plain.connect_url(Compression::None), "ws://localhost/?v=10&encoding=json");
    }

    #[test]
    fn what_is_not_a_gateway_url_is_refused_by_name() {
        for url in [
            "",
            "gateway.discord.gg",
            "https://x",
            "wss://",
            "wss://u:p@x",
            "wss://a b",
            "ws://a[:]80",
            // Found by the fuzz target `config`.
            "ws://[a%b]",
            "ws://[]",
        ] {
            let error = GatewayUrl::parse(url).expect_err(url);
            assert!(error.contains("expected wss://HOST"), "{error}");
        }
    }
}
