//! The chunks of one answer to a request for members, and the bytes that all of them take.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::MAX_COLLECTED_BYTES;
use crate::protocol::json;

/// What a chunk takes besides its text.
const CHUNK_OVERHEAD_BYTES: usize = 128;

/// How many bytes a client has collected: in chunks, and in replies that the host has not released.
#[derive(Debug, Default)]
pub(crate) struct CollectedBytes(AtomicUsize);

/// Some of them; given back on drop.
#[derive(Debug)]
struct Charge {
    total: Arc<CollectedBytes>,
    bytes: usize,
}

impl Charge {
    /// Takes more, if the bound allows it.
    fn grow(&mut self, bytes: usize) -> bool {
        let add =
            |total: usize| total.checked_add(bytes).filter(|total| *total <= MAX_COLLECTED_BYTES);
        let grown = self.total.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        self.bytes += if grown { bytes } else { 0 };
        grown
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.total.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A chunk as Discord sends it.
///
/// Source: <https://discord.com/developers/docs/events/gateway-events#guild-members-chunk>.
#[derive(Debug, Deserialize)]
pub(super) struct ChunkEvent<'a> {
    #[serde(borrow)]
    guild_id: &'a RawValue,
    #[serde(borrow)]
    nonce: Option<Cow<'a, str>>,
    chunk_index: u32,
    chunk_count: u32,
    #[serde(borrow)]
    members: &'a RawValue,
    #[serde(borrow)]
    presences: Option<&'a RawValue>,
    #[serde(borrow)]
    not_found: Option<&'a RawValue>,
}

impl<'a> ChunkEvent<'a> {
    /// Reads a chunk; `None` where it is not of the documented form.
    pub(super) fn read(data: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(data)
            .ok()
            .filter(|chunk: &Self| chunk.chunk_index < chunk.chunk_count)
    }

    /// The guild.
    pub(super) fn guild_id(&self) -> Option<u64> {
        json::snowflake(self.guild_id.get().as_bytes())
    }

    /// The nonce of the request.
    pub(super) fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }
}

/// What a chunk did to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There are more to come.
    Partial,
    /// It was the last one.
    Complete,
    /// There is no room for it.
    TooLarge,
}

/// The elements of the lists of one chunk, without the brackets.
#[derive(Debug)]
struct Chunk {
    members: Box<str>,
    presences: Box<str>,
    not_found: Box<str>,
}

/// The chunks of one answer, as far as they have come.
#[derive(Debug)]
pub(super) struct Chunks {
    /// By index.
    came: BTreeMap<u32, Chunk>,
    /// How many there are in all, once one has come.
    count: Option<u32>,
    charge: Charge,
}

impl Chunks {
    /// None has come.
    pub(super) fn new(total: &Arc<CollectedBytes>) -> Self {
        let charge = Charge { total: Arc::clone(total), bytes: 0 };
        Self { came: BTreeMap::new(), count: None, charge }
    }

    /// Whether none has come.
    pub(super) fn is_empty(&self) -> bool {
        self.came.is_empty()
    }

    /// How far it has come, for people.
    pub(super) fn progress(&self) -> String {
        match self.count {
            Some(count) => format!("{} of {count} chunks came", self.came.len()),
            None => "no chunk came".to_owned(),
        }
    }

    /// Adds a chunk, unless it is there already. One of another number of chunks belongs to another
    /// answer, and the older one will not go on.
    pub(super) fn add(&mut self, event: &ChunkEvent<'_>) -> Progress {
        if self.count.is_some_and(|count| count != event.chunk_count) {
            *self = Self::new(&self.charge.total);
        }
        self.count = Some(event.chunk_count);
        if !self.came.contains_key(&event.chunk_index) {
            let chunk = Chunk {
                members: elements(event.members).into(),
                presences: event.presences.map_or("", elements).into(),
                not_found: event.not_found.map_or("", elements).into(),
            };
            let bytes = chunk.members.len() + chunk.presences.len() + chunk.not_found.len();
            if !self.charge.grow(bytes + CHUNK_OVERHEAD_BYTES) {
                return Progress::TooLarge;
            }
            self.came.insert(event.chunk_index, chunk);
        }
        let is_complete = self.came.len() == event.chunk_count as usize;
        if is_complete { Progress::Complete } else { Progress::Partial }
    }

    /// The answer as one JSON object. Its bytes count until it is dropped.
    pub(super) fn join(self, guild_id: u64, presences: bool) -> Bytes {
        let Self { came, charge, .. } = self;
        let mut text = String::with_capacity(charge.bytes + CHUNK_OVERHEAD_BYTES);
        let count = came.len();
        let (mut all_presences, mut not_found) = (Vec::new(), Vec::new());
        // Writing to a string cannot fail.
        let _ = write!(text, "{{\"guild_id\":\"{guild_id}\",\"members\":");
        // Each chunk is freed once it is in the answer.
        let members = came.into_values().map(|chunk| {
            all_presences.push(chunk.presences);
            not_found.push(chunk.not_found);
            chunk.members
        });
        write_list(&mut text, members);
        if presences {
            text.push_str(",\"presences\":");
            write_list(&mut text, all_presences);
        }
        text.push_str(",\"not_found\":");
        write_list(&mut text, not_found);
        let _ = write!(text, ",\"chunks\":{count}}}");
        Bytes::from_owner(Answer { text, _charge: charge })
    }
}

