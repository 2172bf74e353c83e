//! The four fields around every payload, found without parsing what they wrap.
//!
//! Discord writes `{"t":…,"s":…,"op":…,"d":{…}}`. When a payload starts like that, `d` reaches to the
//! last brace and nothing but the first bytes is read. That holds only while `d` is the last key, so
//! [`Scanner`] walks the whole text of a connection's first payloads and of a sample afterwards, and
//! stops trusting the order once it was wrong. Every other order goes the long way.
//!
//! Source: <https://discord.com/developers/docs/events/gateway-events#payload-structure>.

use std::ops::Range;

use memchr::memmem;

use super::json::{self, Members};

/// A stretch of a payload. Half the size of a `Range<usize>`: an event carries two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Index of the first byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// The bytes of `text` that the span covers; empty when it lies outside.
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.range()).unwrap_or_default()
    }

    /// The same span in a text where `offset` bytes stand before.
    #[must_use]
    pub fn shifted(self, offset: usize) -> Self {
        Self { start: self.start + offset as u32, len: self.len }
    }

    /// As a range of indices.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start as u32, len: range.len() as u32 }
    }
}

/// What stands around `d`. Spans are relative to the scanned text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// The opcode's number, known or not.
    pub op: u64,
    /// The sequence number, where there is one.
    pub seq: Option<u64>,
    /// The event's name without quotes; empty where `t` is `null`.
    pub name: Span,
    /// The value of `d`; empty where there is none.
    pub data: Span,
}

/// A text that is no payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a payload that is not JSON with an `op`")]
pub struct Malformed {
    /// The sequence number, where the text got that far: it was sent and must not be asked for again.
    pub seq: Option<u64>,
}

/// Payloads of a connection that are walked to the end before the key order is trusted.
const CHECKED_FIRST: u32 = 16;

/// After those, one in this many is.
const CHECKED_EVERY: u32 = 64;

/// Finds envelopes in the payloads of one connection.
#[derive(Debug, Clone, Default)]
pub struct Scanner {
    /// Payloads that started in Discord's order.
    in_order: u32,
    /// A payload had a key behind `d`.
    distrusts: bool,
}

impl Scanner {
    /// Reads the envelope of one whole payload.
    ///
    /// # Errors
    /// [`Malformed`] where the text is not a JSON object with an integer `op`.
    pub fn scan(&mut self, text: &[u8]) -> Result<Envelope, Malformed> {
        if self.distrusts {
            return scan_whole(text);
        }
        let Some(quick) = scan_first_bytes(text) else {
            return scan_whole(text);
        };
        self.in_order = self.in_order.wrapping_add(1);
        if self.in_order > CHECKED_FIRST && !self.in_order.is_multiple_of(CHECKED_EVERY) {
            return Ok(quick);
        }
        let whole = scan_whole(text)?;
        self.distrusts = whole != quick;
        Ok(whole)
    }
}

/// The envelope, when the text starts in Discord's order and ends as if `d` were its last key.
fn scan_first_bytes(text: &[u8]) -> Option<Envelope> {
    let mut at = after(text, 0, b"{\"t\":")?;
    let name = if text.get(at) == Some(&b'"') {
        let start = at + 1;
        let len = text[start..].iter().position(|byte| !is_name_byte(*byte))?;
        at = after(text, start + len, b"\"")?;
        start..start + len
    } else {
        at = after(text, at, b"null")?;
        0..0
    };
    at = after(text, at, b",\"s\":")?;
    let (seq, end) = match number(text, at) {
        Some((seq, end)) => (Some(seq), end),
        None => (None, after(text, at, b"null")?),
    };
    at = after(text, end, b",\"op\":")?;
    let (op, end) = number(text, at)?;
    at = after(text, end, b",\"d\":")?;
    let object_to_the_end = text[at..].starts_with(b"{") && text.ends_with(b"}}");
    if !object_to_the_end || text.len() - at < 3 {
        return None;
    }
    Some(Envelope { op, seq, name: name.into(), data: (at..text.len() - 1).into() })
}

