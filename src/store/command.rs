//! The commands of hosts for the store, as JSON, and their replies.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::{Document, Page, Written};
use crate::config::{
    DEFAULT_STORE_DOCUMENTS_PER_PAGE, MAX_STORE_COLLECTION_BYTES, MAX_STORE_DOCUMENTS_PER_PAGE,
    MAX_STORE_KEY_BYTES, MAX_STORE_VALUE_BYTES,
};
use crate::error::{Error, ErrorKind};

/// The status and the data of a REPLY.
pub(crate) type Reply = (i32, Vec<u8>);

/// A command for the store.
#[derive(Debug)]
pub enum Request {
    /// Stores a document.
    Put(Put),
    /// Asks for one.
    Get(Get),
    /// Deletes one.
    Delete(Delete),
    /// Asks for some of a collection.
    List(List),
}

/// `store_put`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(super) collection: String,
    pub(super) key: String,
    pub(super) value: Box<RawValue>,
    pub(super) expected_version: Option<i64>,
}

/// `store_get`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Get {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(super) collection: String,
    pub(super) key: String,
}

/// `store_delete`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(super) collection: String,
    pub(super) key: String,
    pub(super) expected_version: Option<i64>,
}

/// `store_list`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(super) collection: String,
    #[serde(default)]
    pub(super) prefix: String,
    #[serde(default)]
    pub(super) after: String,
    #[serde(default = "documents_per_page")]
    pub(super) limit: usize,
}

fn documents_per_page() -> usize {
    DEFAULT_STORE_DOCUMENTS_PER_PAGE
}

impl Put {
    /// One of the engine itself, which may write where hosts may not.
    ///
    /// # Errors
    /// `InvalidArgument` when the value is no JSON.
    pub(super) fn own(collection: &str, key: &str, value: &str) -> Result<Self, Error> {
        let value = RawValue::from_string(value.to_owned())
            .map_err(|error| wrong(format!("what is to be stored is no JSON: {error}")))?;
        let (collection, key) = (collection.to_owned(), key.to_owned());
        Ok(Self { _type: IgnoredAny, collection, key, value, expected_version: None })
    }

    /// The request, if it makes sense.
    pub(crate) fn checked(self) -> Result<Request, Error> {
        check_writable(&self.collection)?;
        check_key(&self.key)?;
        let bytes = self.value.get().len();
        if bytes > MAX_STORE_VALUE_BYTES {
            let text = format!(
                "`value` has {bytes} bytes as JSON; the store takes at most {MAX_STORE_VALUE_BYTES}"
            );
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        if self.expected_version.is_some_and(|version| version < 0) {
            return Err(wrong("`expected_version` is a version, or 0 for none"));
        }
        Ok(Request::Put(self))
    }

    /// What the host is told.
    pub(super) fn reply(&self, written: Written) -> Reply {
        match written {
            Written::Done(version) => done(&json!({"version": version})),
            Written::Conflict { current, is_repeated } => {
                conflict(self.expected_version, current, is_repeated)
            }
        }
    }
}

impl Get {
    /// The request, if it makes sense.
    pub(crate) fn checked(self) -> Result<Request, Error> {
        check_collection(&self.collection)?;
        check_key(&self.key)?;
        Ok(Request::Get(self))
    }

    /// What the host is told.
    pub(super) fn reply(found: Option<Document>) -> Result<Reply, Error> {
        found.map(|found| Told::new(None, &found)).transpose().and_then(|told| to_json(&told))
    }
}

impl Delete {
    /// The request, if it makes sense.
    pub(crate) fn checked(self) -> Result<Request, Error> {
        check_writable(&self.collection)?;
        check_key(&self.key)?;
        if self.expected_version.is_some_and(|version| version < 1) {
            return Err(wrong("`expected_version` is the version to delete, 1 or higher"));
        }
        Ok(Request::Delete(self))
    }

