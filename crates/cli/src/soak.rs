//! `shardwright soak`: whole fleets through years of trouble, in minutes.

use std::time::Instant;

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use shardwright_soak::{Lived, Soak, Verdict, World};

/// Lives through fleets in virtual time, with everything that can go wrong, and checks the promises.
///
/// Each seed is one world: shards, traffic, faults of the network and of Discord, slow and restarting
/// hosts. A world that breaks a promise is made as small as it can be and printed.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The first world; the next ones count from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Hours of a shard's life, all worlds together; the first world is run whatever it takes
    #[arg(long, default_value_t = 100.0)]
    shard_hours: f64,
}

/// Runs the worlds, and ends with how many passed and failed.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let soak = Soak::new(arguments.seed, arguments.shard_hours);
    let count = soak.worlds().len() as u64;
    let last = arguments.seed.wrapping_add(count - 1);
    println!("{count} worlds, seeds {} to {last}", arguments.seed);
    let bar = ProgressBar::new(count);
    bar.set_style(ProgressStyle::with_template(
        "  {bar:30} {pos}/{len} worlds, {elapsed}, about {eta} left  {msg}",
    )?);
    let began = Instant::now();
    let (mut sum, mut failed) = (Lived::default(), 0);
    soak.run(|verdict| {
        if let Ok(lived) = &verdict.result {
            add(&mut sum, lived);
        } else {
            failed += 1;
            bar.suspend(|| explain(&verdict));
        }
        bar.inc(1);
    });
    bar.finish_and_clear();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{:.0} shard-hours in {seconds:.1} s ({:.0} per second): {} events, {} identifies, {} \
         resumes, {} commands, {} restarts, {} reshards",
        sum.shard_hours,
        sum.shard_hours / seconds,
        sum.events,
        sum.identifies,
        sum.resumes,
        sum.commands,
        sum.restarts,
        sum.reshards
    );
    println!("{} passed, {failed} failed", count - failed);
    if failed > 0 {
        bail!("{failed} of {count} worlds broke a promise");
    }
    Ok(())
}

fn add(sum: &mut Lived, lived: &Lived) {
    sum.shard_hours += lived.shard_hours;
    sum.events += lived.events;
    sum.identifies += lived.identifies;
    sum.resumes += lived.resumes;
    sum.commands += lived.commands;
    sum.restarts += lived.restarts;
    sum.reshards += lived.reshards;
}

/// A broken world, as small as it could be made.
fn explain(verdict: &Verdict) {
    let Verdict { world, result: Err(broken) } = verdict else { return };
    println!("\n{}\n{broken}", World::new(world.seed));
    println!("  it takes these troubles:");
    world.troubles.iter().for_each(|trouble| println!("  {trouble}"));
    println!("  what the simulator saw last:");
    broken.history.iter().for_each(|line| println!("  {line}"));
    println!("  again: shardwright soak --seed {} --shard-hours 0\n", world.seed);
}