/// The index behind `expected`, if that stands at `at`.
fn after(text: &[u8], at: usize, expected: &[u8]) -> Option<usize> {
    text.get(at..)?.starts_with(expected).then_some(at + expected.len())
}

/// Bytes that event names are made of. A name with others takes the long way.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'
}

/// The integer at `at` and the index behind it.
fn number(text: &[u8], at: usize) -> Option<(u64, usize)> {
    let digits = text.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    Some((json::unsigned(&text[at..at + digits])?, at + digits))
}

/// The envelope of a payload with its keys in any order.
fn scan_whole(text: &[u8]) -> Result<Envelope, Malformed> {
    let (mut op, mut seq, mut name, mut data) = (None, None, Span::default(), Span::default());
    let mut usable = true;
    let mut members = Members::of(text, 0);
    for member in &mut members {
        let value = &text[member.value.clone()];
        match json::unescape(&text[member.key.clone()]).as_deref() {
            Some("op") => op = json::unsigned(value),
            Some("s") => seq = json::unsigned(value),
            Some("d") => data = member.value.into(),
            Some("t") if value.first() == Some(&b'"') => {
                // Handed out as it stands, so an escape in it could not be decoded.
                usable = !value.contains(&b'\\') && std::str::from_utf8(value).is_ok();
                name = (member.value.start + 1..member.value.end - 1).into();
            }
            Some("t") => name = Span::default(),
            _ => {}
        }
    }
    let complete = members.end().is_some_and(|end| text[end..].trim_ascii().is_empty());
    match op {
        Some(op) if complete && usable => Ok(Envelope { op, seq, name, data }),
        _ => Err(Malformed { seq }),
    }
}

/// The guild an event belongs to, or 0.
///
/// `d` is not parsed. Discord puts `guild_id` last in the busiest events, which takes a look at the
/// last bytes; an event without the key anywhere takes one fast search; only the rest is walked, up
/// to the key. In `GUILD_CREATE`, `GUILD_UPDATE` and `GUILD_DELETE` the guild is the object itself.
pub fn guild_id_of(name: &[u8], data: &[u8]) -> u64 {
    let key = match name {
        b"GUILD_CREATE" | b"GUILD_UPDATE" | b"GUILD_DELETE" => "id",
        _ => {
            if let Some(id) = last_member_guild_id(data) {
                return id;
            }
            if memmem::find(data, b"\"guild_id\"").is_none() {
                return 0;
            }
            "guild_id"
        }
    };
    json::first_member(data, key).and_then(|value| json::snowflake(&data[value])).unwrap_or(0)
}

