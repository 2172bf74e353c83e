//! The byte stream under everything: passes bytes through until it is told to misbehave.
//!
//! TLS, HTTP and websocket all stand above, so what happens here is what a broken network does:
//! half-open links, resets, slow and chopped delivery.

use std::fmt;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How a socket is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// An orderly end of the TCP stream without a close frame.
    Fin,
    /// A TCP reset; on an in-memory stream the client's next read fails with `ConnectionReset`.
    Reset,
    /// Half-open: nothing is sent any more and nothing that comes is looked at, but the socket
    /// stays until the client lets go of it.
    Silence,
}

/// Chopped delivery: at most `bytes` at once, then a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// Most bytes written at once; on TCP each write is a segment of its own.
    pub bytes: usize,
    /// Pause after each write.
    pub gap_ms: u64,
}

impl Pace {
    /// Twenty steps per second that add up to this rate.
    pub fn per_second(bytes: u64) -> Self {
        // No wire is faster than a terabyte per second.
        let bytes = bytes.clamp(1, 1 << 40);
        let step = (bytes / 20).max(1);
        Self { bytes: usize::try_from(step).unwrap_or(usize::MAX), gap_ms: step * 1000 / bytes }
    }
}

/// What the stream does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Open,
    Dropped(Cut),
}

#[derive(Debug, Default)]
struct Control {
    mode: Mode,
    pace: Option<Pace>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The handle that makes a [`Wire`] misbehave.
#[derive(Debug, Default)]
pub(crate) struct WireControl(Mutex<Control>);

impl WireControl {
    fn with<R>(&self, change: impl FnOnce(&mut Control) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Control)) {
        let wakers = self.with(|control| {
            change(control);
            [control.reader.take(), control.writer.take()]
        });
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Drops the stream. The first drop counts, but silence can still turn into an end.
    pub(crate) fn drop_stream(&self, how: Cut) {
        self.change(|control| {
            if matches!(control.mode, Mode::Open | Mode::Dropped(Cut::Silence)) {
                control.mode = Mode::Dropped(how);
            }
        });
    }

    /// Whether the stream was dropped by [`drop_stream`](Self::drop_stream).
    pub(crate) fn dropped(&self) -> Option<Cut> {
        self.with(|control| match control.mode {
            Mode::Open => None,
            Mode::Dropped(how) => Some(how),
        })
    }

    /// Slows writing down, or ends that.
    pub(crate) fn set_pace(&self, pace: Option<Pace>) {
        self.change(|control| control.pace = pace);
    }
}

/// Prepares an inner stream for being dropped with a reset.
pub(crate) type OnReset<S> = Box<dyn Fn(&S) + Send + Sync>;

/// A stream that can be made to misbehave.
pub(crate) struct Wire<S> {
    inner: S,
    control: Arc<WireControl>,
    on_reset: OnReset<S>,
    finished: bool,
    next_write: Option<Pin<Box<Sleep>>>,
}

impl<S> Wire<S> {
    /// Wraps a stream; `on_reset` is called before it is dropped with a reset.
    pub(crate) fn new(inner: S, on_reset: OnReset<S>) -> (Self, Arc<WireControl>) {
        let control = Arc::new(WireControl::default());
        let wire =
            Self { inner, control: control.clone(), on_reset, finished: false, next_write: None };
        (wire, control)
    }
}

impl<S> fmt::Debug for Wire<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("control", &self.control).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Reads and forgets, to notice when the client lets go.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mode = self.control.with(|control| {
            control.reader = Some(cx.waker().clone());
            control.mode
        });
        match mode {
            Mode::Open => Pin::new(&mut self.inner).poll_read(cx, buffer),
            Mode::Dropped(Cut::Silence) => self.poll_discard(cx),
            Mode::Dropped(Cut::Fin) => {
                if !self.finished {
                    ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
                    self.finished = true;
                }
                // Closing a TCP socket with unread bytes sends a reset: read to the client's end.
                self.poll_discard(cx)
            }
            Mode::Dropped(Cut::Reset) => {
                (self.on_reset)(&self.inner);
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let (mode, pace) = self.control.with(|control| {
            control.writer = Some(cx.waker().clone());
            (control.mode, control.pace)
        });
        match mode {
            Mode::Dropped(Cut::Silence) => return Poll::Pending,
            Mode::Dropped(Cut::Fin) => {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            Mode::Dropped(Cut::Reset) => {
                (self.on_reset)(&self.inner);
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            Mode::Open => {}
        }
        let Some(pace) = pace else {
            self.next_write = None;
            return Pin::new(&mut self.inner).poll_write(cx, bytes);
        };
        if let Some(sleep) = &mut self.next_write {
            ready!(sleep.as_mut().poll(cx));
        }
        let bytes = &bytes[..bytes.len().min(pace.bytes.max(1))];
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        let next = Instant::now() + Duration::from_millis(pace.gap_ms);
        self.next_write = Some(Box::pin(tokio::time::sleep_until(next)));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.control.dropped() {
            None => Pin::new(&mut self.inner).poll_flush(cx),
            Some(Cut::Silence) => {
                self.control.with(|control| control.writer = Some(cx.waker().clone()));
                Poll::Pending
            }
            Some(Cut::Fin) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Some(Cut::Reset) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.control.dropped() {
            None => Pin::new(&mut self.inner).poll_shutdown(cx),
            Some(_) => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn pair() -> (tokio::io::DuplexStream, Wire<tokio::io::DuplexStream>, Arc<WireControl>) {
        let (client, server) = tokio::io::duplex(1024);
        let (wire, control) = Wire::new(server, Box::new(|_| {}));
        (client, wire, control)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_neither_reads_nor_writes_but_sees_the_end() {
        let (mut client, mut wire, control) = pair();
        control.drop_stream(Cut::Silence);
        client.write_all(b"hello").await.unwrap();
        let mut bytes = [0; 8];
        let read = tokio::time::timeout(Duration::from_secs(60), wire.read(&mut bytes)).await;
        assert!(read.is_err(), "nothing is read");
        let write = tokio::time::timeout(Duration::from_secs(60), wire.write_all(b"x")).await;
        assert!(write.is_err(), "nothing is written");
        drop(client);
        assert_eq!(wire.read(&mut bytes).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drop_wakes_a_waiting_read() {
        let (mut client, mut wire, control) = pair();
        let reading = tokio::spawn(async move { wire.read(&mut [0; 8]).await });
        tokio::task::yield_now().await;
        control.drop_stream(Cut::Reset);
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn pace_takes_its_time() {
        let (mut client, mut wire, control) = pair();
        control.set_pace(Some(Pace::per_second(100)));
        let start = Instant::now();
        let writing = tokio::spawn(async move { wire.write_all(&[7; 200]).await });
        client.read_exact(&mut [0; 200]).await.unwrap();
        writing.await.unwrap().unwrap();
        let seconds = start.elapsed().as_secs_f64();
        assert!((1.8..2.2).contains(&seconds), "200 bytes at 100 per second took {seconds} s");
    }
}
