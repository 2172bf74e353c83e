//! The guilds of a shard, from the events that tell of them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::config::{MAX_GUILD_NAME_BYTES, MAX_GUILDS_PER_SHARD};
use crate::protocol::{guild_id_of, json};

/// What is known of one guild. Small: a bot may have a million of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guild {
    /// Its name; empty until Discord told it.
    pub name: Box<str>,
    /// How many members it has, once Discord told it. The bot is one, so it is never zero.
    pub member_count: Option<NonZeroU32>,
    /// Whether it can be used.
    pub standing: Standing,
}

/// Whether a guild can be used. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// It is there.
    Available = 0,
    /// It is in an outage.
    Unavailable = 1,
    /// READY listed it, and nothing was heard of it since.
    Awaited = 2,
}

/// How far the guilds of the session have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loading {
    /// There was no READY.
    #[default]
    Unlisted,
    /// READY listed them, and they are coming.
    Waits,
    /// They have come, or are not waited for any more.
    Complete,
}

/// Guilds in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GuildCounts {
    /// Guilds the bot is in.
    pub guilds: usize,
    /// Those of them that are in an outage or were not sent yet.
    pub unavailable: usize,
    /// Those of them that were not sent yet.
    pub awaited: usize,
    /// The sum of the member counts that are known.
    pub members: u64,
    /// How far they have come.
    pub loading: Loading,
}

/// The guilds of one shard.
#[derive(Debug, Default)]
pub struct Guilds {
    /// By id, which is the order that pages have.
    pub(super) all: BTreeMap<u64, Guild>,
    pub(super) counts: GuildCounts,
    /// The newest sequence number seen: member counts must not follow a replay again.
    pub(super) seq: u64,
    pub(super) generation: u64,
}

impl Guilds {
    /// Whether a dispatch has to do with guilds, by its name. RESUMED is what the rest of them is waited
    /// for from.
    pub fn concerns(name: &[u8]) -> bool {
        matches!(
            name,
            b"READY"
                | b"RESUMED"
                | b"GUILD_CREATE"
                | b"GUILD_UPDATE"
                | b"GUILD_DELETE"
                | b"GUILD_MEMBER_ADD"
                | b"GUILD_MEMBER_REMOVE"
        )
    }

    /// Takes note of a dispatch.
    ///
    /// An unavailable guild is in an outage and still counts; only a GUILD_DELETE without the flag
    /// means that the bot is out: <https://discord.com/developers/docs/events/gateway-events#guild-delete>.
    pub fn observe(&mut self, seq: Option<u64>, name: &[u8], data: &[u8]) {
        let is_new = seq.is_none_or(|seq| seq > self.seq);
        match name {
            b"READY" => self.list(data),
            b"GUILD_CREATE" => {
                let mut told = Told::of(data);
                if !is_new && self.all.contains_key(&told.id) {
                    // Who came and went since is counted already.
                    told.member_count = None;
                }
                let standing =
                    if told.unavailable { Standing::Unavailable } else { Standing::Available };
                self.put(told, standing);
            }
            b"GUILD_UPDATE" => {
                let told = Told::of(data);
                if let Some(standing) = self.all.get(&told.id).map(|guild| guild.standing) {
                    self.put(told, standing);
                }
            }
            b"GUILD_DELETE" => {
                let told = Told::of(data);
                if told.unavailable {
                    self.put(told, Standing::Unavailable);
                } else {
                    self.remove(told.id);
                }
            }
            b"GUILD_MEMBER_ADD" if is_new => {
                self.count_members(guild_id_of(name, data), |count| count.saturating_add(1));
            }
            b"GUILD_MEMBER_REMOVE" if is_new => {
                self.count_members(guild_id_of(name, data), |count| {
                    NonZeroU32::new(count.get() - 1).unwrap_or(count)
                });
            }
            _ => {}
        }
        match seq {
            // A new session counts from the start.
            Some(seq) if name == b"READY" => self.seq = seq,
            Some(seq) => self.seq = self.seq.max(seq),
            None => {}
        }
    }

    /// Waits for no more guilds. The ids of those that are not there, lowest first.
    pub fn complete(&mut self) -> impl Iterator<Item = u64> {
        self.counts.loading = Loading::Complete;
        self.generation += 1;
        let missing =
            |(id, guild): (&u64, &Guild)| (guild.standing != Standing::Available).then_some(*id);
        self.all.iter().filter_map(missing)
    }

