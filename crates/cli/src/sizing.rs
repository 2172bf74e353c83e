//! How large a bot in so many guilds is: shards, processes, machines, memory, time to start.
//!
//! Worked out from Discord's rules and from what was measured of the engine; nobody is asked. What Discord
//! says to a bot (`shardwright plan` without `--guilds`) counts more.

use anyhow::{bail, ensure};

use crate::cluster::Layout;
use crate::plan::{RESERVE, WINDOW_S, duration, ranges, thousands};

/// Guilds that a shard has where Discord recommends the number of shards. Nobody promises it; /gateway/bot
/// has the number for one bot.
const GUILDS_PER_SHARD: u32 = 1_000;

/// Guilds that one shard may carry: <https://discord.com/developers/docs/events/gateway#sharding>.
pub(crate) const GUILDS_PER_SHARD_AT_MOST: u32 = 2_500;

/// Bots in more guilds than this are large ones, with rules of their own:
/// <https://discord.com/developers/docs/events/gateway#sharding-for-large-bots>.
const LARGE: u32 = 150_000;

/// What Discord has given to large bots at least: shards in multiples of it, and so many identifies at once.
const LARGE_STEP: u32 = 16;

/// Memory of a process with one shard that has its guilds (docs/fleets.md: TLS, zstd), and of each further
/// shard.
const PROCESS_KIB: u64 = 10_650;
const SHARD_KIB: u64 = 342;

/// Memory of a guild that the engine knows of (docs/configuration.md).
const GUILD_BYTES: u64 = 64;

/// What events may take besides when the host does not keep up: the default of `queue.max_bytes`, and 24 MiB
/// (docs/configuration.md).
const FULL_QUEUE_KIB: u64 = (64 + 24) * 1_024;

/// The bots of the table.
const TABLE: [u32; 11] =
    [1, 100, 1_000, 2_500, 10_000, 50_000, 100_000, 150_000, 250_000, 500_000, 1_000_000];

/// What of a plan is up to who runs the bot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes {
    /// Shards, instead of as many as Discord would recommend.
    pub(crate) shards: Option<u32>,
    /// Processes, instead of as many as it takes.
    pub(crate) processes: Option<u32>,
    /// Shards of one process.
    pub(crate) shards_per_process: u32,
    /// Processes of one machine.
    pub(crate) processes_per_machine: u32,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { shards: None, processes: None, shards_per_process: 32, processes_per_machine: 8 }
    }
}

/// How large a bot is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizing {
    guilds: u32,
    layout: Layout,
    shards_at_least: u32,
    machines: u32,
    max_concurrency: u32,
    /// Session starts that Discord allows per day.
    starts_per_day: u32,
}

impl Sizing {
    /// Of a bot in so many guilds.
    ///
    /// # Errors
    /// When Discord would refuse what is wished for.
    pub(crate) fn new(guilds: u32, wishes: Wishes) -> anyhow::Result<Self> {
        let is_large = guilds > LARGE;
        let step = if is_large { LARGE_STEP } else { 1 };
        let of = |each: u32| guilds.div_ceil(each).max(1).next_multiple_of(step);
        let shards_at_least = of(GUILDS_PER_SHARD_AT_MOST);
        let shards = wishes.shards.unwrap_or(of(GUILDS_PER_SHARD));
        if shards < shards_at_least {
            bail!(
                "{shards} shards are too few for {} guilds: one carries {} at most, so it takes {shards_at_least}",
                thousands(guilds),
                thousands(GUILDS_PER_SHARD_AT_MOST),
            );
        }
        ensure!(
            shards.is_multiple_of(step),
            "{shards} shards are no multiple of {step}, which bots in more than {} guilds need",
            thousands(LARGE),
        );
        let processes = wishes.processes.unwrap_or(shards.div_ceil(wishes.shards_per_process));
        let layout = Layout::new(shards, processes)?;
        Ok(Self {
            guilds,
            layout,
            shards_at_least,
            machines: processes.div_ceil(wishes.processes_per_machine),
            max_concurrency: step,
            starts_per_day: if is_large { (guilds / 1_000 * 5).max(2_000) } else { 1_000 },
        })
    }

