//! `shardwright plan`: what a start would be like.

use std::num::NonZeroU32;
use std::sync::Arc;

use clap::Args;
use shardwright::rest::Rest;
use shardwright::transport::{Dialer, Tcp};
use shardwright::{Config, GatewayInfo};

use crate::cluster::Layout;
use crate::sizing::{self, GUILDS_PER_SHARD_AT_MOST, Sizing, Wishes};

/// Time between two identifies of one bucket, as the engine spaces them.
pub(crate) const WINDOW_S: f64 = 5.25;

/// Session starts of the day that the engine keeps, unless `budget_reserve` says otherwise.
pub(crate) const RESERVE: u32 = 50;

/// Says what Discord recommends, how shards would be laid out, and how long the start takes.
///
/// Needs DISCORD_TOKEN in the environment; SHARDWRIGHT_API_URL points it at another server. It costs
/// no session start. With --guilds or --table it is worked out from Discord's rules, and nobody is asked.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Plan for a bot in so many guilds, without a token
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    guilds: Option<u32>,
    /// Print a table of bots in 1 to 1,000,000 guilds
    #[arg(long, conflicts_with_all = ["guilds", "shards", "processes"])]
    table: bool,
    /// Shards to plan for, instead of the recommended number
    #[arg(long)]
    shards: Option<u32>,
    /// Processes to spread them over, instead of one or, with --guilds, as many as it takes
    #[arg(long)]
    processes: Option<u32>,
    /// Shards of a process, with --guilds
    #[arg(long, value_name = "K", default_value = "32")]
    shards_per_process: NonZeroU32,
    /// Processes of a machine, with --guilds
    #[arg(long, value_name = "K", default_value = "8")]
    processes_per_machine: NonZeroU32,
}

/// Prints the plan, after asking Discord where that is needed.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if arguments.table {
        print!("{}", sizing::table()?);
        return Ok(());
    }
    if let Some(guilds) = arguments.guilds {
        let wishes = Wishes {
            shards: arguments.shards,
            processes: arguments.processes,
            shards_per_process: arguments.shards_per_process.get(),
            processes_per_machine: arguments.processes_per_machine.get(),
        };
        print!("{}", Sizing::new(guilds, wishes)?.plan());
        return Ok(());
    }
    let config = Config::from_json(r#"{"intents": 0}"#, |name| std::env::var(name).ok())?;
    let info = ask(&config).await?;
    let shards = arguments.shards.unwrap_or(info.shards);
    print!("{}", plan(&info, Layout::new(shards, arguments.processes.unwrap_or(1))?));
    Ok(())
}

/// Asks Discord.
///
/// # Errors
/// As [`GatewayInfo::ask`].
pub(crate) async fn ask(config: &Config) -> Result<GatewayInfo, shardwright::Error> {
    let dialer = Dialer::new(config, Arc::new(Tcp))?;
    GatewayInfo::ask(&Rest::new(config, dialer)).await
}

/// The plan, for people.
pub(crate) fn plan(info: &GatewayInfo, layout: Layout) -> String {
    let (limit, shards) = (info.session_start_limit, layout.shards);
    let concurrency = limit.max_concurrency.max(1);
    let turns = shards.div_ceil(concurrency);
    let start_s = f64::from(turns - 1) * WINDOW_S;
    let mut text = format!(
        "Discord says ({})\n\
         \x20 recommended shards   {}\n\
         \x20 session starts left  {} of {} today, all back in {}\n\
         \x20 max_concurrency      {}\n\n\
         The plan\n\
         \x20 shards               {shards}, for up to {} guilds\n\
         \x20 start                {turns} {} of up to {concurrency} identifies: {} to the last one\n\
         \x20 session starts       {shards}, which leaves {}\n",
        info.url,
        info.shards,
        limit.remaining,
        limit.total,
        duration(limit.reset_after as f64 / 1_000.0),
        limit.max_concurrency,
        u64::from(shards) * u64::from(GUILDS_PER_SHARD_AT_MOST),
        if turns == 1 { "turn" } else { "turns" },
        duration(start_s),
        limit.remaining.saturating_sub(shards),
    );
    if shards > limit.remaining {
        text += "  ! more than are left today: the rest would wait for the reset\n";
    }
    if shards < info.shards {
        text += "  ! fewer than recommended: Discord may refuse them (4011, 4010)\n";
    }
    text += &ranges(layout);
    text
}

/// The shards of each process, where there are several.
pub(crate) fn ranges(layout: Layout) -> String {
    if layout.workers == 1 {
        return String::new();
    }
    let mut text = "\nEach process gets its range in SHARDWRIGHT_SHARDS\n".to_owned();
    for (process, range) in layout.ranges().enumerate() {
        text += &format!("  process {process:<4} {range}\n");
    }
    text
}

/// A number, for people.
pub(crate) fn thousands(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let parts: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|part| std::str::from_utf8(part).ok())
        .collect();
    parts.join(",")
}

/// A duration, for people.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use shardwright::StartLimit;

    use super::*;

    fn info(shards: u32, remaining: u32, max_concurrency: u32) -> GatewayInfo {
        GatewayInfo {
            url: "wss://gateway.discord.gg".to_owned(),
            shards,
            session_start_limit: StartLimit {
                total: 1_000,
                remaining,
                reset_after: 14_400_000,
                max_concurrency,
            },
        }
    }

    #[test]
    fn a_plan_says_how_long_it_takes() {
        let layout = Layout::new(64, 4).expect("a layout");
        let text = plan(&info(64, 999, 16), layout);
        for line in [
            "  recommended shards   64\n",
            "  session starts left  999 of 1000 today, all back in 4.0 h\n",
            "  start                4 turns of up to 16 identifies: 16 s to the last one\n",
            "  session starts       64, which leaves 935\n",
            "  process 3    48-63/64\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains('!'), "{text}");
    }

    #[test]
    fn a_plan_warns() {
        let text = plan(&info(8, 3, 1), Layout::new(4, 1).expect("a layout"));
        assert!(text.contains("! more than are left") && text.contains("! fewer than"), "{text}");
    }
}