    /// What the host is told.
    pub(super) fn reply(&self, written: Written) -> Reply {
        match written {
            Written::Done(version) => done(&json!({"deleted": version != 0})),
            Written::Conflict { current, is_repeated } => {
                conflict(self.expected_version, current, is_repeated)
            }
        }
    }
}

impl List {
    /// The request, if it makes sense.
    pub(crate) fn checked(self) -> Result<Request, Error> {
        check_collection(&self.collection)?;
        check_text("prefix", &self.prefix, MAX_STORE_KEY_BYTES)?;
        check_text("after", &self.after, MAX_STORE_KEY_BYTES)?;
        if !(1..=MAX_STORE_DOCUMENTS_PER_PAGE).contains(&self.limit) {
            let text =
                format!("`limit` is {}; it is 1 to {MAX_STORE_DOCUMENTS_PER_PAGE}", self.limit);
            return Err(wrong(text));
        }
        Ok(Request::List(self))
    }

    /// What the host is told.
    pub(super) fn reply(page: &Page) -> Result<Reply, Error> {
        #[derive(Serialize)]
        struct ToldPage<'a> {
            documents: Vec<Told<'a>>,
            next: Option<&'a str>,
        }
        let told = page.documents.iter().map(|(key, found)| Told::new(Some(key), found));
        let last = page.documents.last().filter(|_| page.has_more);
        to_json(&ToldPage {
            documents: told.collect::<Result<_, _>>()?,
            next: last.map(|(key, _)| key.as_str()),
        })
    }
}

/// A document as a host sees it.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    value: Box<RawValue>,
    version: i64,
    updated_at_ms: i64,
}

impl<'a> Told<'a> {
    /// Fails when somebody else has written what is no JSON.
    fn new(key: Option<&'a str>, found: &Document) -> Result<Self, Error> {
        let Document { value, version, updated_at_ms } = found;
        let value = RawValue::from_string(value.clone()).map_err(|error| {
            let text =
                format!("the store holds a value that is no JSON ({error}); put another one");
            Error::new(ErrorKind::Io, text)
        })?;
        Ok(Self { key, value, version: *version, updated_at_ms: *updated_at_ms })
    }
}

/// The reply to a write that was carried out.
fn done(result: &serde_json::Value) -> Reply {
    (0, result.to_string().into_bytes())
}

/// The reply with a result that holds values.
fn to_json(result: &impl Serialize) -> Result<Reply, Error> {
    let json = serde_json::to_vec(result);
    json.map(|json| (0, json)).map_err(|error| Error::new(ErrorKind::Io, error.to_string()))
}

/// The reply to a write that expected something else.
fn conflict(expected: Option<i64>, current: i64, is_repeated: bool) -> Reply {
    let expected = expected.unwrap_or_default();
    let is_there = match current {
        0 => "nothing is stored there".to_owned(),
        _ => format!("version {current} is stored there"),
    };
    let doubt = if is_repeated {
        ". The connection was lost on the way: this write may have been carried out and be overwritten since"
    } else {
        ""
    };
    let error = format!("`expected_version` is {expected}, but {is_there}{doubt}");
    let data = json!({"error": error, "version": current});
    (ErrorKind::State.status(), data.to_string().into_bytes())
}

/// `InvalidArgument` with this text.
fn wrong(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

/// A collection that a host may write.
fn check_writable(collection: &str) -> Result<(), Error> {
    check_collection(collection)?;
    if collection.starts_with('_') {
        let text = "`collection` begins with _; those are the engine's own, to be read only";
        return Err(wrong(text));
    }
    Ok(())
}

/// A collection.
fn check_collection(collection: &str) -> Result<(), Error> {
    if collection.is_empty() {
        return Err(wrong("`collection` is empty"));
    }
    check_text("collection", collection, MAX_STORE_COLLECTION_BYTES)
}

/// A key.
fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(wrong("`key` is empty"));
    }
    check_text("key", key, MAX_STORE_KEY_BYTES)
}

/// A text that every backend can keep.
fn check_text(name: &str, text: &str, most: usize) -> Result<(), Error> {
    if text.len() > most {
        return Err(wrong(format!("`{name}` has {} bytes; it has at most {most}", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong(format!("`{name}` has control characters")));
    }
    Ok(())
}
