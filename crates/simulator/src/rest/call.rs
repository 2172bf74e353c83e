//! A REST call: what of the HTTP request its route needs.

use hyper::Method;
use hyper::header::{self, HeaderMap};
use serde_json::{Map, Value, json};

use super::reply::ApiError;

/// Largest body that the ledger keeps.
const MAX_RECORDED: usize = 64 * 1024;

/// A request, read and decoded.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// The path below the version, beginning with a slash.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Body,
    /// Size of the body.
    pub(crate) bytes: usize,
    pub(crate) files: Vec<File>,
    /// Whether it carries the bot's token; `None` without any.
    pub(crate) authorization: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) reason: Option<String>,
}

/// The body of a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// None.
    Empty,
    /// JSON, or a form turned into it.
    Json(Value),
    /// JSON that is none.
    BadJson(String),
    /// Of no type that the API takes.
    BadType(String),
}

/// An uploaded file; its content is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// The form field: `files[0]`.
    pub(crate) field: String,
    pub(crate) name: String,
    pub(crate) content_type: Option<String>,
    pub(crate) bytes: usize,
}

impl Call {
    /// Decodes a request.
    pub(crate) async fn read(
        method: Method,
        path: String,
        query: String,
        headers: &HeaderMap,
        bytes: Vec<u8>,
    ) -> Self {
        let text = |name| {
            headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let content_type: Option<String> = text(header::CONTENT_TYPE);
        let length = bytes.len();
        let (body, files) = decode(content_type.as_deref(), bytes).await;
        let reason = text(header::HeaderName::from_static("x-audit-log-reason"));
        Self {
            method,
            path,
            query,
            body,
            bytes: length,
            files,
            authorization: text(header::AUTHORIZATION),
            host: text(header::HOST),
            user_agent: text(header::USER_AGENT),
            content_type,
            reason: reason.map(|reason| percent_decode(&reason)),
        }
    }

    /// The first value of a query parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// The body as a JSON object.
    pub(crate) fn object(&self) -> Result<&Map<String, Value>, ApiError> {
        match &self.body {
            Body::Json(Value::Object(object)) => Ok(object),
            Body::Json(_) => {
                Err(ApiError::form("", "MODEL_TYPE_CONVERT", "Only dictionaries may be used"))
            }
            Body::BadJson(_) => Err(ApiError::bad_json()),
            Body::Empty => Err(ApiError::form("", "BASE_TYPE_REQUIRED", "A body is required")),
            Body::BadType(_) => Err(bad_type()),
        }
    }

    /// Refuses bodies that no route could take.
    pub(crate) fn check_body(&self) -> Result<(), ApiError> {
        match &self.body {
            Body::BadJson(_) => Err(ApiError::bad_json()),
            Body::BadType(_) => Err(bad_type()),
            Body::Empty | Body::Json(_) => Ok(()),
        }
    }

    /// The body as the ledger keeps it.
    pub(crate) fn recorded_body(&self) -> Value {
        match &self.body {
            Body::Empty => Value::Null,
            Body::Json(value) if self.bytes <= MAX_RECORDED => value.clone(),
            Body::Json(_) => json!(format!("{} bytes", self.bytes)),
            Body::BadJson(text) | Body::BadType(text) => {
                json!(text.chars().take(MAX_RECORDED).collect::<String>())
            }
        }
    }
}

fn bad_type() -> ApiError {
    let message = "Expected \"Content-Type\" header to be one of {'application/json', \
        'multipart/form-data', 'application/x-www-form-urlencoded'}.";
    ApiError::form("", "CONTENT_TYPE_INVALID", message)
}

async fn decode(content_type: Option<&str>, bytes: Vec<u8>) -> (Body, Vec<File>) {
    if bytes.is_empty() {
        return (Body::Empty, Vec::new());
    }
    let kind = content_type.unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let body = match kind.as_str() {
        "application/json" => json_body(&bytes),
        "application/x-www-form-urlencoded" => {
            let pairs = form_urlencoded::parse(&bytes);
            Body::Json(Value::Object(
                pairs.map(|(name, value)| (name.into_owned(), json!(value))).collect(),
            ))
        }
        "multipart/form-data" => {
            return match multer::parse_boundary(content_type.unwrap_or_default()) {
                Ok(boundary) => multipart(boundary, bytes).await,
                Err(error) => (Body::BadType(error.to_string()), Vec::new()),
            };
        }
        _ => Body::BadType(text(&bytes)),
    };
    (body, Vec::new())
}

fn json_body(bytes: &[u8]) -> Body {
    serde_json::from_slice(bytes)
        .map_or_else(|_| Body::BadJson(String::from_utf8_lossy(bytes).into_owned()), Body::Json)
}

/// <https://docs.discord.com/developers/reference#uploading-files>
async fn multipart(boundary: String, bytes: Vec<u8>) -> (Body, Vec<File>) {
    let whole = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes)]);
    let mut parts = multer::Multipart::new(whole, boundary);
    let (mut fields, mut payload, mut files) = (Map::new(), None, Vec::new());
    loop {
        let part = match parts.next_field().await {
            Ok(Some(part)) => part,
            Ok(None) => break,
            Err(error) => return (Body::BadType(error.to_string()), files),
        };
        let field = part.name().unwrap_or_default().to_owned();
        let file_name = part.file_name().map(str::to_owned);
        let content_type = part.content_type().map(ToString::to_string);
        let data = match part.bytes().await {
            Ok(data) => data,
            Err(error) => return (Body::BadType(error.to_string()), files),
        };
        if let Some(name) = file_name {
            files.push(File { field, name, content_type, bytes: data.len() });
        } else if field == "payload_json" {
            payload = Some(json_body(&data));
        } else {
            fields.insert(field, json!(String::from_utf8_lossy(&data)));
        }
    }
    (payload.unwrap_or(Body::Json(Value::Object(fields))), files)
}

/// Audit log reasons are percent-encoded UTF-8.
pub(super) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_multipart_body_gives_json_and_files() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"payload_json\"\r\n\
            Content-Type: application/json\r\n\r\n{\"content\":\"hi\"}\r\n\
            --b\r\nContent-Disposition: form-data; name=\"files[0]\"; filename=\"a.png\"\r\n\
            Content-Type: image/png\r\n\r\n12345\r\n--b--\r\n";
        let (json, files) =
            decode(Some("multipart/form-data; boundary=b"), body.as_bytes().to_vec()).await;
        assert_eq!(json, Body::Json(json!({"content": "hi"})));
        assert_eq!((files[0].name.as_str(), files[0].bytes), ("a.png", 5));
        assert_eq!(files[0].field, "files[0]");
    }

    #[tokio::test]
    async fn bad_bodies_are_told_apart() {
        let decode = async |kind, text: &str| decode(kind, text.as_bytes().to_vec()).await.0;
        let json = Some("application/json; charset=utf-8");
        assert_eq!(decode(json, "").await, Body::Empty);
        assert!(matches!(decode(json, "{").await, Body::BadJson(_)));
        assert!(matches!(decode(None, "{}").await, Body::BadType(_)));
        assert!(matches!(decode(Some("multipart/form-data"), "x").await, Body::BadType(_)));
        let cut = decode(Some("multipart/form-data; boundary=b"), "--b\r\nContent-Dis").await;
        assert!(matches!(cut, Body::BadType(_)));
    }

    #[test]
    fn reasons_are_decoded() {
        assert_eq!(percent_decode("spam%20%F0%9F%98%80 100%"), "spam 😀 100%");
    }
}
