//! A bare client: websocket, JSON, and nothing that would hide a mistake of the simulator.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fmt::Write as _;
use std::time::Duration;

use flate2::{Decompress, FlushDecompress};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use shardwright_sim::{MemoryStream, Options, Simulator, intents};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// How long anything may take. Under a paused clock that is no real time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// What arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Arrived {
    /// A payload.
    Payload(Value),
    /// A message that is no JSON.
    Garbage(Vec<u8>),
    /// A close frame.
    Closed(Option<u16>, String),
    /// The end of the stream without one, or an error.
    Gone(String),
}

enum Decoder {
    None,
    Zlib(Box<Decompress>, Vec<u8>),
    Zstd(zstd_safe::DCtx<'static>),
}

/// A gateway client.
pub(crate) struct Client<S = MemoryStream> {
    pub(crate) socket: WebSocketStream<S>,
    decoder: Decoder,
    /// The newest sequence number.
    pub(crate) seq: Option<u64>,
    /// Text and binary messages received.
    pub(crate) messages: Vec<Message>,
}

/// A simulator for virtual time: no slack, one fixed start.
pub(crate) fn simulator(options: Options) -> Simulator {
    Simulator::new(Options {
        timing_slack_ms: 0,
        started_at_unix_ms: Some(1_767_225_600_000),
        ..options
    })
    .unwrap()
}

pub(crate) const QUERY: &str = "v=10&encoding=json";

impl Client {
    /// Connects inside the process.
    pub(crate) async fn connect(simulator: &Simulator) -> Self {
        Self::connect_with(simulator, QUERY).await.unwrap()
    }

    pub(crate) async fn connect_with(simulator: &Simulator, query: &str) -> Result<Self, Error> {
        Client::over(simulator.connect(), query).await
    }

    /// Connects and identifies as this shard, up to READY.
    pub(crate) async fn ready(simulator: &Simulator, shard: [u32; 2]) -> (Self, Value) {
        let mut client = Self::connect(simulator).await;
        client.hello().await;
        client.identify(simulator, shard).await;
        let ready = client.dispatch("READY").await;
        (client, ready)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Shakes hands over a stream.
    pub(crate) async fn over(stream: S, query: &str) -> Result<Self, Error> {
        let url = format!("ws://gateway.test/?{query}");
        let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
        let (socket, _) =
            tokio::time::timeout(PATIENCE, client_async_with_config(url, stream, Some(config)))
                .await
                .map_err(|_| Error::ConnectionClosed)??;
        let decoder = if query.contains("zlib-stream") {
            Decoder::Zlib(Box::new(Decompress::new(true)), Vec::new())
        } else if query.contains("zstd-stream") {
            Decoder::Zstd(zstd_safe::DCtx::create())
        } else {
            Decoder::None
        };
        Ok(Self { socket, decoder, seq: None, messages: Vec::new() })
    }

    /// The next thing that arrives, pongs aside.
    pub(crate) async fn next(&mut self) -> Arrived {
        self.next_within(PATIENCE).await.expect("nothing arrived")
    }

    /// The next thing that arrives within this time.
    pub(crate) async fn next_within(&mut self, limit: Duration) -> Option<Arrived> {
        tokio::time::timeout(limit, self.receive()).await.ok()
    }

    async fn receive(&mut self) -> Arrived {
        loop {
            let message = match self.socket.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Arrived::Gone(error.to_string()),
                None => return Arrived::Gone("the end".to_owned()),
            };
            let data = match &message {
                Message::Text(text) => text.as_bytes().to_vec(),
                Message::Binary(data) => data.to_vec(),
                Message::Close(None) => return Arrived::Closed(None, String::new()),
                Message::Close(Some(frame)) => {
                    return Arrived::Closed(Some(frame.code.into()), frame.reason.to_string());
                }
                _ => continue,
            };
            let binary = message.is_binary();
            self.messages.push(message);
            let Some(data) = self.decode(data, binary) else { continue };
            let Ok(payload) = serde_json::from_slice::<Value>(&data) else {
                return Arrived::Garbage(data);
            };
            if let Some(seq) = payload["s"].as_u64() {
                assert!(Some(seq) > self.seq, "sequence numbers rise: {seq} after {:?}", self.seq);
                self.seq = Some(seq);
            }
            return Arrived::Payload(payload);
        }
    }

    fn decode(&mut self, data: Vec<u8>, binary: bool) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(data.len() * 20 + 1024);
        match &mut self.decoder {
            Decoder::None if binary => {
                // Payload compression: a zlib stream for each payload.
                out.reserve(8 * 1024 * 1024);
                let decoded =
                    Decompress::new(true).decompress_vec(&data, &mut out, FlushDecompress::Finish);
                if !matches!(decoded, Ok(flate2::Status::StreamEnd)) {
                    return Some(data);
                }
            }
            Decoder::None => return Some(data),
            Decoder::Zlib(inflate, buffer) => {
                assert!(binary);
                buffer.extend_from_slice(&data);
                if !buffer.ends_with(&[0, 0, 0xFF, 0xFF]) {
                    return None;
                }
                let input = std::mem::take(buffer);
                let start = inflate.total_in();
                loop {
                    let used = (inflate.total_in() - start) as usize;
                    if used == input.len() {
                        break;
                    }
                    out.reserve(64 * 1024);
                    if inflate
                        .decompress_vec(&input[used..], &mut out, FlushDecompress::Sync)
                        .is_err()
                    {
                        return Some(b"inflate failed".to_vec());
                    }
                }
            }
            Decoder::Zstd(context) => {
                assert!(binary);
                let mut input = zstd_safe::InBuffer::around(&data);
                while input.pos() < data.len() {
                    out.reserve(64 * 1024);
                    let at = out.len();
                    let mut output = zstd_safe::OutBuffer::around_pos(&mut out, at);
                    if context.decompress_stream(&mut output, &mut input).is_err() {
                        return Some(b"zstd failed".to_vec());
                    }
                }
                // Output larger than the buffer waits inside the context.
                loop {
                    out.reserve(64 * 1024);
                    let at = out.len();
                    let mut output = zstd_safe::OutBuffer::around_pos(&mut out, at);
                    let mut empty = zstd_safe::InBuffer::around(&[]);
                    let _ = context.decompress_stream(&mut output, &mut empty);
                    if output.pos() == at {
                        break;
                    }
                }
            }
        }
        Some(out)
    }

