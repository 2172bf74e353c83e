//! Discord's REST API: one request in, one outcome out, whatever the limits and the network do.
//!
//! [`Rest`] sends what a [`Request`] says and gives back Discord's last word on it. In between it
//! waits for the rate limits, so that Discord need not say no; tries again what can be tried again;
//! and gives up in time. It knows nothing of what routes mean: that is for hosts, and for the client.
//!
//! # What is tried again
//! - 429: always, when Discord says so.
//! - What was not sent (no connection): always.
//! - What may have been sent, and 5xx: GET, HEAD, OPTIONS, PUT and DELETE. A DELETE whose first answer
//!   was lost can come back with 404. POST and PATCH are not sent twice: a message that is there
//!   twice is worse than an error. When the connection was lost, the error says that Discord may have
//!   carried it out; a 5xx is handed to the caller as it came, and leaves the same doubt.
//!
//! # Order
//! Requests that one limit holds back are sent in the order in which they came. They are not sent
//! one by one, though: as many are under way as the limit allows. Who needs one to be done before the
//! next waits for its outcome.
//!
//! # A token that Discord does not take
//! Discord asks to stop when a token becomes invalid. After three answers with 401 in a row, requests
//! that need the token fail at once, for a minute; then it is tried again. One 401 is no proof:
//! routes that want an `OAuth2` token answer a good bot token so.
//!
//! Source: <https://discord.com/developers/docs/topics/rate-limits>,
//! <https://discord.com/developers/docs/reference#http-api>.

mod answer;
mod api;
mod bucket;
mod command;
mod exchange;
mod file;
mod guard;
mod lane;
mod limiter;
mod metrics;
mod multipart;
mod path;
mod request;
mod response;
mod route;
#[cfg(test)]
mod simulation;
mod turns;
mod wire;

use std::sync::Arc;

use http::Method;

pub use answer::RateLimitScope;
pub use file::File;
pub use metrics::RestMetrics;
pub use request::Request;
pub use response::Response;

use crate::config::Config;
use crate::error::Error;
use crate::transport::Dialer;
use api::Api;
use exchange::exchange;
use turns::Turns;
use wire::Wire;

/// The REST client of one bot. Clones are the same client: they share connections and limits.
///
/// All of it happens in the caller's task, but for the connections and a timer, which run in the
/// runtime of whoever makes requests. Dropping the future of a request cancels it.
#[derive(Debug, Clone)]
pub struct Rest(Arc<Shared>);

/// What the clones share.
#[derive(Debug)]
struct Shared {
    api: Api,
    wire: Wire,
    turns: Arc<Turns>,
}

impl Rest {
    /// The client of the bot whose token is in the config. Nothing is sent yet.
    pub fn new(config: &Config, dialer: Dialer) -> Self {
        let (api, wire) = (Api::new(config), Wire::new(dialer));
        Self(Arc::new(Shared { api, wire, turns: Arc::new(Turns::new()) }))
    }

    /// Makes a request, and waits for what comes of it: as long as the rate limits ask for, but no
    /// longer than a quarter of an hour.
    ///
    /// # Errors
    /// Every answer of Discord is a [`Response`], whatever its status. An error says why there is
    /// none: `Io` or `Timeout` for the network, with whether Discord may have carried it out;
    /// `Fatal` when the token does not work; `QueueFull` when too many requests wait; `Io`,
    /// `NotFound` or `InvalidArgument` for files that cannot be sent.
    pub async fn request(&self, request: Request) -> Result<Response, Error> {
        let Shared { api, wire, turns } = &*self.0;
        let (outgoing, route) = api.prepare(request).await?;
        exchange(wire, turns, &outgoing, &Arc::new(route)).await
    }

    /// Makes a GET request.
    ///
    /// # Errors
    /// As [`Rest::request`], and `InvalidArgument` for a path that cannot be meant.
    pub async fn get(&self, path: &str) -> Result<Response, Error> {
        self.request(Request::new(Method::GET, path)?).await
    }

    /// What is counted.
    pub fn metrics(&self) -> &RestMetrics {
        &self.0.turns.metrics
    }
}
