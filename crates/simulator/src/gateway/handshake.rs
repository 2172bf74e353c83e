//! The websocket handshake and what the gateway URL may say.
//!
//! <https://docs.discord.com/developers/events/gateway#connecting>

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::{self, HeaderMap};
use ring::digest;
use serde_json::{Value, json};

use super::close::Close;
use super::compression::Transport;
use super::conn::{Conn, Gate, Link, Out};
use super::dispatch::control_text;
use super::new_link;
use crate::control::{ConnectPlan, Ending, HandshakePlan, Hello, Stage};
use crate::ledger::{ConnectionRecord, Handshake};
use crate::options::Options;
use crate::state::State;
use crate::wire::{Pace, WireControl};

/// What RFC 6455 appends to the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The answer to a handshake.
#[derive(Debug)]
pub(crate) enum Answer {
    /// 101 with this accept key, then the connection.
    Accept { key: String, opened: Box<Opened>, dribble: Option<Pace> },
    /// A plain HTTP answer.
    Refuse { status: u16, body: String, headers: Vec<(String, String)> },
    /// None.
    Hang,
}

/// An opened connection.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) id: u64,
    pub(crate) link: Arc<Link>,
    pub(crate) transport: Transport,
    /// Compressor settings at this moment.
    pub(crate) options: Options,
    pub(crate) bytes_per_second: Option<u64>,
}

/// Whether a request asks for a websocket.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    let has = |name, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade")
}

/// The answer to a client's key.
fn accept_key(key: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(GUID.as_bytes());
    STANDARD.encode(context.finish())
}

/// What a gateway URL asks for.
#[derive(Debug, PartialEq, Eq)]
struct Parameters {
    version: u8,
    transport: Transport,
}

/// Reads the query of a gateway URL.
fn parameters(query: &str) -> Result<Parameters, Close> {
    let mut version = None;
    let mut transport = Transport::None;
    let refused = |reason: String| Err(Close::DECODE_ERROR.because(reason));
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("v", value) => version = Some(value.to_owned()),
            ("encoding", "json") | ("compress", "") => {}
            ("encoding", "etf") => {
                return refused("This simulator has no ETF: connect with encoding=json.".into());
            }
            ("encoding", other) => return refused(format!("Unknown encoding `{other}`.")),
            ("compress", "zlib-stream") => transport = Transport::ZlibStream,
            ("compress", "zstd-stream") => transport = Transport::ZstdStream,
            ("compress", other) => return refused(format!("Unknown compression `{other}`.")),
            (other, _) => return refused(format!("Unknown query parameter `{other}`.")),
        }
    }
    match version.as_deref() {
        Some("10") => Ok(Parameters { version: 10, transport }),
        Some("9") => Ok(Parameters { version: 9, transport }),
        _ => Err(Close::INVALID_VERSION),
    }
}

