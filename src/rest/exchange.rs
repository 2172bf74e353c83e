//! One request from its place in line to its outcome: attempts, retries, patience.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

use super::answer::{Answer, RateLimitScope};
use super::response::Response;
use super::route::Route;
use super::turns::{Turn, Turns, Unauthorized};
use super::wire::{BodyError, Failure, Outgoing, Received, Wire};
use crate::error::{Error, ErrorKind};

/// How long a request may take; no attempt begins later. What an interaction's token is good for, and
/// nobody waits longer for a message.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Attempts that may fail, 429s not counted.
const MAX_ATTEMPTS: u32 = 5;

/// 429s to one request. There is one now and then; ten in a row are no accident, and each brings the
/// bot closer to a ban.
const MAX_REFUSALS: u32 = 10;

/// The longest wait before the second attempt.
const BACKOFF_BASE: Duration = Duration::from_millis(500);

/// The longest wait of all.
const BACKOFF_CAP: Duration = Duration::from_secs(8);

/// What one attempt came to.
enum Attempt {
    /// The last word.
    Done(Result<Response, Error>),
    /// It may go differently another time; if there is none, this is the last word.
    Failed(Result<Response, Error>),
    /// Not now, says Discord.
    RateLimited(Response),
}

/// Sends a request until there is a last word on it.
///
/// # Errors
/// When there is no answer, with whether Discord may have seen the request.
pub(super) async fn exchange(
    wire: &Wire,
    turns: &Arc<Turns>,
    request: &Outgoing,
    route: &Arc<Route>,
) -> Result<Response, Error> {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    let mut turn = turns.enter(route)?;
    let (mut failures, mut refusals) = (0, 0);
    let mut last = None;
    loop {
        match timeout_at(deadline, turn.granted()).await {
            Ok(Ok(())) => {}
            Ok(Err(Unauthorized)) => return last.unwrap_or_else(|| Err(unauthorized(route))),
            Err(_) => return last.unwrap_or_else(|| Err(no_turn(route))),
        }
        match attempt(wire, turns, &mut turn, request, route).await {
            Attempt::Done(result) => return result,
            Attempt::Failed(result) => {
                failures += 1;
                let wait = backoff(failures, fastrand::f64());
                if failures == MAX_ATTEMPTS || Instant::now() + wait > deadline {
                    return result.map_err(|error| gave_up(&error, failures));
                }
                last = Some(result);
                sleep(wait).await;
            }
            Attempt::RateLimited(response) => {
                refusals += 1;
                // What is known to come too late need not be waited for.
                if refusals == MAX_REFUSALS || turn.held_until() > Some(deadline) {
                    return Ok(response);
                }
                last = Some(Ok(response));
            }
        }
        turn.again();
    }
}

/// Sends a request once.
async fn attempt(
    wire: &Wire,
    turns: &Turns,
    turn: &mut Turn,
    request: &Outgoing,
    route: &Route,
) -> Attempt {
    let began = Instant::now();
    turn.sending();
    let Received { status, headers, body } = match wire.send(request.clone()).await {
        Ok(received) => received,
        Err(failure) => {
            turns.metrics.count_unanswered(&route.template);
            debug!(method = %route.method, route = %route.template, why = failure.why, "no answer");
            if failure.may_be_sent {
                turn.unanswered();
            } else {
                turn.unsent();
            }
            return unanswered(&failure, route);
        }
    };
    let answer = Answer::read(status, &headers, body.as_deref().unwrap_or_default());
    turn.answered(&answer);
    if answer.is_invalid() {
        turns.metrics.count_invalid();
    }
    turns.metrics.count_answer(&route.method, &route.template, answer.status);
    let ms = began.elapsed().as_millis() as u64;
    debug!(method = %route.method, route = %route.template, status = answer.status, ms, "answer");

    if let Some(refused) = answer.rate_limited {
        turns.metrics.count_rate_limited(refused.scope);
        let (scope, seconds) = (refused.scope.as_str(), refused.retry_after.as_secs_f64());
        if matches!(refused.scope, RateLimitScope::Global | RateLimitScope::Cloudflare) {
            warn!(route = %route, scope, seconds, "rate limited: nothing is sent for a while");
        } else {
            debug!(route = %route, scope, seconds, "rate limited");
        }
        let body = body.unwrap_or_default();
        return Attempt::RateLimited(Response::new(answer.status, headers, body));
    }
    match body {
        Ok(body) => {
            let response = Response::new(answer.status, headers, body);
            if is_transient(status) && route.is_idempotent() {
                return Attempt::Failed(Ok(response));
            }
            Attempt::Done(Ok(response))
        }
        Err(error) => {
            turns.metrics.count_unanswered(&route.template);
            broken_off(status, &error, route)
        }
    }
}