    /// The numbers.
    pub fn counts(&self) -> GuildCounts {
        self.counts
    }

    /// Rises when a guild comes or goes, when one's availability or name changes, and when all are
    /// complete; not with member counts.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The guilds with an id above `after`, lowest first; without it all.
    pub fn after(&self, after: Option<u64>) -> impl Iterator<Item = (u64, &Guild)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.all.range((start, Bound::Unbounded)).map(|(id, guild)| (*id, guild))
    }

    /// A READY: these guilds and no others, all of them still to come. What was known of one before is
    /// most likely still true.
    fn list(&mut self, data: &[u8]) {
        let mut before = std::mem::take(&mut self.all);
        let listed = ids_of_ready(data).map(|id| {
            let known = before.remove(&id);
            let (name, member_count) =
                known.map_or_else(Default::default, |guild| (guild.name, guild.member_count));
            (id, Guild { name, member_count, standing: Standing::Awaited })
        });
        self.all = listed.collect();
        self.counts.loading = Loading::Waits;
        self.recount();
        self.generation += 1;
    }

    /// Adds or changes a guild; what is not told stays as it was.
    fn put(&mut self, told: Told, standing: Standing) {
        let is_known = self.all.contains_key(&told.id);
        if told.id == 0 || (!is_known && self.all.len() == MAX_GUILDS_PER_SHARD) {
            return;
        }
        let guild = self.all.entry(told.id).or_insert_with(|| Guild {
            name: Box::default(),
            member_count: None,
            standing,
        });
        let renamed = told.name.is_some_and(|name| {
            let renamed = name != guild.name;
            guild.name = name;
            renamed
        });
        if !is_known || renamed || guild.standing != standing {
            self.generation += 1;
        }
        if is_known {
            self.counts.take_away(guild);
        }
        guild.standing = standing;
        guild.member_count = told.member_count.or(guild.member_count);
        self.counts.add(guild);
    }

    /// The bot is out.
    fn remove(&mut self, id: u64) {
        if let Some(guild) = self.all.remove(&id) {
            self.counts.take_away(&guild);
            self.generation += 1;
        }
    }

    /// Somebody joined or left.
    fn count_members(&mut self, id: u64, change: impl Fn(NonZeroU32) -> NonZeroU32) {
        let Some(guild) = self.all.get_mut(&id) else { return };
        self.counts.take_away(guild);
        guild.member_count = guild.member_count.map(change);
        self.counts.add(guild);
    }

    /// Counts from the start.
    pub(super) fn recount(&mut self) {
        self.counts = GuildCounts { loading: self.counts.loading, ..GuildCounts::default() };
        self.all.values().for_each(|guild| self.counts.add(guild));
    }
}

impl GuildCounts {
    fn add(&mut self, guild: &Guild) {
        self.guilds += 1;
        self.unavailable += usize::from(guild.standing != Standing::Available);
        self.awaited += usize::from(guild.standing == Standing::Awaited);
        self.members += guild.member_count.map_or(0, |count| u64::from(count.get()));
    }

    fn take_away(&mut self, guild: &Guild) {
        self.guilds -= 1;
        self.unavailable -= usize::from(guild.standing != Standing::Available);
        self.awaited -= usize::from(guild.standing == Standing::Awaited);
        self.members -= guild.member_count.map_or(0, |count| u64::from(count.get()));
    }
}

/// What an event tells of the guild that it is.
#[derive(Debug, Default)]
struct Told {
    id: u64,
    name: Option<Box<str>>,
    member_count: Option<NonZeroU32>,
    unavailable: bool,
}

impl Told {
    /// Reads these members and skips the others, which can be megabytes; all in one walk that ends with
    /// the last of them.
    fn of(data: &[u8]) -> Self {
        let mut told = Self::default();
        let mut left = 4;
        for member in json::Members::of(data, 0) {
            let value = &data[member.value];
            match &data[member.key] {
                b"id" => told.id = json::snowflake(value).unwrap_or_default(),
                b"name" => told.name = text(value).as_deref().map(cut),
                b"member_count" => {
                    let count = json::unsigned(value);
                    let count = count.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
                    told.member_count = count.and_then(NonZeroU32::new);
                }
                b"unavailable" => told.unavailable = value == b"true",
                _ => continue,
            }
            left -= 1;
            if left == 0 {
                break;
            }
        }
        told
    }
}