    /// The next payload.
    pub(crate) async fn payload(&mut self) -> Value {
        match self.next().await {
            Arrived::Payload(payload) => payload,
            other => panic!("wanted a payload, got {other:?}"),
        }
    }

    /// The next payload of this opcode; others are skipped.
    pub(crate) async fn op(&mut self, op: u64) -> Value {
        loop {
            let payload = self.payload().await;
            if payload["op"] == op {
                return payload;
            }
        }
    }

    /// HELLO, which must come first.
    pub(crate) async fn hello(&mut self) -> Value {
        let payload = self.payload().await;
        assert_eq!(payload["op"], 10, "{payload}");
        payload["d"].clone()
    }

    /// The `d` of the next dispatch of this name; others are skipped.
    pub(crate) async fn dispatch(&mut self, t: &str) -> Value {
        loop {
            let payload = self.payload().await;
            if payload["t"] == t {
                return payload["d"].clone();
            }
        }
    }

    /// How it ends; whatever comes before is skipped.
    pub(crate) async fn end(&mut self) -> Arrived {
        loop {
            match self.next().await {
                Arrived::Payload(_) | Arrived::Garbage(_) => {}
                end => return end,
            }
        }
    }

    /// The close code it ends with.
    pub(crate) async fn close_code(&mut self) -> u16 {
        match self.end().await {
            Arrived::Closed(Some(code), _) => code,
            other => panic!("wanted a close code, got {other:?}"),
        }
    }

    /// Everything that arrives within this time.
    pub(crate) async fn drain(&mut self, limit: Duration) -> Vec<Value> {
        let mut payloads = Vec::new();
        while let Some(Arrived::Payload(payload)) = self.next_within(limit).await {
            payloads.push(payload);
        }
        payloads
    }

    /// Nothing may arrive within this time.
    pub(crate) async fn quiet(&mut self, limit: Duration) {
        if let Some(arrived) = self.next_within(limit).await {
            panic!("wanted silence, got {arrived:?}");
        }
    }

    pub(crate) async fn send(&mut self, payload: &Value) {
        self.send_text(&payload.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        // The simulator may already have closed; what it answered is what tests look at.
        let _ = self.socket.send(Message::text(text)).await;
    }

    pub(crate) async fn identify(&mut self, simulator: &Simulator, shard: [u32; 2]) {
        self.send(&identify(simulator, shard)).await;
    }

    pub(crate) async fn beat(&mut self) {
        self.send(&json!({"op": 1, "d": self.seq})).await;
    }

    pub(crate) async fn resume(&mut self, simulator: &Simulator, session: &str, seq: u64) {
        let token = simulator.options().token;
        let d = json!({"token": token, "session_id": session, "seq": seq});
        self.send(&json!({"op": 6, "d": d})).await;
    }

    pub(crate) async fn close(&mut self, code: u16) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
        let _ = self.socket.close(Some(frame)).await;
    }
}

/// An IDENTIFY with every intent.
pub(crate) fn identify(simulator: &Simulator, shard: [u32; 2]) -> Value {
    identify_with(simulator, shard, intents::ALL)
}

pub(crate) fn identify_with(simulator: &Simulator, shard: [u32; 2], intents: u64) -> Value {
    json!({"op": 2, "d": {
        "token": simulator.options().token,
        "properties": {"os": "linux", "browser": "test", "device": "test"},
        "intents": intents,
        "shard": shard,
    }})
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// A REST request over a connection of its own.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A request below `/api/v10` with the bot's token.
    pub(crate) fn api(simulator: &Simulator, method: &'static str, path: &str) -> Self {
        let token = simulator.options().token;
        Self::plain(method, &format!("/api/v10{path}"))
            .header("Authorization", &format!("Bot {token}"))
            .header("User-Agent", "DiscordBot (https://example.com, 1.0)")
    }

    pub(crate) fn plain(method: &'static str, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.header("Content-Type", "application/json")
    }

    pub(crate) async fn send(self, simulator: &Simulator) -> Response {
        self.over(simulator.connect()).await.expect("an answer")
    }

    /// Sends it over a stream and reads to the end. `None` where no answer comes.
    pub(crate) async fn over<S: AsyncRead + AsyncWrite + Unpin>(
        self,
        mut stream: S,
    ) -> Option<Response> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: rest.test\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "Connection: close\r\nContent-Length: {}\r\n\r\n", self.body.len());
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(&self.body).await.ok()?;
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
        if !matches!(read, Ok(Ok(_))) || bytes.is_empty() {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Some(Response { status, headers, text: body.to_owned() })
    }
}

/// A REST call with the bot's token.
pub(crate) async fn call(simulator: &Simulator, method: &'static str, path: &str) -> Response {
    Request::api(simulator, method, path).send(simulator).await
}

/// A REST call with the bot's token and a JSON body.
pub(crate) async fn call_with(
    simulator: &Simulator,
    method: &'static str,
    path: &str,
    body: &Value,
) -> Response {
    Request::api(simulator, method, path).json(body).send(simulator).await
}