    /// The plan, for people.
    pub(crate) fn plan(&self) -> String {
        let Layout { shards, workers } = self.layout;
        let (turns, each) = (self.turns(), self.shards_per_process());
        let mut text = format!(
            "A bot in {} guilds, by Discord's rules\n\
             \x20 (https://discord.com/developers/docs/events/gateway#sharding; /gateway/bot has the last word)\n\
             \x20 shards               {shards}, of about {} guilds each; at least {}\n\
             \x20 max_concurrency      {}\n\
             \x20 session starts       {} a day: with {RESERVE} in reserve {} starts of all shards\n\n\
             The plan\n\
             \x20 processes            {workers}, of up to {each} shards\n\
             \x20 machines             {}\n\
             \x20 start                {turns} {}: {} to the last identify. A restart that resumes has no turns\n\
             \x20 memory               {} per process at rest, {} with a full event queue; {} at rest in all\n\n\
             The memory is the engine's: {:.1} MiB for a process with one shard and {SHARD_KIB} KiB for each further\n\
             one, idle, with TLS and zstd (docs/fleets.md), and {GUILD_BYTES} bytes per guild \
             (docs/configuration.md).\n\
             A shard with much traffic takes more, and the host's own comes on top.\n",
            thousands(self.guilds),
            thousands(self.guilds.div_ceil(shards)),
            self.shards_at_least,
            self.max_concurrency,
            thousands(self.starts_per_day),
            self.whole_starts(),
            self.machines,
            if turns == 1 { "turn" } else { "turns" },
            duration(self.start_s()),
            mebibytes(self.process_kib()),
            mebibytes(self.process_kib() + FULL_QUEUE_KIB),
            mebibytes(self.all_kib()),
            PROCESS_KIB as f64 / 1_024.0,
        );
        text += &ranges(self.layout);
        text
    }

    /// Its row of the table.
    fn row(&self) -> String {
        let Layout { shards, workers } = self.layout;
        format!(
            "| {} | {} | {} | {workers} | {} | {} | {} | {} | {} | {} | {} |\n",
            thousands(self.guilds),
            thousands(shards),
            self.shards_at_least,
            self.machines,
            mebibytes(self.process_kib()),
            mebibytes(self.all_kib()),
            self.max_concurrency,
            duration(self.start_s()),
            thousands(self.starts_per_day),
            self.whole_starts(),
        )
    }

    /// Shards of the largest process.
    fn shards_per_process(&self) -> u32 {
        self.layout.shards.div_ceil(self.layout.workers)
    }

    /// Windows of identifies that a start of all shards takes.
    fn turns(&self) -> u32 {
        self.layout.shards.div_ceil(self.max_concurrency)
    }

    /// Seconds to the last identify of a start.
    fn start_s(&self) -> f64 {
        f64::from(self.turns() - 1) * WINDOW_S
    }

    /// How often a day all shards can identify.
    fn whole_starts(&self) -> u32 {
        (self.starts_per_day - RESERVE) / self.layout.shards
    }

    /// Memory of the largest process.
    fn process_kib(&self) -> u64 {
        let shards = self.shards_per_process();
        let guilds = u64::from(self.guilds) * u64::from(shards) / u64::from(self.layout.shards);
        PROCESS_KIB + SHARD_KIB * u64::from(shards - 1) + guilds * GUILD_BYTES / 1_024
    }

    /// Memory of all processes.
    fn all_kib(&self) -> u64 {
        let (shards, processes) = (u64::from(self.layout.shards), u64::from(self.layout.workers));
        PROCESS_KIB * processes
            + SHARD_KIB * (shards - processes)
            + u64::from(self.guilds) * GUILD_BYTES / 1_024
    }
}

/// The table of docs/deploy.md, in Markdown.
pub(crate) fn table() -> anyhow::Result<String> {
    let mut text = "| guilds | shards | at least | processes | machines | memory per process | memory in all \
                    | max_concurrency | start | session starts per day | starts of all shards per day |\n\
                    | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    for guilds in TABLE {
        text += &Sizing::new(guilds, Wishes::default())?.row();
    }
    Ok(text)
}

