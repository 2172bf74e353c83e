//! `shardwright demo`: a bot of any language against a simulated Discord, for people to watch.

use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use shardwright_sim::{Cut, Options, Simulator, Target};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::bot::Bot;
use crate::dashboard::{self, Server as Dashboard};
use crate::interrupt::interrupted;

/// Patience with every single step; a step that takes longer is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the world goes on between two steps, for people to follow.
const PAUSE: Duration = Duration::from_millis(1_500);

/// Shows a bot at work: shards come up, a user's `!ping` is answered, a dropped socket is resumed.
///
/// The bot is any program that reads DISCORD_TOKEN and SHARDWRIGHT_API_URL and answers `!ping` with
/// `Pong!`; `make demo` brings the C bot of examples/c. In a terminal it goes on after that, until Enter or Ctrl-C,
/// for people to play with it in the dashboard.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Shards that the simulated Discord recommends
    #[arg(long, default_value_t = 4)]
    shards: u32,
    /// Identifies it allows per 5 s
    #[arg(long, default_value_t = 2)]
    max_concurrency: u32,
    /// Events per second of its world
    #[arg(long, default_value_t = 40.0)]
    events_per_second: f64,
    /// The bot and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "BOT")]
    bot: Vec<PathBuf>,
}

/// Runs the demo; an error is a step that did not happen.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let started = Instant::now();
    let simulator = Simulator::new(Options {
        guilds: arguments.shards * 5,
        members_per_guild: 40,
        events_per_second: arguments.events_per_second,
        recommended_shards: arguments.shards,
        max_concurrency: arguments.max_concurrency,
        heartbeat_interval_ms: 5_000,
        ..Options::default()
    })?;
    let server = simulator.bind().await.context("cannot open a port on this machine")?;
    heading(&format!(
        "A simulated Discord at {}: {} guilds, {} events/s, at most {} identifies per 5 s",
        server.api_url(),
        simulator.guilds().len(),
        arguments.events_per_second,
        arguments.max_concurrency
    ));
    // Not on a disk that may be busy with the build of a minute ago, if there is another place.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let directory = directory.context("cannot make a directory for the demo")?;
    let env = |name: &str| match name {
        "DISCORD_TOKEN" => Some(simulator.options().token),
        "SHARDWRIGHT_API_URL" => Some(server.api_url()),
        "SHARDWRIGHT_BACKPLANE" => Some(format!("sqlite:{}/backplane", directory.path().display())),
        "SHARDWRIGHT_STORE" => Some(format!("sqlite:{}/store", directory.path().display())),
        _ => None,
    };
    let dashboard = open_dashboard(env).await?;
    let url = dashboard.url();
    let dashboard = tokio::spawn(dashboard.serve());
    heading(&format!("The dashboard, to watch all of it in a browser: {url}"));
    let mut bot = Bot::start(&arguments.bot, env)?;
    heading(&format!("The bot: {}", arguments.bot[0].display()));
    let interrupted = interrupted()?;
    let story = async {
        shards_come_up(&simulator, arguments.shards).await?;
        let ping = a_ping_is_answered(&simulator, 0).await?;
        let resume = a_dropped_socket_resumes(&simulator, arguments.shards - 1).await?;
        a_ping_is_answered(&simulator, arguments.shards - 1).await?;
        anyhow::Ok((ping, resume))
    };
    let mut interrupted = std::pin::pin!(interrupted);
    let (ping, resume) = tokio::select! {
        story = story => story?,
        ended = bot.ended() => bail!("the bot ended too early: {}", ended?),
        () = &mut interrupted => bail!("interrupted"),
    };
    if stdin().is_terminal() && stdout().is_terminal() {
        heading(&format!(
            "Now it is yours: break something at {url}/#/playground. Enter or Ctrl-C ends the demo"
        ));
        tokio::select! {
            biased;
            // A Ctrl-C ends the bot, too.
            () = interrupted => {}
            _ = spawn_blocking(|| stdin().read_line(&mut String::new())) => {}
            ended = bot.ended() => bail!("the bot ended too early: {}", ended?),
        }
    }
    let status = bot.stop(PATIENCE).await?;
    ensure!(status.success(), "the bot ended with {status}");
    server.shutdown().await;
    dashboard.abort();

    let counts = simulator.look(|seen| seen.counts);
    heading("What the simulated Discord saw");
    println!(
        "  identifies      {} (the rule: {} per 5 s)",
        counts.identified, arguments.max_concurrency
    );
    println!(
        "  resumes         {}, {} ms after the drop, events replayed: {}",
        counts.resumed,
        resume.as_millis(),
        counts.replayed
    );
    println!("  heartbeats      {}, of which {} answered", counts.heartbeats, counts.acks);
    println!(
        "  events sent     {} in {:.1} MB on the wire",
        counts.dispatches,
        counts.bytes_out as f64 / 1e6
    );
    println!("  !ping to Pong!  {} ms", ping.as_millis());
    println!("  broken rules    {}", counts.violations);
    for violation in simulator.violations() {
        println!("    {}", violation.detail);
    }
    ensure!(counts.violations == 0, "the bot broke rules of Discord");
    heading(&format!("All of it worked, in {:.0} s.", started.elapsed().as_secs_f64()));
    Ok(())
}

