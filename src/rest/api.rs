//! Where requests go and what they carry: the base URL, the token, the headers.
//!
//! Source: <https://discord.com/developers/docs/reference#http-api>.

use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Uri};
use http_body_util::Full;
use zeroize::Zeroizing;

use super::file;
use super::multipart;
use super::request::{Request, wrong};
use super::route::Route;
use super::wire::Outgoing;
use crate::config::Config;
use crate::error::Error;

/// How this program calls itself.
///
/// Source: <https://discord.com/developers/docs/reference#user-agent>.
const OWN_NAME: &str = concat!(
    "DiscordBot (https://github.com/shardwright/shardwright, ",
    env!("CARGO_PKG_VERSION"),
    ")"
);

/// The API as one bot sees it.
pub(super) struct Api {
    /// What stands before every path, without a slash at its end.
    base_url: String,
    /// The token, as it is sent.
    authorization: HeaderValue,
}

impl Api {
    /// The API of the config, with its token.
    pub(super) fn new(config: &Config) -> Self {
        let text = Zeroizing::new(format!("Bot {}", config.token.expose()));
        // A token is visible ASCII, which any header can hold.
        let mut authorization =
            HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bot"));
        authorization.set_sensitive(true);
        Self { base_url: config.api_url.clone(), authorization }
    }

    /// Makes a request ready to be sent, reading its files.
    ///
    /// # Errors
    /// When a file cannot be read, or body and files do not go together.
    pub(super) async fn prepare(&self, mut request: Request) -> Result<(Outgoing, Route), Error> {
        request.files = file::load(std::mem::take(&mut request.files)).await?;
        let route = Route::new(request.method.clone(), &request.path);
        let (body, content_type) = body(&request)?;

        let mut outgoing = Outgoing::new(Full::new(body));
        *outgoing.uri_mut() = self.url(&request)?;
        let may_have_body = matches!(request.method, Method::POST | Method::PUT | Method::PATCH);
        *outgoing.method_mut() = request.method;
        let headers = outgoing.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(OWN_NAME));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type);
        } else if may_have_body {
            // hyper leaves it out; RFC 9110 section 8.6 wants it, and some servers answer 411.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some(reason) = request.reason {
            headers.insert("x-audit-log-reason", reason);
        }
        if route.needs_authorization() {
            headers.insert(AUTHORIZATION, self.authorization.clone());
        }
        Ok((outgoing, route))
    }

    /// The whole URL of a request.
    fn url(&self, request: &Request) -> Result<Uri, Error> {
        let Request { path, query, .. } = request;
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{mark}{query}", self.base_url);
        // The path was checked; what is left are limits of the `http` crate.
        url.parse().map_err(|error| wrong(format!("`path` makes no URL: {error}")))
    }
}

/// The body of a request, and what it is.
fn body(request: &Request) -> Result<(Bytes, Option<HeaderValue>), Error> {
    if request.files.is_empty() {
        let content_type =
            request.body.as_ref().map(|_| HeaderValue::from_static("application/json"));
        return Ok((request.body.clone().unwrap_or_default(), content_type));
    }
    let mut rng = fastrand::Rng::new();
    let form = multipart::encode(request.body.as_ref(), &request.files, &mut rng)?;
    let content_type = format!("multipart/form-data; boundary={}", form.boundary);
    Ok((form.body, HeaderValue::try_from(content_type).ok()))
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}
