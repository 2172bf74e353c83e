//! What a client has to know before its shards can start: `/gateway/bot`.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::config::{Config, MAX_SHARD_TOTAL, MAX_SHARDS, Shards};
use crate::error::{Error, ErrorKind};
use crate::identify::{DAY, SessionStartLimit};
use crate::protocol::GatewayUrl;
use crate::rest::{Response, Rest};
use crate::sessions::LastStart;

/// What `/gateway/bot` says.
///
/// Source: <https://discord.com/developers/docs/events/gateway#get-gateway-bot>.
#[derive(Debug, Clone, Deserialize)]
pub struct GatewayInfo {
    /// Where to connect.
    pub url: String,
    /// The recommended number of shards.
    pub shards: u32,
    /// The session start limit.
    pub session_start_limit: StartLimit,
}

/// The session start limit as Discord writes it.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct StartLimit {
    /// Session starts per day.
    pub total: u32,
    /// Session starts left.
    pub remaining: u32,
    /// Milliseconds until they are all there again.
    pub reset_after: u64,
    /// Identifies per 5 s.
    pub max_concurrency: u32,
}

/// What the shards of a client are started with.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Where to connect.
    pub(super) gateway: GatewayUrl,
    /// The number of shards of the bot.
    pub(super) total: NonZeroU32,
    /// The shards to run here.
    pub(super) ids: Vec<u32>,
    /// The session start limit.
    pub(super) limit: SessionStartLimit,
    /// Whether that is what Discord said just now.
    pub(super) is_asked: bool,
}

impl Plan {
    /// What of it the next process may want to know.
    pub(super) fn as_start(&self) -> LastStart {
        LastStart {
            gateway: self.gateway.clone(),
            shard_total: self.total.get(),
            starts_per_day: self.limit.total,
            max_concurrency: self.limit.max_concurrency.get(),
        }
    }
}

impl GatewayInfo {
    /// Asks `/gateway/bot`.
    ///
    /// # Errors
    /// `Fatal` when the token is refused, else `Io`: worth another try.
    pub async fn ask(rest: &Rest) -> Result<Self, Error> {
        let response = ask(rest).await?;
        serde_json::from_slice(&response.body).map_err(|error| {
            let text = format!("/gateway/bot answered something unexpected: {error}");
            Error::new(ErrorKind::Io, text)
        })
    }
}

/// The body of `/gateway/bot`.
///
/// # Errors
/// As [`GatewayInfo::ask`].
pub(super) async fn ask(rest: &Rest) -> Result<Response, Error> {
    let response = rest.get("/gateway/bot").await?;
    match response.status {
        200 => Ok(response),
        401 => Err(Error::new(
            ErrorKind::Fatal,
            "Discord refused the bot token (HTTP 401 for /gateway/bot): copy it again from the Bot \
             page of the Developer Portal",
        )),
        status => Err(Error::new(ErrorKind::Io, format!("/gateway/bot answered HTTP {status}"))),
    }
}

/// What the config and `/gateway/bot` mean together. With `"auto"` a number of shards whose sessions
/// can be resumed is kept, even if Discord would recommend another one by now.
///
/// # Errors
/// `Io` when what Discord said makes no sense.
pub(super) fn plan(
    config: &Config,
    info: &GatewayInfo,
    last_total: Option<u32>,
) -> Result<Plan, Error> {
    let (total, ids) = match &config.shards {
        Shards::Fixed { total, ids } => (*total, ids.clone()),
        Shards::Auto => {
            let total = NonZeroU32::new(last_total.unwrap_or(info.shards))
                .filter(|total| total.get() <= MAX_SHARDS.min(MAX_SHARD_TOTAL))
                .ok_or_else(|| senseless(format!("it recommends {} shards", info.shards)))?;
            (total, (0..total.get()).collect())
        }
        // Which, the backplane says.
        Shards::Lease { total } => {
            let total = total.map_or(last_total.unwrap_or(info.shards), NonZeroU32::get);
            let total = NonZeroU32::new(total)
                .filter(|total| total.get() <= MAX_SHARDS)
                .ok_or_else(|| senseless(format!("it recommends {total} shards")))?;
            (total, Vec::new())
        }
    };
    Ok(Plan { ids, ..plan_of(config, info, total)? })
}

/// The plan of a client that runs all of so many shards.
///
/// # Errors
/// As [`plan`].
pub(super) fn plan_of(
    config: &Config,
    info: &GatewayInfo,
    total: NonZeroU32,
) -> Result<Plan, Error> {
    let gateway = match &config.gateway_url {
        Some(url) => url.clone(),
        None => GatewayUrl::parse(&info.url).map_err(senseless)?,
    };
    let (ids, limit) = ((0..total.get()).collect(), limit(info.session_start_limit));
    Ok(Plan { gateway, total, ids, limit, is_asked: true })
}

/// What Discord said makes no sense.
fn senseless(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, format!("/gateway/bot: {why}"))
}

/// The plan without `/gateway/bot`, if the config, or what the last process started with, says all that is
/// needed.
pub(super) fn plan_without_info(config: &Config, last: Option<&LastStart>) -> Option<Plan> {
    let gateway = config.gateway_url.as_ref().or(last.map(|last| &last.gateway))?.clone();
    let (total, ids) = match &config.shards {
        Shards::Fixed { total, ids } => (*total, ids.clone()),
        Shards::Auto => {
            let total = NonZeroU32::new(last?.shard_total)?;
            (total, (0..total.get()).collect())
        }
        Shards::Lease { total } => {
            let last = || NonZeroU32::new(last?.shard_total);
            (total.or_else(last)?, Vec::new())
        }
    };
    // Without a word of Discord's: the least that bots have.
    let (starts, max_concurrency) =
        last.map_or((1_000, 1), |last| (last.starts_per_day, last.max_concurrency));
    let limit =
        limit(StartLimit { total: starts, remaining: starts, reset_after: 0, max_concurrency });
    Some(Plan { gateway, total, ids, limit, is_asked: false })
}

/// The limit with its reset as a moment. A zero concurrency is taken for one.
pub(super) fn limit(limit: StartLimit) -> SessionStartLimit {
    /// Nobody has more buckets than this.
    const MOST: u32 = 4_096;
    // A day is what Discord promises; more is a mistake somewhere.
    let reset_after = Duration::from_millis(limit.reset_after).min(DAY);
    // Zero says that nothing was used yet: the day starts with the first identify.
    let reset_after = if reset_after.is_zero() { DAY } else { reset_after };
    SessionStartLimit {
        total: limit.total,
        remaining: limit.remaining.min(limit.total),
        resets_at: Instant::now().into_std() + reset_after,
        max_concurrency: NonZeroU32::new(limit.max_concurrency.min(MOST))
            .unwrap_or(NonZeroU32::MIN),
    }
}
