//! `shardwright sim`: a Discord of one's own.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use shardwright_sim::{Options, Script, Simulator};

use crate::interrupt::interrupted;

/// Runs a simulated Discord, gateway and REST, to test bots against.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Guilds the bot is in
    #[arg(long, default_value_t = 8)]
    guilds: u32,
    /// Members of each guild
    #[arg(long, default_value_t = 100)]
    members: u32,
    /// Events per second in the whole world
    #[arg(long, default_value_t = 0.0)]
    events_per_second: f64,
    /// Seed of the world and its traffic: the same seed, the same world
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Shards that /gateway/bot recommends
    #[arg(long, default_value_t = 1)]
    shards: u32,
    /// Identifies allowed per 5 s
    #[arg(long, default_value_t = 1)]
    max_concurrency: u32,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7447")]
    listen: SocketAddr,
    /// Serve https and wss with a certificate of a fresh authority
    #[arg(long)]
    tls: bool,
    /// Where to write that authority's certificate, for the `ca_file` of a client
    #[arg(long, default_value = "shardwright-sim-ca.pem", requires = "tls")]
    ca_file: PathBuf,
    /// The bot token; without it one that is printed
    #[arg(long, env = "SHARDWRIGHT_SIM_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Send a recording of so many events to every connection, as fast as it reads (or with
    /// --events-per-second), in place of a session: for measurements. The events begin when --shards
    /// connections are there
    #[arg(long, value_name = "EVENTS", default_value_t = 0)]
    replay: u32,
    /// Where to write when each event of the last recording left that was sent with a pace
    /// (--events-per-second): nanoseconds since 1970, one per line
    #[arg(long, value_name = "FILE", requires = "replay")]
    replay_times: Option<PathBuf>,
    /// Faults and other actions to carry out at their times, a TOML or JSON file
    #[arg(long)]
    script: Option<PathBuf>,
}

/// Runs the simulator until it is interrupted.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let defaults = Options::default();
    let ca_file = arguments.tls.then(|| arguments.ca_file.clone());
    let simulator = Simulator::new(Options {
        guilds: arguments.guilds,
        members_per_guild: arguments.members,
        events_per_second: arguments.events_per_second,
        recorded_events: arguments.replay,
        seed: arguments.seed,
        recommended_shards: arguments.shards,
        max_concurrency: arguments.max_concurrency,
        listen: arguments.listen,
        tls: arguments.tls,
        ca_file: ca_file.clone(),
        token: arguments.token.unwrap_or(defaults.token.clone()),
        ..defaults
    })?;
    let script = arguments
        .script
        .map(|path| Script::load(&path).map_err(|error| anyhow!("{}: {error}", path.display())));
    let script = script.transpose()?;
    let server = simulator.bind().await.with_context(|| {
        format!("cannot listen on {}; --listen takes another", arguments.listen)
    })?;

    println!("A simulated Discord is up; Ctrl-C ends it.");
    println!("  REST     {}", server.api_url());
    println!("  gateway  {}", server.gateway_url());
    println!("  control  {}", server.control_url());
    if let Some(path) = ca_file {
        println!("  CA file  {}", path.display());
    }
    println!("\nPoint a bot at it:");
    println!("  export DISCORD_TOKEN={}", simulator.options().token);
    println!("  export SHARDWRIGHT_API_URL={}", server.api_url());

    if let Some(script) = script {
        tokio::spawn(simulator.play(script));
    }
    if arguments.replay > 0 {
        tokio::spawn(tell_of_replays(simulator.clone(), arguments.replay_times));
    }
    interrupted()?.await;
    server.shutdown().await;
    let counts = simulator.look(|seen| seen.counts);
    println!(
        "\n{} connections, {} identifies, {} resumes, {} events, {} REST calls, {} broken rules",
        counts.connections,
        counts.identifies,
        counts.resumes,
        counts.events,
        counts.rest,
        counts.violations
    );
    for violation in simulator.violations().iter().take(20) {
        println!("  {:>8.3} s  {}", violation.at.as_secs_f64(), violation.detail);
    }
    Ok(())
}

/// Says of every connection that has ended what the server's part of it cost: whoever measures a client
/// has to know that it did not wait for the server. Where connections overlap, the sum is right.
async fn tell_of_replays(simulator: Simulator, times: Option<PathBuf>) {
    let mut before = cpu_seconds();
    for number in 1.. {
        let ended = simulator.wait_for(|seen| {
            let record = seen.connections.get(&number)?;
            let sent = || record.sent_unix_ns.clone();
            record.closed.as_ref().map(|_| (record.compression, record.payloads_out, sent()))
        });
        let (compression, payloads, sent_unix_ns) = ended.await;
        if let Some(path) = times.as_ref().filter(|_| !sent_unix_ns.is_empty()) {
            let lines: Vec<String> = sent_unix_ns.iter().map(u64::to_string).collect();
            if let Err(error) = std::fs::write(path, lines.join("\n") + "\n") {
                eprintln!("{}: {error}", path.display());
            }
        }
        let now = cpu_seconds();
        let cost = now - before;
        println!(
            "connection {number}: {compression}, {payloads} payloads, server {cost:.6} s of CPU"
        );
        before = now;
    }
}

/// Processor time that this process has used so far.
fn cpu_seconds() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        let seconds = |time: TimeVal| time.num_microseconds() as f64 / 1e6;
        seconds(usage.user_time()) + seconds(usage.system_time())
    })
}
