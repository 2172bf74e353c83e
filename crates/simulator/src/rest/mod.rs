//! The REST API: <https://docs.discord.com/developers/reference#http-api>.
//!
//! A call is read, met by faults if there are any, limited, answered by its route, and written
//! into the ledger. Routes are answered at once, under the simulator's lock.

mod call;
mod commands;
mod compose;
pub(crate) mod fault;
mod guilds;
mod interactions;
mod messages;
pub(crate) mod ratelimit;
mod reply;
mod route;
mod users;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;

use self::call::Call;
use self::fault::{Faults, RestFaultKind};
use self::interactions::Interactions;
pub use self::interactions::NewInteraction;
use self::ratelimit::{Limits, Scope};
use self::reply::ApiError;
pub(crate) use self::reply::Reply;
use self::route::Route;
use crate::ledger::{RestRecord, Rule};
use crate::state::{Shared, State};
use crate::wire::WireControl;

/// Largest body of a request.
/// <https://docs.discord.com/developers/resources/message#create-message-limitations>
pub(crate) const MAX_BODY: usize = 25 * 1024 * 1024;

/// What REST remembers between calls.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    pub(crate) faults: Faults,
    limits: Limits,
    interactions: Interactions,
    commands: commands::Commands,
}

/// A request below `/api`, read whole.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// The whole path, `/api/v10/…`.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: hyper::HeaderMap,
    /// `None` when it was larger than [`MAX_BODY`].
    pub(crate) body: Option<Vec<u8>>,
}

/// Answers a request.
pub(crate) async fn handle(shared: &Arc<Shared>, request: Request, wire: &WireControl) -> Reply {
    let at = shared.clock.now();
    let rest = request.path.strip_prefix("/api").unwrap_or(&request.path);
    let (versioned, path) = ["/v10/", "/v9/"]
        .iter()
        .find_map(|version| rest.strip_prefix(version))
        .map_or((false, rest.to_owned()), |rest| (true, format!("/{rest}")));
    let Request { method, query, headers, body, .. } = request;
    let fits = body.is_some();
    let call = Call::read(method, path, query, &headers, body.unwrap_or_default()).await;

    let method = call.method.to_string();
    let fault = shared.with(|state| state.rest.faults.next(&method, &call.path));
    let answer = |call: &Call| {
        if !versioned {
            ApiError::bad_version().reply()
        } else if !fits {
            ApiError::too_large().reply()
        } else {
            shared.with(|state| state.answer(call))
        }
    };
    let record = |reply: Option<&Reply>| shared.with(|state| state.record(at, &call, reply));
    let reply = match fault {
        None => answer(&call),
        Some(RestFaultKind::Status { status, body, headers }) => Reply { status, body, headers },
        Some(RestFaultKind::RateLimit { scope, retry_after_ms }) => {
            let after = Duration::from_millis(retry_after_ms);
            shared.with(|state| state.forced_limit(&call, scope, after))
        }
        Some(RestFaultKind::Hang) => {
            record(None);
            return pending().await;
        }
        Some(RestFaultKind::Drop(how)) => {
            record(None);
            wire.drop_stream(how);
            return pending().await;
        }
        Some(RestFaultKind::DropAfter(how)) => {
            answer(&call);
            record(None);
            wire.drop_stream(how);
            return pending().await;
        }
        Some(RestFaultKind::DelayMs(ms)) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            answer(&call)
        }
    };
    record(Some(&reply));
    reply
}

impl State {
    /// Answers a call: token, limits, route.
    fn answer(&mut self, call: &Call) -> Reply {
        let token_is_good = self.is_authorized(call);
        let route = match Route::parse(&call.path) {
            Ok(route) => route,
            Err(error) => return error.reply(),
        };
        if !token_is_good && (route.needs_token() || call.authorization.is_some()) {
            self.violation(None, Rule::RestUnauthorized, format!("{} {}", call.method, call.path));
            return ApiError::unauthorized().reply();
        }
        let agent = call.user_agent.as_deref().unwrap_or_default();
        if !agent.starts_with("DiscordBot (") {
            let detail = format!("`{agent}` on {} {}", call.method, call.path);
            self.violation(None, Rule::RestUserAgent, detail);
        }
        let now = self.clock.now();
        let bucket = route.bucket(&call.method);
        let per_second = self.options.rest.global_per_second;
        if bucket.global && per_second > 0 {
            let standing = self.rest.limits.count_global(now, per_second);
            if standing.exceeded {
                let detail = format!("more than {per_second} calls in a second");
                self.violation(None, Rule::RestLimitExceeded, detail);
                return ratelimit::too_many(Scope::Global, standing.reset_after, Vec::new());
            }
        }
        let standing = self.rest.limits.count(now, &bucket);
        let headers = ratelimit::headers(&bucket, standing, self.clock.unix_ms());
        if standing.exceeded && self.options.rest.per_route {
            let detail = format!("{} {}: {}", call.method, call.path, bucket.route);
            self.violation(None, Rule::RestLimitExceeded, detail);
            return ratelimit::too_many(Scope::User, standing.reset_after, headers);
        }
        let mut reply = call
            .check_body()
            .and_then(|()| self.route(&route, call))
            .unwrap_or_else(|error| error.reply());
        reply.headers.extend(headers);
        reply
    }

