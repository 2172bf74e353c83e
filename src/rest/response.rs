//! What a request came to.

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;

/// Discord's last word on a request, whatever its status.
#[derive(Clone)]
#[non_exhaustive]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body as it came: JSON, as a rule.
    pub body: Bytes,
    /// The headers.
    headers: HeaderMap,
}

impl Response {
    /// A whole answer.
    pub(super) fn new(status: u16, headers: HeaderMap, body: Bytes) -> Self {
        Self { status, body, headers }
    }

    /// Whether Discord did what it was asked to do.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Bodies are somebody's messages, and too long for a log.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