impl State {
    /// Answers a websocket handshake, by the plan for this connection if there is one.
    pub(crate) fn handshake(
        &mut self,
        uri: &Uri,
        headers: &HeaderMap,
        wire: Arc<WireControl>,
    ) -> Answer {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let plan = self.gateway.plans.next().unwrap_or_default();
        self.seen.counts.handshakes += 1;
        self.gateway.next_connection += 1;
        let id = self.gateway.next_connection;
        let query = parameters(uri.query().unwrap_or_default());
        let transport = query.as_ref().map_or(Transport::None, |query| query.transport);
        let host = text(header::HOST).map(str::to_owned);
        let mut record = ConnectionRecord {
            connection: id,
            opened: self.clock.now(),
            handshake: Handshake::Accepted,
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            host: host.clone(),
            user_agent: text(header::USER_AGENT).map(str::to_owned),
            compression: transport.name(),
            hello: None,
            shard: None,
            session: None,
            closed: None,
            bytes_out: 0,
            payloads_out: 0,
            sent_unix_ns: Vec::new(),
        };
        let key = text(header::SEC_WEBSOCKET_KEY)
            .filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16));
        let version = text(header::SEC_WEBSOCKET_VERSION);
        let plain = |status, body: &str| Answer::Refuse {
            status,
            body: body.to_owned(),
            headers: vec![("sec-websocket-version".to_owned(), "13".to_owned())],
        };
        let answer = match (plan.handshake.clone(), key, version) {
            (HandshakePlan::Hang, ..) => Answer::Hang,
            (HandshakePlan::Refuse { status, body, headers }, ..) => {
                Answer::Refuse { status, body, headers }
            }
            (HandshakePlan::Accept, _, Some(other)) if other != "13" => {
                plain(426, "This gateway speaks version 13 of the websocket protocol.")
            }
            (HandshakePlan::Accept, None, _) => plain(400, "Sec-WebSocket-Key must be 16 bytes."),
            (HandshakePlan::Accept, Some(key), _) => {
                self.seen.counts.connections += 1;
                let link = new_link(wire);
                let opened = Opened {
                    id,
                    link: link.clone(),
                    transport,
                    options: self.options.clone(),
                    bytes_per_second: plan.bytes_per_second,
                };
                let accept = accept_key(key);
                let dribble = plan.dribble;
                self.seen.connection(record);
                self.open(id, link, host, query, plan);
                return Answer::Accept { key: accept, opened: Box::new(opened), dribble };
            }
        };
        record.handshake = match &answer {
            Answer::Refuse { status, .. } => Handshake::Refused(*status),
            _ => Handshake::Hung,
        };
        self.seen.connection(record);
        answer
    }

    /// Sets an accepted connection up and queues its first payloads.
    fn open(
        &mut self,
        id: u64,
        link: Arc<Link>,
        host: Option<String>,
        query: Result<Parameters, Close>,
        plan: ConnectPlan,
    ) {
        let now = self.clock.now();
        let interval_ms = self.options.heartbeat_interval_ms;
        let (hello, interval) = match plan.hello {
            Hello::Normal => (Some(hello_d(&json!(interval_ms))), Some(interval_ms)),
            Hello::Never => (None, None),
            Hello::Interval(value) => (Some(hello_d(&value)), value.as_u64().filter(|ms| *ms > 0)),
            Hello::D(value) => (Some(value), None),
        };
        let (version, transport) =
            query.as_ref().map_or((10, Transport::None), |query| (query.version, query.transport));
        let stage = plan.end.as_ref().map(|end| end.stage);
        let mut conn = Conn {
            link,
            version,
            transport,
            host,
            session: None,
            cursor: 0,
            replay_until: 0,
            greeted: false,
            ready: None,
            ready_leaves: false,
            gate: Gate::Open,
            waiting: VecDeque::new(),
            delayed: BTreeMap::new(),
            next_delayed: 0,
            dispatched: 0,
            closing: false,
            halted: false,
            acks: plan.acks,
            ready_plan: plan.ready,
            end: plan.end,
            corrupt: plan.corrupt,
            split: plan.split,
            ignore_close: plan.ignore_close,
            abandoned: false,
            interval: interval.map(Duration::from_millis),
            last_beat: now,
            last_beat_seq: None,
            beat_requested: None,
            received: VecDeque::new(),
        };
        for payload in &plan.before_hello {
            conn.push(Out::Payload(payload.to_string()));
        }
        if stage != Some(Stage::BeforeHello)
            && query.is_ok()
            && let Some(d) = hello
        {
            conn.push(Out::Hello(control_text(10, &d)));
        }
        if matches!(stage, Some(Stage::BeforeHello | Stage::AfterHello)) {
            let how = conn.end.as_ref().map(|end| end.how.clone());
            conn.push(Out::End(how.unwrap_or(Ending::Drop(crate::wire::Cut::Fin))));
        }
        self.gateway.connections.insert(id, conn);
        if let Err(close) = query {
            self.refuse(id, &close);
        }
    }
}

pub(super) fn hello_d(interval: &Value) -> Value {
    json!({
        "heartbeat_interval": interval,
        "_trace": ["[\"gateway-sim-1\",{\"micros\":0.0}]"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_own_example() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn the_query_is_read_in_any_order() {
        let good = |query, version, transport| {
            assert_eq!(parameters(query).unwrap(), Parameters { version, transport });
        };
        good("v=10&encoding=json", 10, Transport::None);
        good("encoding=json&v=9", 9, Transport::None);
        good("compress=zlib-stream&v=10", 10, Transport::ZlibStream);
        good("v=10&encoding=json&compress=zstd-stream", 10, Transport::ZstdStream);
        for (query, code) in [
            ("", 4012),
            ("v=5", 4012),
            ("v=11&encoding=json", 4012),
            ("v=ten", 4012),
            ("v=10&encoding=etf", 4002),
            ("v=10&encoding=xml", 4002),
            ("v=10&compress=brotli", 4002),
            ("v=10&colour=blue", 4002),
        ] {
            assert_eq!(parameters(query).unwrap_err().code, code, "{query}");
        }
    }
}
