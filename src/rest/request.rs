//! Requests, checked before anything is sent.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Method};
use percent_encoding::utf8_percent_encode;

use super::file::{File, too_large};
use super::metrics::METHODS;
use super::path;
use crate::config::{MAX_REST_BODY_BYTES, MAX_REST_FILES, MAX_REST_PATH_BYTES};
use crate::error::{Error, ErrorKind};

/// The longest reason that Discord keeps in the audit log.
///
/// Source: <https://discord.com/developers/docs/resources/audit-log#audit-log-entry-object>.
const MAX_REASON_CHARS: usize = 512;

/// A request to the REST API.
///
/// Made from a host's command with [`Request::from_json`], or piece by piece. Whatever is wrong with
/// it shows then, not when it is sent.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub(super) method: Method,
    /// The path below the API's base URL, encoded, with a slash at the front.
    pub(super) path: String,
    /// The query, encoded, without its question mark.
    pub(super) query: String,
    /// The JSON, byte for byte.
    pub(super) body: Option<Bytes>,
    /// The reason for the audit log, encoded.
    pub(super) reason: Option<HeaderValue>,
    /// The files to upload.
    pub(super) files: Vec<File>,
}

impl Request {
    /// A request without query and body. The path is what Discord's documentation has, such as
    /// `/channels/1/messages`; a query may follow it.
    ///
    /// # Errors
    /// `InvalidArgument` when the API has no such method, or the path cannot be meant.
    pub fn new(method: Method, path: &str) -> Result<Self, Error> {
        if !METHODS.contains(&method) {
            let known: Vec<_> = METHODS.iter().map(Method::as_str).collect();
            return Err(wrong(format!("`method` is none of {}", known.join(", "))));
        }
        let (path, query) = path::check(path).map_err(|why| wrong(format!("`path` {why}")))?;
        let request = Self { method, path, query, body: None, reason: None, files: Vec::new() };
        request.check_length()
    }

    /// Adds a parameter to the query. An array is a parameter that is there several times.
    ///
    /// # Errors
    /// `InvalidArgument` when the query becomes too long.
    pub fn with_query(mut self, name: &str, value: &str) -> Result<Self, Error> {
        path::push_parameter(&mut self.query, name, value);
        self.check_length()
    }

    /// Sends this JSON, byte for byte.
    ///
    /// # Errors
    /// `InvalidArgument` for GET and HEAD, which have no body, and when it is too long.
    pub fn with_json(mut self, json: impl Into<Bytes>) -> Result<Self, Error> {
        self.body = Some(json.into());
        self.check_body()
    }

    /// Tells the readers of the audit log why.
    ///
    /// # Errors
    /// `InvalidArgument` when it is empty or has more than 512 characters.
    pub fn with_reason(mut self, reason: &str) -> Result<Self, Error> {
        if reason.is_empty() {
            return Err(wrong("`reason` is empty; leave it out if there is none"));
        }
        if reason.chars().nth(MAX_REASON_CHARS).is_some() {
            return Err(wrong(format!("`reason` has more than {MAX_REASON_CHARS} characters")));
        }
        let encoded = utf8_percent_encode(reason, path::NOT_IN_VALUE).to_string();
        self.reason = HeaderValue::from_str(&encoded).ok();
        Ok(self)
    }

    /// Uploads a file, too.
    ///
    /// # Errors
    /// `InvalidArgument` for GET and HEAD, for too many files, and when they are too long together.
    pub fn with_file(mut self, file: File) -> Result<Self, Error> {
        if self.files.len() == MAX_REST_FILES {
            return Err(wrong(format!("`files` has more than {MAX_REST_FILES} files")));
        }
        self.files.push(file);
        self.check_body()
    }

    /// Bytes of body and files that are known to be needed.
    pub(super) fn body_bytes(&self) -> usize {
        self.body.as_ref().map_or(0, Bytes::len) + self.files.iter().map(File::len).sum::<usize>()
    }

    /// The request, unless its body cannot be sent.
    fn check_body(self) -> Result<Self, Error> {
        if matches!(self.method, Method::GET | Method::HEAD) {
            let text = format!("a {} request has no body and no files; use `query`", self.method);
            return Err(wrong(text));
        }
        if self.body_bytes() > MAX_REST_BODY_BYTES {
            return Err(too_large());
        }
        Ok(self)
    }

    /// The request, unless its URL is too long.
    fn check_length(self) -> Result<Self, Error> {
        if self.path.len() + self.query.len() > MAX_REST_PATH_BYTES {
            let text = "`path` and `query` are longer together than";
            return Err(wrong(format!("{text} {MAX_REST_PATH_BYTES} bytes, encoded")));
        }
        Ok(self)
    }
}

/// `InvalidArgument` with this text.
pub(super) fn wrong(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

/// Paths hold tokens, bodies what people write: neither is for a log.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("body_bytes", &self.body_bytes())
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}