/// The id, when the text ends in `,"guild_id":"digits"}`. That brace closes the outermost object, so
/// the key before it is a member of it.
fn last_member_guild_id(data: &[u8]) -> Option<u64> {
    let text = data.strip_suffix(b"\"}")?;
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, digits) = text.split_at(text.len() - digits);
    if !before.ends_with(b",\"guild_id\":\"") {
        return None;
    }
    json::unsigned(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(op, s, t, d)` as text, found by a fresh scanner.
    fn scan(text: &str) -> Option<(u64, Option<u64>, &str, &str)> {
        let found = Scanner::default().scan(text.as_bytes()).ok()?;
        Some((found.op, found.seq, &text[found.name.range()], &text[found.data.range()]))
    }

    /// Scenario 55: `d` before `op`, and every other order.
    #[test]
    fn any_key_order_is_read() {
        let expected = Some((0, Some(3), "X_Y", r#"{"op":9}"#));
        let parts = [r#""op":0"#, r#""s":3"#, r#""t":"X_Y""#, r#""d":{"op":9}"#];
        for a in 0..4 {
            for b in (0..4).filter(|b| *b != a) {
                for c in (0..4).filter(|c| *c != a && *c != b) {
                    let d = 6 - a - b - c;
                    let text = format!("{{{},{},{},{}}}", parts[a], parts[b], parts[c], parts[d]);
                    assert_eq!(scan(&text), expected, "{text}");
                    let spaced = text.replace(',', " ,\n").replace(':', ": ");
                    assert_eq!(scan(&spaced).map(|s| s.1), Some(Some(3)), "{spaced}");
                }
            }
        }
    }

    /// Scenario 80. Found by the fuzz target `envelope`.
    #[test]
    fn escapes_in_keys_are_read() {
        let text = r#"{"o\u0070":0,"\u0073":3,"\u0074":"X","\u0064":[]}"#;
        assert_eq!(scan(text), Some((0, Some(3), "X", "[]")));
    }

    #[test]
    fn control_payloads_are_read() {
        assert_eq!(scan(r#"{"op":11}"#), Some((11, None, "", "")));
        assert_eq!(scan(r#"{"t":null,"s":null,"op":7,"d":null}"#), Some((7, None, "", "null")));
        let hello = r#"{"t":null,"s":null,"op":10,"d":{"heartbeat_interval":41250}}"#;
        assert_eq!(scan(hello), Some((10, None, "", r#"{"heartbeat_interval":41250}"#)));
    }

    /// Scenario 55: what is not a payload is an error, with the sequence where it was readable.
    #[test]
    fn malformed_text_keeps_its_sequence() {
        let seq_of =
            |text: &str| Scanner::default().scan(text.as_bytes()).expect_err("malformed").seq;
        for text in ["", "null", "[]", "{}", "<html>", r#"{"op":"0"}"#, r#"{"op":0}x"#, "{\"op\":"]
        {
            assert_eq!(seq_of(text), None, "{text}");
        }
        assert_eq!(seq_of(r#"{"t":"X","s":5,"op":0,"d":{"a":"#), Some(5));
        assert_eq!(seq_of(r#"{"t":"\u0058","s":6,"op":0,"d":{}}"#), Some(6));
    }

    #[test]
    fn a_key_behind_d_is_noticed_and_remembered() {
        let plain = r#"{"t":"X","s":1,"op":0,"d":{"a":1}}"#.as_bytes();
        let fifth = r#"{"t":"X","s":1,"op":0,"d":{"a":1},"e":{}}"#.as_bytes();
        for before in [0, 1, 15, 16, 17, 63, 64, 100, 1000] {
            let mut scanner = Scanner::default();
            for _ in 0..before {
                assert_eq!(scanner.scan(plain).expect("plain").data.of(plain), br#"{"a":1}"#);
            }
            let wrong = (0..CHECKED_EVERY + 200)
                .filter(|_| scanner.scan(fifth).expect("fifth").data.of(fifth) != br#"{"a":1}"#)
                .count();
            assert!(wrong < CHECKED_EVERY as usize, "{wrong} after {before}");
            assert_eq!(scanner.scan(plain).expect("plain").data.of(plain), br#"{"a":1}"#);
        }
    }

    #[test]
    fn guild_ids_are_those_of_the_outermost_object() {
        for (name, data, id) in [
            ("MESSAGE_CREATE", r#"{"content":"x","guild_id":"12"}"#, 12),
            ("MESSAGE_CREATE", r#"{"guild_id":"12","content":"x"}"#, 12),
            ("MESSAGE_CREATE", r#"{"guild_id": 12 ,"content":"x"}"#, 12),
            ("MESSAGE_CREATE", r#"{"content":"x"}"#, 0),
            ("MESSAGE_CREATE", r#"{"message_reference":{"id":"1","guild_id":"12"}}"#, 0),
            ("MESSAGE_CREATE", r#"{"r":{"guild_id":"1"},"guild_id":"12"}"#, 12),
            ("MESSAGE_CREATE", r#"{"content":",\"guild_id\":\"9\"}"}"#, 0),
            ("MESSAGE_CREATE", r#"{"guild_id":null}"#, 0),
            ("MESSAGE_CREATE", r#"{"guild_id":"-1"}"#, 0),
            ("GUILD_CREATE", r#"{"name":"x","roles":[{"id":"5"}],"id":"12"}"#, 12),
            ("GUILD_DELETE", r#"{"unavailable":true,"id":"12"}"#, 12),
            ("RESUMED", "", 0),
            ("X", "null", 0),
        ] {
            assert_eq!(guild_id_of(name.as_bytes(), data.as_bytes()), id, "{name} {data}");
        }
    }
}