/// Writes the elements of many lists as one.
fn write_list(text: &mut String, parts: impl IntoIterator<Item = Box<str>>) {
    let start = text.len();
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        text.push(if text.len() == start { '[' } else { ',' });
        text.push_str(&part);
    }
    if text.len() == start {
        text.push('[');
    }
    text.push(']');
}

/// A whole answer, until the host has released it.
struct Answer {
    text: String,
    _charge: Charge,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// What stands between the brackets of a list; nothing where there is no list.
fn elements(list: &RawValue) -> &str {
    let inner = list.get().strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inner.unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(chunks: &mut Chunks, index: u32, count: u32, lists: &str) -> Progress {
        let text =
            format!(r#"{{"guild_id":"7","chunk_index":{index},"chunk_count":{count},{lists}}}"#);
        chunks.add(&ChunkEvent::read(text.as_bytes()).expect("a chunk"))
    }

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).expect("UTF-8")
    }

    /// Scenario 62: in any order, some twice, some empty: the answer has them in their order.
    #[test]
    fn chunks_are_joined_in_their_order() {
        let total = Arc::default();
        let mut chunks = Chunks::new(&total);
        for (index, lists) in [
            (3, r#""members":[ {"n":3} ],"presences":[{"p":3}]"#),
            (1, r#""members":[],"not_found":["8", 9]"#),
            (3, r#""members":["again"]"#),
            (2, r#""members":[{"n":2},{"n":[]}],"presences":null"#),
        ] {
            assert_eq!(add(&mut chunks, index, 4, lists), Progress::Partial);
        }
        assert_eq!(chunks.progress(), "3 of 4 chunks came");
        assert_eq!(add(&mut chunks, 0, 4, r#""members":[{"n":0}]"#), Progress::Complete);
        let answer = chunks.join(7, true);
        assert_eq!(
            text(&answer),
            r#"{"guild_id":"7","members":[{"n":0},{"n":2},{"n":[]},{"n":3}],"presences":[{"p":3}],"not_found":["8", 9],"chunks":4}"#
        );
        assert!(total.0.load(Ordering::Relaxed) > 4 * CHUNK_OVERHEAD_BYTES);
        let copy = answer.clone();
        drop(answer);
        assert_ne!(total.0.load(Ordering::Relaxed), 0, "somebody has it still");
        drop(copy);
        assert_eq!(total.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_answer_of_another_length_starts_anew() {
        let mut chunks = Chunks::new(&Arc::default());
        assert_eq!(add(&mut chunks, 0, 3, r#""members":[1]"#), Progress::Partial);
        assert_eq!(add(&mut chunks, 1, 2, r#""members":[2]"#), Progress::Partial);
        assert_eq!(add(&mut chunks, 0, 2, r#""members":[3]"#), Progress::Complete);
        let answer = chunks.join(7, false);
        assert_eq!(text(&answer), r#"{"guild_id":"7","members":[3,2],"not_found":[],"chunks":2}"#);
    }

    #[test]
    fn what_is_no_chunk_is_none() {
        for text in [
            "",
            "{}",
            r#"{"guild_id":"7","chunk_index":0,"members":[]}"#,
            r#"{"guild_id":"7","chunk_index":1,"chunk_count":1,"members":[]}"#,
            r#"{"guild_id":"7","chunk_index":0,"chunk_count":0,"members":[]}"#,
            r#"{"guild_id":"7","chunk_index":-1,"chunk_count":1,"members":[]}"#,
            r#"{"guild_id":"7","chunk_index":0,"chunk_count":1,"members":[}"#,
        ] {
            assert!(ChunkEvent::read(text.as_bytes()).is_none(), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let mut chunks = Chunks::new(&Arc::default());
        assert_eq!(add(&mut chunks, 0, 1, &format!("\"members\":{deep}")), Progress::Complete);
        assert_eq!(
            add(&mut Chunks::new(&Arc::default()), 0, 1, "\"members\":7"),
            Progress::Complete
        );
    }

    #[test]
    fn the_bound_is_for_all_requests_together() {
        let total = Arc::default();
        let (mut one, mut other) = (Chunks::new(&total), Chunks::new(&total));
        let half = format!("\"members\":[\"{}\"]", "x".repeat(MAX_COLLECTED_BYTES / 2 - 1_000));
        assert_eq!(add(&mut one, 0, 2, &half), Progress::Partial);
        assert_eq!(add(&mut other, 0, 2, &half), Progress::Partial);
        assert_eq!(add(&mut other, 1, 2, &half), Progress::TooLarge);
        drop(other);
        assert_eq!(add(&mut one, 1, 2, &half), Progress::Complete);
        drop(one);
        assert_eq!(total.0.load(Ordering::Relaxed), 0);
    }
}
