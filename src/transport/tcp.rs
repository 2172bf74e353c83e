//! TCP, by name.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::{BoxedIo, Connecting, Network};

/// Patience with one address, so that a dead one of several does not use up the whole attempt.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(4);

/// The operating system's TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Network for Tcp {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a> {
        Box::pin(async move {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in lookup_host((host, port)).await? {
                match timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
                    Ok(Ok(stream)) => {
                        // Heartbeats and commands are small and must not wait for more to send.
                        stream.set_nodelay(true)?;
                        return Ok(Box::new(stream) as BoxedIo);
                    }
                    Ok(Err(error)) => last = error,
                    Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer"),
                }
            }
            Err(last)
        })
    }
}
