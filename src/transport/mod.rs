//! Bytes to and from Discord: sockets, proxies, TLS, websockets, decompression.
//!
//! Everything above the byte stream is the same whether that is TCP or, in tests, a pipe in memory;
//! [`Network`] is where the two part.

mod frames;
mod inflate;
mod proxy;
mod tcp;
pub(crate) mod tls;
mod upgrade;
mod websocket;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use frames::{Found, Incoming, Place};
pub use inflate::{Inflate, InflateError};
pub use tcp::Tcp;
pub(crate) use websocket::{Received, WebSocket};

use crate::config::{Config, ProxyUrl};
use crate::error::Error;

/// A two-way byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Any byte stream.
pub type BoxedIo = Box<dyn Io>;

/// A connection attempt.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<BoxedIo>> + Send + 'a>>;

/// Opens byte streams by name and port. [`Tcp`] does it in production; tests bring pipes to a
/// simulated Discord in the same process.
pub trait Network: Send + Sync + fmt::Debug {
    /// Connects to one place.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a>;
}

/// How a client reaches any server: through its network, its proxy, and TLS where asked for.
#[derive(Clone)]
pub struct Dialer {
    network: Arc<dyn Network>,
    proxy: Option<ProxyUrl>,
    tls: tokio_rustls::TlsConnector,
}

impl Dialer {
    /// A dialer as configured.
    ///
    /// # Errors
    /// When `ca_file` cannot be read or holds no certificate.
    pub fn new(config: &Config, network: Arc<dyn Network>) -> Result<Self, Error> {
        let tls = tls::connector(config.ca_file.as_deref())?;
        Ok(Self { network, proxy: config.proxy.clone(), tls })
    }

    /// A dialer for servers of the host's own: by TCP, and not through the proxy, which is for Discord.
    ///
    /// # Errors
    /// As [`Dialer::new`].
    pub(crate) fn direct(config: &Config) -> Result<Self, Error> {
        let tls = tls::connector(config.ca_file.as_deref())?;
        Ok(Self { network: Arc::new(Tcp), proxy: None, tls })
    }

    /// Opens a stream to a server.
    ///
    /// # Errors
    /// What failed and where, for people.
    pub async fn dial(&self, tls: bool, host: &str, port: u16) -> io::Result<BoxedIo> {
        let stream = match &self.proxy {
            None => self.connect(host, port).await?,
            Some(proxy) => {
                let mut stream = self.connect(&proxy.host, proxy.port).await?;
                if proxy.tls {
                    stream = tls::handshake(&self.tls, &proxy.host, stream).await?;
                }
                proxy::tunnel(stream, proxy, host, port).await?
            }
        };
        if tls { tls::handshake(&self.tls, host, stream).await } else { Ok(stream) }
    }

    /// Connects, and names the place in errors.
    async fn connect(&self, host: &str, port: u16) -> io::Result<BoxedIo> {
        self.network.connect(host, port).await.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot connect to {host} port {port}: {error}"))
        })
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, proxy, tls: _ } = self;
        f.debug_struct("Dialer").field("network", network).field("proxy", proxy).finish()
    }
}
