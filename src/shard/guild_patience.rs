//! How long a shard waits for the guilds that READY listed.

use std::time::Instant;

use super::guilds::{GuildCounts, Loading};
use crate::config::GUILDS_PATIENCE;

/// Decides when the guilds of a session are complete: when all have come, or after a while in which none
/// came.
#[derive(Debug)]
pub(super) struct GuildPatience {
    /// The session gets GUILD_CREATE at all.
    has_intent: bool,
    /// When it ends.
    due: Option<Instant>,
}

impl GuildPatience {
    /// Of a shard for which nothing came yet.
    pub(super) fn new(has_intent: bool) -> Self {
        Self { has_intent, due: None }
    }

    /// Whether the session gets GUILD_CREATE at all.
    pub(super) fn has_intent(&self) -> bool {
        self.has_intent
    }

    /// A dispatch about guilds, or RESUMED, led to these counts; whether the guilds are complete now.
    pub(super) fn observed(&mut self, name: &[u8], counts: GuildCounts, now: Instant) -> bool {
        if counts.loading != Loading::Waits {
            self.due = None;
            return false;
        }
        if counts.awaited == 0 || !self.has_intent {
            self.due = None;
            return true;
        }
        // None is due yet where READY came in an earlier process.
        if self.due.is_none() || matches!(name, b"READY" | b"RESUMED" | b"GUILD_CREATE") {
            self.due = Some(now + GUILDS_PATIENCE);
        }
        false
    }

    /// When [`GuildPatience::timeout`] wants to be called, if ever.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether the guilds are complete because none came in time. While nothing is read, that none came
    /// proves nothing.
    pub(super) fn timeout(&mut self, is_reading: bool, now: Instant) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        self.due = (!is_reading).then(|| now + GUILDS_PATIENCE);
        is_reading
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn counts(awaited: usize, loading: Loading) -> GuildCounts {
        GuildCounts { guilds: 3, awaited, loading, ..GuildCounts::default() }
    }

    /// Scenario 66: it ends with the last guild, or when none came for a while.
    #[test]
    fn it_starts_again_with_each_guild() {
        let mut now = Instant::now();
        let mut patience = GuildPatience::new(true);
        assert!(!patience.observed(b"READY", counts(3, Loading::Waits), now));
        for awaited in [2, 1] {
            now += GUILDS_PATIENCE - Duration::from_millis(1);
            assert!(!patience.timeout(true, now));
            assert!(!patience.observed(b"GUILD_CREATE", counts(awaited, Loading::Waits), now));
        }
        assert!(!patience.observed(b"GUILD_MEMBER_ADD", counts(1, Loading::Waits), now));
        assert_eq!(patience.due(), Some(now + GUILDS_PATIENCE));
        let mut other = GuildPatience { has_intent: true, due: patience.due };
        assert!(other.observed(b"GUILD_CREATE", counts(0, Loading::Waits), now));
        assert_eq!(other.due(), None);
        now += GUILDS_PATIENCE;
        assert!(!patience.timeout(false, now), "the host does not keep up");
        assert!(!patience.timeout(true, now));
        now += GUILDS_PATIENCE;
        assert!(patience.timeout(true, now));
        assert_eq!(patience.due(), None);
    }

    /// Scenario 44: after a resume it starts again, for the replay was on its way until then.
    #[test]
    fn it_starts_again_with_a_resume() {
        let start = Instant::now();
        let mut patience = GuildPatience::new(true);
        assert!(!patience.observed(b"READY", counts(3, Loading::Waits), start));
        let resumed = start + GUILDS_PATIENCE;
        assert!(!patience.observed(b"RESUMED", counts(3, Loading::Waits), resumed));
        assert!(!patience.timeout(true, resumed));
        assert!(patience.timeout(true, resumed + GUILDS_PATIENCE));
    }

    #[test]
    fn without_the_intent_or_guilds_it_ends_at_once() {
        let now = Instant::now();
        assert!(GuildPatience::new(false).observed(b"READY", counts(3, Loading::Waits), now));
        assert!(GuildPatience::new(true).observed(b"READY", counts(0, Loading::Waits), now));
    }

    #[test]
    fn it_is_only_for_guilds_that_were_listed() {
        let now = Instant::now();
        for loading in [Loading::Unlisted, Loading::Complete] {
            let mut patience = GuildPatience::new(true);
            assert!(!patience.observed(b"GUILD_CREATE", counts(0, loading), now));
            assert_eq!(patience.due(), None);
        }
    }
}
