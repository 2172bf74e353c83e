//! A way to a server that can be slow, and that can lead to another one from some moment on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// A TCP proxy, which ends with the test's runtime.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) port: u16,
    way: Arc<Way>,
    task: JoinHandle<()>,
}

/// What it does with connections.
struct Way {
    target: AtomicU16,
    delay_ms: AtomicU64,
}

impl Proxy {
    /// One that leads to a port of this machine.
    pub(crate) async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let way = Arc::new(Way { target: target.into(), delay_ms: AtomicU64::new(0) });
        let shared = Arc::clone(&way);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, Arc::clone(&shared)));
            }
        });
        Self { port, way, task }
    }

    /// What the config says.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Every answer comes so much later from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        let delay_ms = u64::try_from(delay.as_millis()).expect("less than an age");
        self.way.delay_ms.store(delay_ms, Ordering::Relaxed);
    }

    /// New connections lead there.
    pub(crate) fn lead_to(&self, target: u16) {
        self.way.target.store(target, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries what both sides say, until one of them ends.
async fn carry(client: TcpStream, way: Arc<Way>) {
    let target = way.target.load(Ordering::Relaxed);
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (late, mut due) = unbounded_channel::<(Instant, Vec<u8>)>();
    let questions = async { tokio::io::copy(&mut from_client, &mut to_server).await };
    let answers = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(len @ 1..) = from_server.read(&mut buffer).await {
            let delay = Duration::from_millis(way.delay_ms.load(Ordering::Relaxed));
            let _ = late.send((Instant::now() + delay, buffer[..len].to_vec()));
        }
    };
    let deliveries = async {
        while let Some((at, bytes)) = due.recv().await {
            sleep_until(at).await;
            if to_client.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = questions => {}
        () = answers => {}
        () = deliveries => {}
    }
}
