//! The envelope scan against a full parse.
//!
//! Input: the payloads of one connection, separated by 0xff, which no UTF-8 text has.

use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;
use shardwright::protocol::{Envelope, Scanner, Span, guild_id_of};

/// Payloads after which a scanner takes Discord's order of keys for granted.
const UNTIL_TRUSTING: usize = 17;

pub fn run(bytes: &[u8]) {
    let mut connection = Scanner::default();
    let trusting = trusting();
    for payload in bytes.split(|byte| *byte == 0xff) {
        let found = Scanner::default().scan(payload);
        match reference(payload) {
            Reference::NotJson => {}
            Reference::Object { op: Some(op), seq, name: Some(name), data } => {
                let found = found.expect("a payload with an op");
                assert_eq!((found.op, found.seq), (op, seq));
                assert_eq!(found.name.of(payload), name.as_bytes());
                assert_eq!(found.data.of(payload), data.as_bytes());
                let text = |text: &str, quote| match text {
                    "" => "null".to_owned(),
                    text => format!("{quote}{text}{quote}"),
                };
                let (t, s) =
                    (text(&name, "\""), text(&seq.map_or(String::new(), |s| s.to_string()), ""));
                let discords = format!(r#"{{"t":{t},"s":{s},"op":{op},"d":{data}}}"#);
                // What ends in another way can be no payload with `d` as its last key.
                if payload == discords.as_bytes() || !payload.ends_with(b"}}") {
                    let later = trusting.clone().scan(payload);
                    assert_eq!(later, Ok(found), "after many others");
                }
                check_guild_id(found.name.of(payload), &data);
            }
            Reference::Object { seq, .. } => {
                let error = found.expect_err("no op, or a name that cannot be handed out");
                assert_eq!(error.seq, seq);
            }
            Reference::Other => assert!(found.is_err(), "no object"),
        }
        check_spans(payload, found.ok());
        check_spans(payload, trusting.clone().scan(payload).ok());
        check_spans(payload, connection.scan(payload).ok());
    }
}

/// A scanner that saw a connection begin.
fn trusting() -> Scanner {
    let mut scanner = Scanner::default();
    for _ in 0..UNTIL_TRUSTING {
        let plain = scanner.scan(br#"{"t":"X","s":1,"op":0,"d":{"a":1}}"#);
        assert!(plain.is_ok());
    }
    scanner
}

/// Whatever was found lies in the payload, and names are text.
fn check_spans(payload: &[u8], found: Option<Envelope>) {
    let Some(Envelope { name, data, .. }) = found else { return };
    for span in [name, data] {
        assert!(span == Span::default() || span.range().end <= payload.len());
    }
    assert!(std::str::from_utf8(name.of(payload)).is_ok());
    let _ = guild_id_of(name.of(payload), data.of(payload));
}

/// What a full parse says.
enum Reference {
    NotJson,
    /// JSON, but no object.
    Other,
    Object {
        op: Option<u64>,
        seq: Option<u64>,
        /// `None` where the name has escapes: it is handed out as it stands.
        name: Option<String>,
        data: String,
    },
}

fn reference(payload: &[u8]) -> Reference {
    // Whether it is JSON to the last value: a `RawValue` alone is not looked into as far.
    if serde_json::from_slice::<Value>(payload).is_err() {
        return Reference::NotJson;
    }
    let Ok(members) = serde_json::from_slice::<HashMap<String, Box<RawValue>>>(payload) else {
        return Reference::Other;
    };
    let number = |key: &str| serde_json::from_str::<u64>(members.get(key)?.get()).ok();
    let name = match members.get("t").map(|t| t.get()) {
        Some(t) if t.starts_with('"') => (!t.contains('\\')).then(|| t[1..t.len() - 1].to_owned()),
        _ => Some(String::new()),
    };
    let data = members.get("d").map_or(String::new(), |d| d.get().to_owned());
    Reference::Object { op: number("op"), seq: number("s"), name, data }
}

/// The guild of an event. Repeated and escaped keys are not Discord's, and not looked for.
fn check_guild_id(name: &[u8], data: &str) {
    let guild = matches!(name, b"GUILD_CREATE" | b"GUILD_UPDATE" | b"GUILD_DELETE");
    let key = if guild { "id" } else { "guild_id" };
    if data.contains('\\') || data.matches(&format!("\"{key}\"")).count() > 1 {
        return;
    }
    let value = serde_json::from_str::<Value>(data).unwrap_or_default();
    let expected = match value.get(key) {
        Some(Value::String(id)) => serde_json::from_str(id).ok().filter(|_| !id.contains(' ')),
        Some(id) => id.as_u64(),
        None => None,
    };
    assert_eq!(guild_id_of(name, data.as_bytes()), expected.unwrap_or(0), "{data}");
}
