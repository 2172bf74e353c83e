//! A server whose every answer the test decides, byte by byte.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use shardwright::rest::{Request, Response, Rest};
use shardwright::transport::{BoxedIo, Connecting, Dialer, Network};
use shardwright::{Config, Error};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::time::sleep;

/// The bot's token in these tests.
pub(crate) const TOKEN: &str = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs";

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Headers by their name in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What a server does with a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    delay: Duration,
    bytes: Vec<u8>,
    ending: Ending,
}

/// What it does after that.
#[derive(Debug, Clone, Default)]
enum Ending {
    /// It waits for the next request.
    #[default]
    Next,
    /// It closes the connection.
    Close,
    /// Nothing, for ever.
    Hang,
    /// It writes the same bytes again and again.
    Flood,
}

impl Reply {
    /// An answer with a body.
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let mut head = format!("HTTP/1.1 {status} Whatever\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n{body}", body.len());
        Self::raw(head.as_bytes())
    }

    /// An empty answer.
    pub(crate) fn status(status: u16) -> Self {
        Self::new(status, &[], "")
    }

    /// An answer with the headers of a limit.
    pub(crate) fn limited(bucket: &str, limit: u32, remaining: u32, reset_after: f64) -> Self {
        let headers = [
            ("X-RateLimit-Bucket", bucket),
            ("X-RateLimit-Limit", &limit.to_string()),
            ("X-RateLimit-Remaining", &remaining.to_string()),
            ("X-RateLimit-Reset", "1470173023.123"),
            ("X-RateLimit-Reset-After", &reset_after.to_string()),
        ];
        Self::new(200, &headers, "{}")
    }

    /// A 429 as Discord writes it.
    pub(crate) fn refused(retry_after: f64) -> Self {
        let body = format!(r#"{{"message":"no","retry_after":{retry_after},"global":false}}"#);
        Self::new(429, &[("X-RateLimit-Scope", "user")], &body)
    }

    /// These bytes.
    pub(crate) fn raw(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), ..Self::default() }
    }

    /// No answer, ever.
    pub(crate) fn hang() -> Self {
        Self::raw(b"").then_hang()
    }

    /// Later.
    pub(crate) fn after_ms(mut self, ms: u64) -> Self {
        self.delay = Duration::from_millis(ms);
        self
    }

    /// The connection is closed afterwards.
    pub(crate) fn then_close(mut self) -> Self {
        self.ending = Ending::Close;
        self
    }

    /// Nothing more comes on this connection.
    pub(crate) fn then_hang(mut self) -> Self {
        self.ending = Ending::Hang;
        self
    }

    /// After that these bytes come for ever.
    pub(crate) fn then_flood(mut self) -> Self {
        self.ending = Ending::Flood;
        self
    }
}

/// Decides what comes of a request; the number counts them, from 0.
type Script = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

/// A server, and the network that leads to it.
pub(crate) struct Server {
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    /// Connection attempts that fail before one succeeds.
    unreachable: AtomicUsize,
    /// Whether connection attempts hang.
    silent: bool,
}

impl Server {
    /// A server that does this, and a client of it.
    pub(crate) fn start(
        script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> (Rest, Arc<Self>) {
        Self::start_with(0, false, script)
    }

    /// The same, but so many connection attempts fail first.
    pub(crate) fn start_unreachable(
        attempts: usize,
        script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> (Rest, Arc<Self>) {
        Self::start_with(attempts, false, script)
    }

    /// A server that nobody reaches, and which does not say so.
    pub(crate) fn start_silent() -> (Rest, Arc<Self>) {
        Self::start_with(0, true, |_, _| Reply::hang())
    }

    fn start_with(
        unreachable: usize,
        silent: bool,
        script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> (Rest, Arc<Self>) {
        let server = Arc::new(Self {
            script: Box::new(script),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            unreachable: AtomicUsize::new(unreachable),
            silent,
        });
        let network = Arc::new(Pipes(Arc::clone(&server)));
        (client("http://discord.test/api/v10", network), server)
    }

    /// What came so far.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().expect("no test panicked here")
    }

    /// Connections that were opened.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve(self: Arc<Self>, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        while let Ok(seen) = read_request(&mut stream).await {
            let number = {
                let mut all = self.seen();
                all.push(seen.clone());
                all.len() - 1
            };
            let Reply { delay, bytes, ending } = (self.script)(&seen, number);
            sleep(delay).await;
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
            match ending {
                Ending::Next => {}
                Ending::Close => return,
                Ending::Hang => std::future::pending().await,
                Ending::Flood => while stream.write_all(&bytes).await.is_ok() {},
            }
        }
    }
}

/// A client of the API at this URL.
pub(crate) fn client(api_url: &str, network: Arc<dyn Network>) -> Rest {
    let json = format!(r#"{{"token":"{TOKEN}","intents":0,"api_url":"{api_url}"}}"#);
    let config = Config::from_json(&json, |_| None).expect("a good config");
    let dialer = Dialer::new(&config, network).expect("no files needed");
    Rest::new(&config, dialer)
}

/// Makes a request from a command.
pub(crate) async fn command(rest: &Rest, json: &str) -> Result<Response, Error> {
    rest.request(Request::from_json(json).expect(json)).await
}

/// A POST without body.
pub(crate) async fn post(rest: &Rest, path: &str) -> Result<Response, Error> {
    command(rest, &format!(r#"{{"method":"POST","path":"{path}"}}"#)).await
}

/// Pipes to a server in the same process.
struct Pipes(Arc<Server>);

impl Network for Pipes {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a> {
        assert_eq!((host, port), ("discord.test", 80), "nobody may be sent elsewhere");
        Box::pin(async move {
            if self.0.silent {
                std::future::pending::<()>().await;
            }
            let refuse = |left: usize| left.checked_sub(1);
            let order = Ordering::SeqCst;
            if self.0.unreachable.fetch_update(order, order, refuse).is_ok() {
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "refused"));
            }
            let (ours, theirs) = duplex(64 << 10);
            tokio::spawn(Arc::clone(&self.0).serve(theirs));
            Ok(Box::new(ours) as BoxedIo)
        })
    }
}

impl std::fmt::Debug for Pipes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pipes")
    }
}

/// Reads one request.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).expect("heads are ASCII");
    let mut lines = head.trim_end().split("\r\n");
    let mut words = lines.next().expect("a request line").split(' ');
    let (method, target) = (words.next().expect("a method"), words.next().expect("a target"));
    assert_eq!(words.next(), Some("HTTP/1.1"));
    let headers: BTreeMap<_, _> = lines
        .map(|line| line.split_once(": ").expect("a header"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length =
        headers.get("content-length").map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Seen { method: method.into(), target: target.into(), headers, body })
}
