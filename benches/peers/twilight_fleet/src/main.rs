//! Many shards on twilight-gateway: says when all are ready, and holds them until it is killed.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use shardwright_bench_meter::variable;
use tokio::sync::mpsc;
use twilight_gateway::queue::InMemoryQueue;
use twilight_gateway::{ConfigBuilder, Intents, Message, Shard, ShardId};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let shards: u16 = variable("BENCH_SHARDS")?.parse()?;
    let began = Instant::now();
    let queue = InMemoryQueue::new(
        shards,
        u32::from(shards),
        Duration::from_secs(86_400),
        u32::from(shards),
    );
    let config = ConfigBuilder::new(variable("DISCORD_TOKEN")?, Intents::all())
        .proxy_url(variable("SIMULATOR_GATEWAY_URL")?)
        .queue(queue)
        .build();
    let (ready, mut readies) = mpsc::unbounded_channel();
    for id in 0..shards {
        // A clone shares the TLS configuration.
        let shard = Shard::with_config(ShardId::new(id.into(), shards.into()), config.clone());
        tokio::spawn(run(shard, ready.clone()));
    }
    for _ in 0..shards {
        readies.recv().await;
    }
    println!("ready after {:.3} s", began.elapsed().as_secs_f64());
    std::future::pending().await
}

async fn run(mut shard: Shard, ready: mpsc::UnboundedSender<()>) {
    while let Some(message) = shard.next().await {
        match message {
            Ok(Message::Text(text)) if text.starts_with("{\"t\":\"READY\"") => {
                let _ = ready.send(());
            }
            Ok(_) => {}
            Err(error) => eprintln!("{error}"),
        }
    }
}
