//! `shardwright status` and `shardwright top`: all workers of a bot, as the backplane has them.
//!
//! Nothing of it takes part: workers write down how they are every three seconds, and this reads it. What stays
//! after the bot has gone is in the store (`_history`, `_incidents`), not here.

mod frame;
mod line;
mod screen;

use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use clap::Args;
use console::Term;
use shardwright::client::Observer;
use tokio::time::{MissedTickBehavior, interval};

use self::frame::{Size, frame};
use self::screen::{Keys, Screen};
use crate::interrupt::interrupted;
use crate::view::{self, Place, View};

/// Time between two looks. Workers say every three seconds how they are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Columns of a frame that no terminal bounds.
const COLUMNS: usize = 120;

/// Prints how all workers of a bot and their shards are doing.
///
/// Needs DISCORD_TOKEN and, unless `shardwright cluster` runs them, SHARDWRIGHT_BACKPLANE, as the workers have
/// them. It starts no shard.
#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    place: Place,
    /// As JSON: what the command `cluster_stats` replies
    #[arg(long)]
    json: bool,
}

/// Shows how all workers of a bot and their shards are doing, until q or Ctrl-C.
///
/// Needs DISCORD_TOKEN and, unless `shardwright cluster` runs them, SHARDWRIGHT_BACKPLANE, as the workers have
/// them. One character of the grid is one shard; below it stands what each means.
#[derive(Debug, Args)]
pub(crate) struct TopArguments {
    #[command(flatten)]
    place: Place,
    /// Print it once and end
    #[arg(long)]
    once: bool,
}

/// Prints it once.
pub(crate) async fn status(arguments: StatusArguments) -> anyhow::Result<()> {
    let stats = observe(&arguments.place)?.look().await?;
    if arguments.json {
        println!("{stats}");
    } else {
        print_once(&stats)?;
    }
    Ok(())
}

/// Shows it until it is told to end.
pub(crate) async fn top(arguments: TopArguments) -> anyhow::Result<()> {
    let bot = observe(&arguments.place)?;
    let stats = bot.look().await?;
    if arguments.once {
        return print_once(&stats);
    }
    let mut view = View::read(&stats)?;
    ensure!(
        std::io::stdin().is_terminal() && stdout().is_terminal(),
        "this needs a terminal; --once prints it once"
    );
    let mut interrupted = std::pin::pin!(interrupted()?);
    let mut keys = Keys::read();
    let mut screen = Screen::open()?;
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut trouble = None;
    loop {
        screen.draw(&frame(&view, trouble.as_deref(), now_ms(), size(), has_colours()))?;
        tokio::select! {
            _ = ticks.tick() => match bot.look().await.and_then(|stats| View::read(&stats)) {
                Ok(seen) => (view, trouble) = (seen, None),
                // What was seen last stays in sight.
                Err(error) => trouble = Some(format!("{error:#}")),
            },
            key = keys.next() => match key {
                Some(b'q' | b'Q') | None => return Ok(()),
                Some(_) => {}
            },
            () = &mut interrupted => return Ok(()),
        }
    }
}

/// The bot as its backplane has it.
struct Bot(Observer);

/// Connects to the backplane that the environment names, or to that of a cluster.
fn observe(place: &Place) -> anyhow::Result<Bot> {
    Ok(Bot(view::observe(&place.config()?)?))
}

impl Bot {
    /// What its workers say, as JSON.
    async fn look(&self) -> anyhow::Result<String> {
        let stats = self.0.cluster_stats().await?;
        String::from_utf8(stats.to_vec()).context("what the workers say is no text")
    }
}

/// One frame without a bound, for people and pipes.
fn print_once(stats: &str) -> anyhow::Result<()> {
    let size = if stdout().is_terminal() { size() } else { Size { columns: COLUMNS, rows: None } };
    let size = Size { rows: None, ..size };
    let text = frame(&View::read(stats)?, None, now_ms(), size, has_colours());
    // A reader that has seen enough is no error.
    let _ = writeln!(stdout(), "{text}");
    Ok(())
}

/// Of the terminal. Its last column stays free: erasing behind a character there would take it along.
fn size() -> Size {
    match Term::stdout().size_checked() {
        Some((rows, columns)) => {
            Size { columns: usize::from(columns).saturating_sub(1), rows: Some(rows.into()) }
        }
        None => Size { columns: COLUMNS, rows: None },
    }
}

/// Whether colours are seen, and wanted: <https://no-color.org>.
fn has_colours() -> bool {
    let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_off && stdout().is_terminal()
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