    fn is_authorized(&self, call: &Call) -> bool {
        let token = call.authorization.as_deref().and_then(|value| value.strip_prefix("Bot "));
        token.is_some_and(|token| self.is_token(token))
    }

    /// Answers a 429 that no limit has led to.
    fn forced_limit(&mut self, call: &Call, scope: Scope, after: Duration) -> Reply {
        let headers = Route::parse(&call.path).map_or_else(
            |_| Vec::new(),
            |route| {
                let bucket = route.bucket(&call.method);
                // A shared limit is hit although the bot's own bucket is not empty.
                let remaining = if scope == Scope::Shared { bucket.limit.requests - 1 } else { 0 };
                let standing =
                    ratelimit::Standing { remaining, reset_after: after, exceeded: true };
                ratelimit::headers(&bucket, standing, self.clock.unix_ms())
            },
        );
        ratelimit::too_many(scope, after, headers)
    }

    fn route(&mut self, route: &Route, call: &Call) -> reply::Result {
        match route {
            Route::Gateway
            | Route::GatewayBot
            | Route::Me
            | Route::MyGuilds
            | Route::LeaveGuild(_)
            | Route::CreateDm
            | Route::User(_)
            | Route::Application
            | Route::OAuthApplication => self.user_route(route, call),
            Route::Commands { .. } | Route::Command { .. } => self.command_route(route, call),
            Route::Channel(_)
            | Route::Messages(_)
            | Route::Message { .. }
            | Route::BulkDelete(_)
            | Route::Reactions { .. }
            | Route::Reaction { .. }
            | Route::Typing(_) => self.channel_route(route, call),
            Route::Guild(_)
            | Route::GuildChannels(_)
            | Route::Members(_)
            | Route::MemberSearch(_)
            | Route::Member { .. }
            | Route::Roles(_)
            | Route::Role { .. }
            | Route::Emojis(_)
            | Route::Sounds(_) => self.guild_route(route, call),
            Route::Callback { .. } | Route::Webhook { .. } | Route::WebhookMessage { .. } => {
                self.interaction_route(route, call)
            }
        }
    }

    /// Writes a call into the ledger.
    fn record(&mut self, at: Duration, call: &Call, reply: Option<&Reply>) {
        let status = reply.map_or(0, |reply| reply.status);
        let shared_limit = reply.is_some_and(|reply| {
            reply
                .headers
                .iter()
                .any(|(name, value)| name == "x-ratelimit-scope" && value == "shared")
        });
        self.seen.counts.rest += 1;
        self.seen.counts.rest_limited += u64::from(status == 429);
        // https://docs.discord.com/developers/topics/rate-limits#invalid-request-limit-aka-cloudflare-bans
        let invalid = matches!(status, 401 | 403 | 429) && !shared_limit;
        self.seen.counts.rest_invalid += u64::from(invalid);
        let record = RestRecord {
            at,
            method: call.method.to_string(),
            path: mask_token(&call.path),
            query: call.query.clone(),
            status,
            authorized: self.is_authorized(call),
            user_agent: call.user_agent.clone(),
            content_type: call.content_type.clone(),
            reason: call.reason.clone(),
            body: call.recorded_body(),
            files: call.files.iter().map(|file| (file.name.clone(), file.bytes)).collect(),
        };
        self.seen.rest(record);
    }
}

/// Interaction and webhook tokens stand in paths.
fn mask_token(path: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    if let ["", "interactions" | "webhooks", _, token, ..] = parts.as_mut_slice() {
        *token = "*";
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_do_not_reach_the_ledger() {
        assert_eq!(mask_token("/interactions/1/secret/callback"), "/interactions/1/*/callback");
        assert_eq!(mask_token("/webhooks/1/secret"), "/webhooks/1/*");
        assert_eq!(mask_token("/channels/1/messages"), "/channels/1/messages");
    }
}
