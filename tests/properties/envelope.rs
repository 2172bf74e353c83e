//! The envelope scan against what was written.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::value::RawValue;
use shardwright::protocol::Scanner;

use crate::json_text;

/// What a payload says.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    pub(crate) text: String,
    op: u64,
    seq: Option<u64>,
    name: String,
    data: String,
}

/// A key as it may be written: some of its characters as `\u….`
fn key(name: &'static str) -> impl Strategy<Value = String> {
    let escaped = |c: char| format!("\\u{:04x}", u32::from(c));
    prop_oneof![
        12 => Just(format!("\"{name}\"")),
        1 => Just(format!("\"{}\"", name.chars().map(escaped).collect::<String>())),
    ]
}

/// A payload with its keys in any order, others between them, and white space anywhere.
fn any_payload() -> impl Strategy<Value = Payload> {
    let seq = prop_oneof![Just(None), any::<u64>().prop_map(Some)];
    let name = prop_oneof![Just(String::new()), "[A-Z][A-Z_0-9]{0,20}", "[a-z é🔥{}:,]{1,5}"];
    let others = vec((json_text::string(), json_text::value()), 0..3);
    let keys = [key("t"), key("s"), key("op"), key("d")];
    let parts = (any::<u8>(), seq, name, json_text::value(), others, keys, any::<[bool; 2]>());
    parts
        .prop_flat_map(|(op, seq, name, data, others, [t, s, o, d], leave_out)| {
            let op = u64::from(op);
            let mut members: Vec<(String, String)> = others.into_iter().filter(is_other).collect();
            members.push((o, op.to_string()));
            members.push((d, data.clone()));
            if !name.is_empty() {
                members.push((t, format!("\"{name}\"")));
            } else if leave_out[0] {
                members.push((t, "null".into()));
            }
            match seq {
                Some(seq) => members.push((s, seq.to_string())),
                None if leave_out[1] => members.push((s, "null".into())),
                None => {}
            }
            let text = Just(members).prop_shuffle().prop_flat_map(json_text::object);
            let text = (json_text::space(), text, json_text::space());
            (text.prop_map(|(a, text, b)| a + &text + &b), Just((op, seq, name, data)))
        })
        .prop_map(|(text, (op, seq, name, data))| Payload { text, op, seq, name, data })
}

/// Whether a key is none of ours, escaped or not.
fn is_other((key, _): &(String, String)) -> bool {
    let key: String = serde_json::from_str(key).expect("a string");
    !matches!(key.as_str(), "t" | "s" | "op" | "d")
}

/// A payload as Discord writes it.
fn discords_payload() -> impl Strategy<Value = Payload> {
    let data =
        vec((json_text::string(), json_text::value()), 0..4).prop_flat_map(json_text::object);
    ("[A-Z][A-Z_0-9]{0,20}", any::<u64>(), data).prop_map(|(name, seq, data)| {
        let text = format!(r#"{{"t":"{name}","s":{seq},"op":0,"d":{data}}}"#);
        Payload { text, op: 0, seq: Some(seq), name, data }
    })
}

/// What one connection may bring: Discord's own form, and now and then another.
pub(crate) fn payloads() -> impl Strategy<Value = Vec<Payload>> {
    vec(prop_oneof![9 => discords_payload(), 1 => any_payload()], 1..40)
}

/// What the scanner says is what was written.
pub(crate) fn check(scanner: &mut Scanner, text: &[u8], payload: &Payload) {
    let found = scanner.scan(text).expect("a payload");
    assert_eq!((found.op, found.seq), (payload.op, payload.seq));
    assert_eq!(found.name.of(text), payload.name.as_bytes());
    assert_eq!(found.data.of(text), payload.data.as_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Scenario 55: any order of keys, any white space, any nesting. What was written is what a full
    /// parse finds too.
    #[test]
    fn a_scan_is_a_full_parse(payload in any_payload()) {
        check(&mut Scanner::default(), payload.text.as_bytes(), &payload);
        let parsed: HashMap<String, Box<RawValue>> = serde_json::from_str(&payload.text)?;
        prop_assert_eq!(parsed["op"].get(), payload.op.to_string());
        prop_assert_eq!(parsed["d"].get(), &payload.data);
    }

    /// Scenario 55: what is no whole payload is an error, wherever it was cut.
    #[test]
    fn a_part_of_a_payload_is_none(payload in any_payload(), cut in any::<Index>()) {
        let text = payload.text.trim_end();
        let cut = &text.as_bytes()[..cut.index(text.len())];
        prop_assert!(Scanner::default().scan(cut).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A scanner that has seen a connection's first payloads reads Discord's form as before.
    #[test]
    fn a_scanner_does_not_tire(payloads in vec(discords_payload(), 60..100)) {
        let mut scanner = Scanner::default();
        for payload in &payloads {
            check(&mut scanner, payload.text.as_bytes(), payload);
        }
    }
}
