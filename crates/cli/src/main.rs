//! The `shardwright` program.
//!
//! Each command is a file with its flags and one `run`. What they print is for people; the library
//! itself prints nothing.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bot;
mod cluster;
mod dashboard;
mod demo;
mod interrupt;
mod plan;
mod sim;
mod sizing;
mod soak;
mod top;
mod view;

use std::panic;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs and tests the gateway shards of Discord bots.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Sim(sim::Arguments),
    Plan(plan::Arguments),
    Cluster(cluster::Arguments),
    Deploy(cluster::DeployArguments),
    Dashboard(dashboard::Arguments),
    Status(top::StatusArguments),
    Top(top::TopArguments),
    Soak(soak::Arguments),
}

/// Makes nothing of it when the reader of what is printed has gone (`| head`): the program ends, and nobody is there
/// to be told why.
fn end_quietly_without_a_reader() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or_default();
        if !text.starts_with("failed printing to stdout") {
            tell(info);
        }
    }));
}

#[tokio::main]
async fn main() -> ExitCode {
    end_quietly_without_a_reader();
    let result = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Sim(arguments) => sim::run(arguments).await,
        Command::Plan(arguments) => plan::run(arguments).await,
        Command::Cluster(arguments) => cluster::run(arguments).await,
        Command::Deploy(arguments) => tokio::task::block_in_place(|| cluster::deploy(arguments)),
        Command::Dashboard(arguments) => dashboard::run(arguments).await,
        Command::Status(arguments) => top::status(arguments).await,
        Command::Top(arguments) => top::top(arguments).await,
        // Worlds have runtimes of their own.
        Command::Soak(arguments) => tokio::task::block_in_place(|| soak::run(&arguments)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shardwright: {error:#}");
            ExitCode::FAILURE
        }
    }
}
