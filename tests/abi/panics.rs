//! A library that is the real one and, besides, panics on demand: in a call, in a poll, in the task of a
//! shard. `tests/abi/panics.c` and `bindings/python/tests/test_abuse.py` use it. It is a target of its own,
//! an "example" to cargo, so that nothing of it can be in the library that is shipped.
#![cfg(debug_assertions)]
#![allow(missing_docs, unsafe_code, clippy::missing_safety_doc, clippy::not_unsafe_ptr_arg_deref)]

use std::ffi::c_char;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use shardwright::ffi::{shard_client, testing};
use shardwright::transport::{BoxedIo, Connecting, Network, Tcp};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The next read of a connection panics.
static AT_READ: AtomicBool = AtomicBool::new(false);

/// TCP, with a bug in it.
#[derive(Debug)]
struct Buggy;

impl Network for Buggy {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a> {
        Box::pin(async move { Ok(Box::new(Stream(Tcp.connect(host, port).await?)) as BoxedIo) })
    }
}

struct Stream(BoxedIo);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        assert!(!AT_READ.swap(false, Ordering::SeqCst), "on purpose");
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A client whose connections can be made to panic.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shard_test_client_new(
    config_json: *const c_char,
    config_len: usize,
) -> *mut shard_client {
    // SAFETY: the tests give a pointer and its length.
    let bytes = unsafe { std::slice::from_raw_parts(config_json.cast::<u8>(), config_len) };
    testing::new_client(std::str::from_utf8(bytes).unwrap_or_default(), Arc::new(Buggy))
}

/// Panics in a call.
#[unsafe(no_mangle)]
pub extern "C" fn shard_test_panic_in_call(client: *mut shard_client) -> i32 {
    testing::call(client, |_| panic!("on purpose"))
}

/// Panics in a poll, while the queue is locked. There has to be an event.
#[unsafe(no_mangle)]
pub extern "C" fn shard_test_panic_in_poll(client: *mut shard_client) -> i32 {
    testing::call(client, |client| {
        let patience = Some(Duration::from_secs(60));
        let polled = client.queue().poll(1, patience, |_| panic!("on purpose"));
        Ok(polled.map_or(-1, |_| 0))
    })
}

/// Has the task panic that reads next.
#[unsafe(no_mangle)]
pub extern "C" fn shard_test_panic_in_shard() {
    AT_READ.store(true, Ordering::SeqCst);
}
