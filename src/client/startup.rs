//! What a client has to know before its shards can start: `/gateway/bot`.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::config::{Config, MAX_SHARD_TOTAL, MAX_SHARDS, Shards};
use crate::error::{Error, ErrorKind};
use crate::identify::SessionStartLimit;
use crate::protocol::GatewayUrl;
use crate::rest::{Response, Rest};

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

/// What the config and `/gateway/bot` mean together.
///
/// # Errors
/// `Io` when what Discord said makes no sense.
pub(super) fn plan(config: &Config, info: &GatewayInfo) -> Result<Plan, Error> {
    let senseless = |why: String| Error::new(ErrorKind::Io, format!("/gateway/bot: {why}"));
    let gateway = match &config.gateway_url {
        Some(url) => url.clone(),
        None => GatewayUrl::parse(&info.url).map_err(senseless)?,
    };
    let (total, ids) = match &config.shards {
        Shards::Fixed { total, ids } => (*total, ids.clone()),
        Shards::Auto => {
            let total = NonZeroU32::new(info.shards)
                .filter(|total| total.get() <= MAX_SHARDS.min(MAX_SHARD_TOTAL))
                .ok_or_else(|| senseless(format!("it recommends {} shards", info.shards)))?;
            (total, (0..total.get()).collect())
        }
    };
    Ok(Plan { gateway, total, ids, limit: limit(info.session_start_limit) })
}

/// The plan when `/gateway/bot` cannot be asked but the config says all that is needed: one identify
/// at a time, and nothing known of the day's budget.
pub(super) fn plan_without_info(config: &Config) -> Option<Plan> {
    let gateway = config.gateway_url.clone()?;
    let Shards::Fixed { total, ids } = &config.shards else { return None };
    let unknown = StartLimit { total: 1_000, remaining: 1_000, reset_after: 0, max_concurrency: 1 };
    Some(Plan { gateway, total: *total, ids: ids.clone(), limit: limit(unknown) })
}

/// The limit with its reset as a moment. A zero concurrency is taken for one.
fn limit(limit: StartLimit) -> SessionStartLimit {
    /// A day is what Discord promises; more is a mistake somewhere.
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    /// Nobody has more buckets than this.
    const MOST: u32 = 4_096;
    let reset_after = Duration::from_millis(limit.reset_after).min(LONGEST);
    // Zero says that nothing was used yet: the day starts with the first identify.
    let reset_after = if reset_after.is_zero() { LONGEST } else { reset_after };
    SessionStartLimit {
        total: limit.total,
        remaining: limit.remaining.min(limit.total),
        resets_at: Instant::now().into_std() + reset_after,
        max_concurrency: NonZeroU32::new(limit.max_concurrency.min(MOST))
            .unwrap_or(NonZeroU32::MIN),
    }
}
