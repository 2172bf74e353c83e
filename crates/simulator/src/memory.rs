//! The client's end of a connection inside this process.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Bytes each direction can hold before its writer waits.
const CAPACITY: usize = 64 * 1024;

/// A connection to the simulator without a socket, from
/// [`Simulator::connect`](crate::Simulator::connect). It behaves as a TCP stream does: after a
/// [`Cut::Reset`](crate::Cut::Reset) reading fails with `ConnectionReset`.
#[derive(Debug)]
pub struct MemoryStream {
    inner: DuplexStream,
    reset: Arc<AtomicBool>,
}

/// Makes a connection: the client's end, the simulator's, and what tells the client of a reset.
pub(crate) fn pair() -> (MemoryStream, DuplexStream, Arc<AtomicBool>) {
    let (inner, server) = tokio::io::duplex(CAPACITY);
    let reset = Arc::new(AtomicBool::new(false));
    (MemoryStream { inner, reset: reset.clone() }, server, reset)
}

impl MemoryStream {
    fn check(&self) -> io::Result<()> {
        if self.reset.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        // What had arrived before the reset can still be read, as from a socket of Linux. The
        // simulator sets the flag before it drops its end, which wakes this read.
        if buffer.filled().len() == before && buffer.capacity() > 0 {
            self.check()?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
