//! The HTTP proxy that all connections go through.

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::error::invalid;
use crate::error::Error;
use crate::protocol::host_of;

/// An HTTP proxy. Its credentials are not in its `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    /// Whether the connection to the proxy itself is TLS.
    pub tls: bool,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `user:password`, as it goes into `Proxy-Authorization` once encoded.
    pub credentials: Option<Zeroizing<String>>,
}

impl ProxyUrl {
    /// `http://[user:password@]host:port`. The URL may hold a password, so no error repeats it.
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let wrong =
            || invalid("proxy", "is not a URL like http://host:3128 or http://user:pw@host:3128");
        let uri: http::Uri = url.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        let host = host_of(authority).ok_or_else(wrong)?.to_owned();
        let credentials = match authority.as_str().rsplit_once('@') {
            None => None,
            Some((typed, _)) => {
                // Decoded after the split: a `:` or `@` of the password itself is typed as %3A or %40.
                let (user, password) = typed.split_once(':').unwrap_or((typed, ""));
                let decode = |text| percent_decode_str(text).decode_utf8().map_err(|_| wrong());
                Some(Zeroizing::new(format!("{}:{}", decode(user)?, decode(password)?)))
            }
        };
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host, port, credentials })
    }
}

impl std::fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}