/// Whether this is a server's way to say "later".
///
/// Source: <https://discord.com/developers/docs/topics/opcodes-and-status-codes#http>, and
/// <https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/>.
fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502..=504 | 520..=524)
}

/// How long to wait after so many failures: full jitter, so that requests that failed together do not
/// come back together.
fn backoff(failures: u32, random: f64) -> Duration {
    let bound = BACKOFF_BASE.saturating_mul(1 << (failures - 1).min(16)).min(BACKOFF_CAP);
    bound.mul_f64(random)
}

/// An attempt without answer.
fn unanswered(failure: &Failure, route: &Route) -> Attempt {
    let kind = if failure.is_timeout { ErrorKind::Timeout } else { ErrorKind::Io };
    let why = &failure.why;
    if !failure.may_be_sent {
        return Attempt::Failed(Err(Error::new(kind, format!("{route} was not sent: {why}"))));
    }
    if route.is_idempotent() {
        return Attempt::Failed(Err(Error::new(kind, format!("{route} got no answer: {why}"))));
    }
    let advice = "Discord may have carried it out, so it is not sent again";
    Attempt::Done(Err(Error::new(kind, format!("{route} got no answer: {why}; {advice}"))))
}

/// An attempt whose answer broke off.
fn broken_off(status: StatusCode, error: &BodyError, route: &Route) -> Attempt {
    let kind = match error {
        BodyError::Timeout => ErrorKind::Timeout,
        BodyError::Lost(_) | BodyError::TooLarge => ErrorKind::Io,
    };
    let status = status.as_u16();
    let error_with = |advice: &str| {
        let text = format!("{route} was answered with HTTP {status}, but {error}{advice}");
        Err(Error::new(kind, text))
    };
    match error {
        BodyError::TooLarge => Attempt::Done(error_with("")),
        _ if route.is_idempotent() => Attempt::Failed(error_with("")),
        _ => Attempt::Done(error_with("; it is not sent again")),
    }
}

/// An error after several attempts.
fn gave_up(error: &Error, attempts: u32) -> Error {
    Error::new(error.kind(), format!("{error} (after {attempts} attempts)"))
}

/// A request that waited in vain.
fn no_turn(route: &Route) -> Error {
    let seconds = REQUEST_TIMEOUT.as_secs();
    let text = format!("{route} was not sent: the rate limits left no room for it in {seconds} s");
    Error::new(ErrorKind::Timeout, text)
}

/// A request that needs a better token.
fn unauthorized(route: &Route) -> Error {
    let text = format!(
        "{route} was not sent: Discord refused the bot token (HTTP 401) several times in a row; if \
         it was reset, set the new one"
    );
    Error::new(ErrorKind::Fatal, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_capped() {
        let bounds_ms: Vec<_> = (1..=6).map(|n| backoff(n, 1.0).as_millis()).collect();
        assert_eq!(bounds_ms, [500, 1_000, 2_000, 4_000, 8_000, 8_000]);
        assert_eq!(backoff(u32::MAX, 1.0), BACKOFF_CAP);
        assert_eq!(backoff(3, 0.0), Duration::ZERO);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let transient: Vec<u16> = (100..600)
            .filter(|status| is_transient(StatusCode::from_u16(*status).expect("a status")))
            .collect();
        assert_eq!(transient, [500, 502, 503, 504, 520, 521, 522, 523, 524]);
    }
}
