//! A simulator to point any bot at.
//!
//! ```sh
//! cargo run -p shardwright-sim --example serve -- '{"recommended_shards":2,"events_per_second":5}'
//! ```
//!
//! The argument is [`Options`] as JSON; a second one is the path of a script. It prints what a
//! client needs as one line of JSON and runs until it is interrupted.

use std::error::Error;
use std::io::Write as _;

use shardwright_sim::{Options, Script, Simulator};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let options: Options = match arguments.next() {
        Some(json) => serde_json::from_str(&json)?,
        None => Options::default(),
    };
    let script = arguments.next().map(Script::load).transpose()?;
    let simulator = Simulator::new(options)?;
    let server = simulator.bind().await?;
    let channel = simulator.guilds().first().map(|guild| simulator.text_channels(*guild)[0]);
    let told = serde_json::json!({
        "api": server.api_url(), "gateway": server.gateway_url(), "control": server.control_url(),
        "token": simulator.options().token, "channel": channel,
    });
    let mut out = std::io::stdout();
    writeln!(out, "{told}")?;
    out.flush()?;
    if let Some(script) = script {
        tokio::spawn(simulator.play(script));
    }
    // Until somebody ends the process.
    std::future::pending().await
}
