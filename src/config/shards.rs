//! Which shards a client runs, in all forms in which that is said.

use std::num::NonZeroU32;

use serde::Deserialize;

use super::bounds::{MAX_SHARD_TOTAL, MAX_SHARDS};
use super::error::{in_range, invalid};
use crate::error::Error;

/// Which shards a client runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shards {
    /// As many as `/gateway/bot` recommends, all of them here.
    Auto,
    /// A fair share of all, claimed from the backplane.
    Lease {
        /// The number of shards of the bot, unless the others or Discord say it.
        total: Option<NonZeroU32>,
    },
    /// These.
    Fixed {
        /// The number of shards of the bot.
        total: NonZeroU32,
        /// The ids run here, ascending.
        ids: Vec<u32>,
    },
}

/// The object form of `shards`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedShards {
    total: u32,
    ids: Option<Vec<u32>>,
    from: Option<u32>,
    to: Option<u32>,
}

/// The object form of `"lease"`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedLease {
    lease: bool,
    total: Option<u32>,
}

impl Shards {
    /// All forms of `shards` in JSON.
    pub(super) fn from_json(json: &str) -> Result<Self, Error> {
        let wrong = |why: String| invalid("shards", why);
        if let Ok(word) = serde_json::from_str::<String>(json) {
            return match word.as_str() {
                "auto" => Ok(Self::Auto),
                "lease" => Ok(Self::Lease { total: None }),
                _ => Err(wrong("is a string other than \"auto\" and \"lease\"".into())),
            };
        }
        if let Ok(total) = serde_json::from_str::<u32>(json) {
            return Self::fixed(total, 0..total);
        }
        if let Ok(TypedLease { lease: true, total }) = serde_json::from_str(json) {
            return Self::leased(total);
        }
        let typed: TypedShards = serde_json::from_str(json).map_err(|error| {
            wrong(format!(
                "is neither \"auto\", \"lease\", a number, {{\"total\":16,\"ids\":[0,1]}}, \
                 {{\"total\":16,\"from\":0,\"to\":7}} nor {{\"lease\":true,\"total\":16}}: {error}"
            ))
        })?;
        match (typed.ids, typed.from, typed.to) {
            (Some(ids), None, None) => Self::fixed(typed.total, ids),
            (None, Some(from), Some(to)) if from <= to => Self::fixed(typed.total, from..=to),
            (None, Some(_), Some(_)) => {
                Err(wrong("goes `from` a higher id `to` a lower one".into()))
            }
            (None, None, None) => Self::fixed(typed.total, 0..typed.total),
            _ => Err(wrong("needs either `ids`, or `from` and `to`".into())),
        }
    }

    /// All forms of `SHARDWRIGHT_SHARDS`: `auto`, `4`, `0-7/32`, `0,3,5/32`, `lease`, `lease/16`.
    pub(super) fn from_env(text: &str) -> Result<Self, Error> {
        let wrong = || {
            let why = format!(
                "is {text:?}; expected \"auto\", \"4\", \"0-7/32\", \"0,3,5/32\", \
                 \"lease\" or \"lease/16\""
            );
            invalid("SHARDWRIGHT_SHARDS", why)
        };
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
        match text.trim() {
            "auto" => return Ok(Self::Auto),
            "lease" => return Self::leased(None),
            _ => {}
        }
        let Some((ids, total)) = text.split_once('/') else {
            let total = number(text)?;
            return Self::fixed(total, 0..total);
        };
        let total = number(total)?;
        if ids.trim() == "lease" {
            return Self::leased(Some(total));
        }
        match ids.split_once('-') {
            Some((from, to)) => {
                let (from, to) = (number(from)?, number(to)?);
                if from > to { Err(wrong()) } else { Self::fixed(total, from..=to) }
            }
            None => Self::fixed(total, ids.split(',').map(number).collect::<Result<Vec<_>, _>>()?),
        }
    }

    /// Shards by id, checked.
    pub(super) fn fixed(total: u32, ids: impl IntoIterator<Item = u32>) -> Result<Self, Error> {
        let total = in_range("shards", total, 1, MAX_SHARD_TOTAL)?;
        // One more than allowed is enough to know that it is too many.
        let mut ids: Vec<u32> = ids.into_iter().take(MAX_SHARDS as usize + 1).collect();
        ids.sort_unstable();
        ids.dedup();
        match ids.last() {
            None => return Err(invalid("shards", "has no ids")),
            Some(id) if *id >= total => {
                let why =
                    format!("has the id {id}, but ids of {total} shards end at {}", total - 1);
                return Err(invalid("shards", why));
            }
            Some(_) => {}
        }
        if ids.len() > MAX_SHARDS as usize {
            let why =
                format!("asks one client for more than {MAX_SHARDS} shards; use several processes");
            return Err(invalid("shards", why));
        }
        Ok(Self::Fixed { total: NonZeroU32::new(total).unwrap_or(NonZeroU32::MIN), ids })
    }

    /// A share of so many shards.
    fn leased(total: Option<u32>) -> Result<Self, Error> {
        let total = total.map(|total| in_range("shards", total, 1, MAX_SHARDS)).transpose()?;
        Ok(Self::Lease { total: total.and_then(NonZeroU32::new) })
    }
}