/// An amount of memory, for people.
fn mebibytes(kib: u64) -> String {
    format!("{} MiB", thousands(kib.div_ceil(1_024)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sizing(guilds: u32) -> Sizing {
        Sizing::new(guilds, Wishes::default()).expect("a size")
    }

    #[test]
    fn small_bots_have_one_shard_and_large_ones_multiples_of_sixteen() {
        for (guilds, shards, at_least) in [
            (1, 1, 1),
            (1_000, 1, 1),
            (1_001, 2, 1),
            (2_501, 3, 2),
            (150_000, 150, 60),
            (150_001, 160, 64),
            (1_000_000, 1_008, 400),
        ] {
            let size = sizing(guilds);
            assert_eq!((size.layout.shards, size.shards_at_least), (shards, at_least), "{guilds}");
        }
    }

    #[test]
    fn large_bots_may_start_more() {
        let of = |guilds| (sizing(guilds).max_concurrency, sizing(guilds).starts_per_day);
        assert_eq!(of(150_000), (1, 1_000));
        assert_eq!(of(150_001), (16, 2_000));
        assert_eq!(of(1_000_000), (16, 5_000));
        // 63 turns; and 4,950 session starts are 4 times 1,008.
        assert_eq!(duration(sizing(1_000_000).start_s()), "5 min");
        assert_eq!(sizing(1_000_000).whole_starts(), 4);
    }

    #[test]
    fn a_plan_says_what_it_takes() {
        let text = sizing(150_000).plan();
        for line in [
            "A bot in 150,000 guilds",
            "  shards               150, of about 1,000 guilds each; at least 60\n",
            "  session starts       1,000 a day: with 50 in reserve 6 starts of all shards\n",
            "  processes            5, of up to 30 shards\n",
            "  start                150 turns: 13 min to the last identify",
            "  process 4    120-149/150\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn what_discord_would_refuse_is_refused() {
        for (guilds, shards, why) in [
            (100_000, 39, "it takes 40"),
            (200_000, 100, "no multiple of 16"),
            (200_000, 79, "it takes 80"),
        ] {
            let wishes = Wishes { shards: Some(shards), ..Wishes::default() };
            let error = Sizing::new(guilds, wishes).expect_err("refused").to_string();
            assert!(error.contains(why), "{error}");
        }
        let wishes = Wishes { shards: Some(80), processes: Some(4), ..Wishes::default() };
        let size = Sizing::new(200_000, wishes).expect("a size");
        assert_eq!((size.layout.shards, size.layout.workers, size.machines), (80, 4, 1));
    }

    fn document(name: &str) -> (std::path::PathBuf, String) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
        let text = std::fs::read_to_string(&path).expect(name);
        (path, text)
    }

    /// `make generate` writes it.
    #[test]
    fn the_table_of_the_guide_is_fresh() {
        let (path, text) = document("deploy.md");
        let table = table().expect("sizes");
        let (head, _) = table.split_once('\n').expect("a head");
        let start = text.find("| guilds | shards |").unwrap_or_else(|| panic!("no table {head}"));
        let end = text[start..].find("\n\n").map_or(text.len(), |at| start + at + 1);
        if std::env::var_os("BLESS").is_some() {
            let fresh = format!("{}{table}{}", &text[..start], &text[end..]);
            return std::fs::write(path, fresh).expect("it can be written");
        }
        assert_eq!(text[start..end], table, "docs/deploy.md is stale; run `make generate`");
    }

    /// The figures for memory are those that were measured last, give or take what measurements differ.
    #[test]
    fn the_memory_is_what_was_measured() {
        let (_, text) = document("fleets.md");
        let measured: f64 = text
            .lines()
            .find_map(|line| line.strip_prefix("| 1000 | wss | `zstd` | "))
            .and_then(|rest| rest.split(" |").next()?.parse().ok())
            .expect("a thousand shards over TLS with zstd");
        let planned = (PROCESS_KIB + SHARD_KIB * 999) as f64 / 1_024.0;
        assert!(
            (0.8..1.25).contains(&(planned / measured)),
            "{planned} MiB planned, {measured} measured"
        );
    }
}
