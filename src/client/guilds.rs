//! The commands that tell of guilds: `guilds` and `guild_stats`.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::command::{Command, Id, wrong};
use super::fleet::Fleet;
use crate::config::{DEFAULT_GUILDS_PER_PAGE, MAX_GUILDS_PER_PAGE};
use crate::error::Error;
use crate::shard::{GuildCounts, Loading, Standing};

/// Which guilds a host asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuildsPage {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    /// Those with a higher id.
    after: Option<Id>,
    /// At most so many.
    limit: Option<usize>,
    /// Those of one shard.
    pub(super) shard: Option<u32>,
    /// Those that are unavailable, or those that are not.
    unavailable: Option<bool>,
}

impl GuildsPage {
    /// The same, if its numbers make sense.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub(super) fn checked(self) -> Result<Self, Error> {
        match self.limit {
            Some(limit) if !(1..=MAX_GUILDS_PER_PAGE).contains(&limit) => {
                Err(wrong(format!("`limit` is {limit}; it is 1 to {MAX_GUILDS_PER_PAGE}")))
            }
            _ => Ok(self),
        }
    }
}

/// One guild of a page.
#[derive(Debug, Serialize)]
struct Entry {
    #[serde(serialize_with = "as_text")]
    id: u64,
    name: Option<Box<str>>,
    member_count: Option<u32>,
    available: bool,
    shard: u32,
}

/// The reply to `guilds`.
#[derive(Debug, Serialize)]
struct Page {
    guilds: Vec<Entry>,
    next: Option<String>,
}

/// The numbers of one shard.
#[derive(Debug, Serialize)]
struct ShardStats {
    shard: u32,
    guilds: usize,
    unavailable: usize,
    members: u64,
    complete: bool,
}

/// The reply to `guild_stats`.
#[derive(Debug, Default, Serialize)]
struct Stats {
    guilds: usize,
    unavailable: usize,
    members: u64,
    shards: Vec<ShardStats>,
}

/// The reply to one of these commands, from the shards there are.
pub(super) fn answer(fleet: Option<&Fleet>, command: &Command) -> Vec<u8> {
    let json = match command {
        Command::Guilds(wanted) => serde_json::to_vec(&page(fleet, wanted)),
        _ => serde_json::to_vec(&stats(fleet)),
    };
    // Numbers and text can always be written.
    json.unwrap_or_default()
}

/// One page of the guilds.
fn page(fleet: Option<&Fleet>, wanted: &GuildsPage) -> Page {
    let limit = wanted.limit.unwrap_or(DEFAULT_GUILDS_PER_PAGE);
    let members = fleet.into_iter().flat_map(Fleet::running);
    let members = members.filter(|(id, _)| wanted.shard.is_none_or(|shard| **id == shard));
    let mut guilds = Vec::new();
    for (shard, member) in members {
        let index = member.guilds.lock();
        let all = index.after(wanted.after.map(|id| id.0)).filter(|(_, guild)| {
            wanted
                .unavailable
                .is_none_or(|wanted| wanted != (guild.standing == Standing::Available))
        });
        // One more than fits tells whether there is a next page.
        guilds.extend(all.take(limit + 1).map(|(id, guild)| Entry {
            id,
            name: (!guild.name.is_empty()).then(|| guild.name.clone()),
            member_count: guild.member_count.map(std::num::NonZeroU32::get),
            available: guild.standing == Standing::Available,
            shard: *shard,
        }));
        drop(index);
        // So that a page of many shards takes the memory of one.
        if guilds.len() > 2 * limit {
            cut(&mut guilds, limit + 1);
        }
    }
    cut(&mut guilds, limit + 1);
    let has_more = guilds.len() > limit;
    guilds.truncate(limit);
    let next = guilds.last().filter(|_| has_more).map(|guild| guild.id.to_string());
    Page { guilds, next }
}

/// Leaves the lowest ids, in their order.
fn cut(guilds: &mut Vec<Entry>, len: usize) {
    guilds.sort_unstable_by_key(|guild| guild.id);
    guilds.truncate(len);
}

/// The guilds in numbers.
fn stats(fleet: Option<&Fleet>) -> Stats {
    let mut stats = Stats::default();
    for (shard, member) in fleet.into_iter().flat_map(Fleet::running) {
        let GuildCounts { guilds, unavailable, members, loading, .. } =
            member.guilds.lock().counts();
        stats.guilds += guilds;
        stats.unavailable += unavailable;
        stats.members += members;
        let complete = loading == Loading::Complete;
        stats.shards.push(ShardStats { shard: *shard, guilds, unavailable, members, complete });
    }
    stats
}

/// An id as Discord writes it.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn as_text<S: serde::Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}
