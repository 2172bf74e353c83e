//! A tunnel through an HTTP proxy: `CONNECT`, RFC 9110 section 9.3.6.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::BoxedIo;
use crate::config::ProxyUrl;

/// The longest answer of a proxy that is read.
const MAX_ANSWER_BYTES: usize = 8 << 10;

/// Asks the proxy at the other end of `stream` for a tunnel to `host`.
pub(super) async fn tunnel(
    mut stream: BoxedIo,
    proxy: &ProxyUrl,
    host: &str,
    port: u16,
) -> io::Result<BoxedIo> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let mut request =
        Zeroizing::new(format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n"));
    if let Some(credentials) = &proxy.credentials {
        let encoded = Zeroizing::new(STANDARD.encode(credentials.as_bytes()));
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(&encoded);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;

    // Byte by byte, because what follows the head belongs to the tunnel.
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_ANSWER_BYTES {
            return Err(refused("with a head that does not end"));
        }
        head.push(stream.read_u8().await.map_err(|_| refused("by closing the connection"))?);
    }
    let status = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let status = String::from_utf8_lossy(status);
    match status.split(' ').nth(1) {
        Some("200") => Ok(stream),
        _ => Err(refused(&format!("with {status:?}"))),
    }
}

/// The error of a proxy that does not let us through.
fn refused(how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, format!("the proxy answered {how}"))
}