/// The dashboard at its usual place, or at another one if that is taken.
async fn open_dashboard(env: impl Fn(&str) -> Option<String> + Copy) -> anyhow::Result<Dashboard> {
    if let Ok(dashboard) = Dashboard::open(dashboard::ADDRESS.parse()?, env, None).await {
        return Ok(dashboard);
    }
    Dashboard::open(([127, 0, 0, 1], 0).into(), env, None).await
}

/// A line that starts a part of the story.
fn heading(text: &str) {
    println!("\n• {text}");
}

/// One progress line while the shards become ready, window by window.
async fn shards_come_up(simulator: &Simulator, shards: u32) -> anyhow::Result<()> {
    heading("Shards come up");
    let bar = ProgressBar::new(u64::from(shards));
    bar.set_style(ProgressStyle::with_template("  {bar:30} {pos}/{len} shards ready, {elapsed}")?);
    for ready in 1..=u64::from(shards) {
        step("a shard to become ready", simulator.wait_until(|s| s.counts.readies >= ready))
            .await?;
        bar.set_position(ready);
    }
    bar.finish();
    if bar.is_hidden() {
        println!("  {shards} of {shards} shards ready");
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

/// A user writes `!ping` in a guild of this shard; how long the answer took.
async fn a_ping_is_answered(simulator: &Simulator, shard: u32) -> anyhow::Result<Duration> {
    let total = simulator.options().recommended_shards;
    let guild = simulator.guilds_of_shard(shard, total).first().copied();
    let guild = guild.with_context(|| format!("the world has no guild on shard {shard}"))?;
    let channel = simulator.text_channels(guild)[0];
    heading(&format!("A user writes !ping in channel {} (shard {shard})", channel.0));
    let asked = Instant::now();
    simulator.post_message(channel, None, "!ping")?;
    let path = format!("/channels/{}/messages", channel.0);
    let answered = simulator.wait_until(|seen| {
        seen.rest.iter().any(|call| call.path.ends_with(&path) && call.body["content"] == "Pong!")
    });
    step("the bot's Pong!", answered).await?;
    let took = asked.elapsed();
    println!("  the bot answered Pong! after {} ms", took.as_millis());
    tokio::time::sleep(PAUSE).await;
    Ok(took)
}

/// A socket is reset; how long until the session was resumed.
async fn a_dropped_socket_resumes(simulator: &Simulator, shard: u32) -> anyhow::Result<Duration> {
    heading(&format!("The network cuts shard {shard} off"));
    let before = simulator.look(|seen| seen.counts.resumed);
    let cut = Instant::now();
    simulator.drop_sockets(Target::Shard(shard), Cut::Reset);
    step("a resume", simulator.wait_until(|seen| seen.counts.resumed > before)).await?;
    let took = cut.elapsed();
    let replayed = simulator.look(|seen| seen.counts.replayed);
    println!("  resumed after {} ms; events replayed: {replayed}", took.as_millis());
    tokio::time::sleep(PAUSE).await;
    Ok(took)
}

/// Waits for something, not for ever.
async fn step(what: &str, happens: impl Future<Output = ()>) -> anyhow::Result<()> {
    let waited = timeout(PATIENCE, happens).await;
    waited.with_context(|| format!("waited {} s for {what} in vain", PATIENCE.as_secs()))
}