/// The ids of the guilds that READY lists.
pub(super) fn ids_of_ready(data: &[u8]) -> impl Iterator<Item = u64> {
    let list = json::first_member(data, "guilds").map(|list| &data[list]).unwrap_or_default();
    json::Elements::of(list).take(MAX_GUILDS_PER_SHARD).filter_map(|guild| {
        let guild = &list[guild];
        json::first_member(guild, "id").and_then(|id| json::snowflake(&guild[id]))
    })
}

/// A JSON string's text.
fn text(value: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    json::unescape(value.strip_prefix(b"\"")?.strip_suffix(b"\"")?)
}

/// A name as it is kept.
pub(super) fn cut(name: &str) -> Box<str> {
    name[..name.floor_char_boundary(MAX_GUILD_NAME_BYTES)].into()
}

/// The guilds of a shard where its client can look too. Locked for events of guilds only.
#[derive(Debug, Default)]
pub struct GuildIndex(Mutex<Guilds>);

impl GuildIndex {
    /// The guilds. A panic of another thread does not spoil them.
    pub fn lock(&self) -> MutexGuard<'_, Guilds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Guilds> for GuildIndex {
    fn from(guilds: Guilds) -> Self {
        Self(Mutex::new(guilds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observes dispatches in a row, numbered from 1.
    fn after(dispatches: &[(&str, &str)]) -> Guilds {
        let mut guilds = Guilds::default();
        for (seq, (name, data)) in (1..).zip(dispatches) {
            assert!(Guilds::concerns(name.as_bytes()), "{name}");
            guilds.observe(Some(seq), name.as_bytes(), data.as_bytes());
        }
        guilds
    }

    /// Guilds, those unavailable, and members.
    fn counts(guilds: &Guilds) -> (usize, usize, u64) {
        let GuildCounts { guilds, unavailable, members, .. } = guilds.counts();
        (guilds, unavailable, members)
    }

    const READY: (&str, &str) =
        ("READY", r#"{"v":10,"guilds":[{"id":"1","unavailable":true},{"id":"2"}]}"#);

    /// Scenario 65, and the counts around it.
    #[test]
    fn an_outage_keeps_a_guild_and_a_removal_does_not() {
        let mut guilds = after(&[READY]);
        assert_eq!(counts(&guilds), (2, 2, 0));
        for (name, data, expected) in [
            ("GUILD_CREATE", r#"{"member_count":5,"name":"x","id":"1"}"#, (2, 1, 5)),
            ("GUILD_CREATE", r#"{"id":"2","unavailable":false,"member_count":7}"#, (2, 0, 12)),
            ("MESSAGE_CREATE", r#"{"id":"9","guild_id":"9"}"#, (2, 0, 12)),
            ("GUILD_MEMBER_ADD", r#"{"user":{"id":"8"},"guild_id":"1"}"#, (2, 0, 13)),
            ("GUILD_MEMBER_REMOVE", r#"{"user":{"id":"8"},"guild_id":"2"}"#, (2, 0, 12)),
            ("GUILD_MEMBER_REMOVE", r#"{"user":{"id":"8"},"guild_id":"3"}"#, (2, 0, 12)),
            ("GUILD_DELETE", r#"{"id":"1","unavailable":true}"#, (2, 1, 12)),
            ("GUILD_CREATE", r#"{"id":"3","name":"joined","member_count":1}"#, (3, 1, 13)),
            ("GUILD_MEMBER_REMOVE", r#"{"guild_id":"3"}"#, (3, 1, 13)),
            ("GUILD_DELETE", r#"{"id":"2"}"#, (2, 1, 7)),
            ("GUILD_DELETE", r#"{"id":"9"}"#, (2, 1, 7)),
            ("READY", "{}", (0, 0, 0)),
        ] {
            guilds.observe(None, name.as_bytes(), data.as_bytes());
            assert_eq!(counts(&guilds), expected, "after {name} {data}");
        }
    }

    #[test]
    fn a_ready_keeps_what_is_known_of_its_guilds() {
        let create = ("GUILD_CREATE", r#"{"id":"2","name":"Caf\u00e9","member_count":7}"#);
        let left = ("GUILD_CREATE", r#"{"id":"5","name":"Left","member_count":9}"#);
        let guilds = after(&[READY, create, left, READY]);
        assert_eq!(counts(&guilds), (2, 2, 7));
        let known = |id: u64| guilds.after(Some(id - 1)).next().expect("there").1.clone();
        assert_eq!(&*known(1).name, "");
        assert_eq!(&*known(2).name, "Café");
        assert_eq!(known(2).standing, Standing::Awaited);
        assert_eq!(guilds.after(Some(2)).count(), 0);
    }

    /// A replay tells again who joined, and they are not counted again; a new session counts anew.
    #[test]
    fn members_that_a_replay_repeats_count_once() {
        let mut guilds = after(&[READY, ("GUILD_CREATE", r#"{"id":"1","member_count":5}"#)]);
        let mut join = |seq| {
            guilds.observe(Some(seq), b"GUILD_MEMBER_ADD", br#"{"guild_id":"1"}"#);
            guilds.counts().members
        };
        assert_eq!([join(3), join(3), join(2), join(7)], [6, 6, 6, 7]);
        guilds.observe(Some(2), b"GUILD_CREATE", br#"{"id":"1","member_count":5}"#);
        guilds.observe(Some(3), b"GUILD_MEMBER_ADD", br#"{"guild_id":"1"}"#);
        assert_eq!(guilds.counts().members, 7);
        guilds.observe(Some(1), b"READY", READY.1.as_bytes());
        guilds.observe(Some(2), b"GUILD_MEMBER_ADD", br#"{"guild_id":"1"}"#);
        assert_eq!(guilds.counts().members, 8);
        guilds.observe(Some(3), b"GUILD_CREATE", br#"{"id":"1","member_count":9}"#);
        assert_eq!(guilds.counts().members, 9);
    }

    #[test]
    fn the_generation_tells_of_what_is_worth_storing() {
        let mut guilds = after(&[READY]);
        for (name, data, rises) in [
            ("GUILD_CREATE", r#"{"id":"1","name":"x","member_count":5}"#, true),
            ("GUILD_CREATE", r#"{"id":"1","name":"x","member_count":6}"#, false),
            ("GUILD_MEMBER_ADD", r#"{"guild_id":"1"}"#, false),
            ("GUILD_UPDATE", r#"{"id":"1","name":"x"}"#, false),
            ("GUILD_UPDATE", r#"{"id":"1","name":"y"}"#, true),
            ("GUILD_UPDATE", r#"{"id":"4","name":"y"}"#, false),
            ("GUILD_DELETE", r#"{"id":"1","unavailable":true}"#, true),
            ("GUILD_DELETE", r#"{"id":"1","unavailable":true}"#, false),
            ("GUILD_DELETE", r#"{"id":"4"}"#, false),
            ("GUILD_DELETE", r#"{"id":"1"}"#, true),
        ] {
            let before = guilds.generation();
            guilds.observe(None, name.as_bytes(), data.as_bytes());
            assert_eq!(guilds.generation() > before, rises, "{name} {data}");
        }
    }

    #[test]
    fn what_makes_no_sense_changes_nothing_and_names_are_bounded() {
        let mut guilds = Guilds::default();
        for data in ["", "null", "[]", "{}", r#"{"id":"x"}"#, r#"{"name":"x"}"#, r#"{"id":"0"}"#] {
            guilds.observe(None, b"GUILD_CREATE", data.as_bytes());
            guilds.observe(None, b"READY", data.as_bytes());
        }
        assert_eq!(counts(&guilds), (0, 0, 0));
        let long = "é".repeat(MAX_GUILD_NAME_BYTES);
        let create = format!(r#"{{"id":"1","name":"{long}","member_count":99999999999}}"#);
        guilds.observe(None, b"GUILD_CREATE", create.as_bytes());
        let (_, guild) = guilds.after(None).next().expect("one");
        assert_eq!(guild.name.len(), MAX_GUILD_NAME_BYTES);
        assert_eq!(guild.member_count, NonZeroU32::new(u32::MAX));
    }
}
