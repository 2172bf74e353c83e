//! A bot on twilight-gateway that takes every event: as the text it came as, or parsed.

use std::hint::black_box;

use anyhow::bail;
use futures_util::StreamExt;
use shardwright_bench_meter::{Meter, variable};
use twilight_gateway::{
    ConfigBuilder, Event, EventTypeFlags, Intents, Message, Shard, ShardId, StreamExt as _,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = ConfigBuilder::new(variable("DISCORD_TOKEN")?, Intents::all())
        .proxy_url(variable("SIMULATOR_GATEWAY_URL")?)
        .build();
    let shard = Shard::with_config(ShardId::ONE, config);
    match variable("BENCH_WAY")?.as_str() {
        "raw" => raw(shard, Meter::new("twilight-gateway 0.18.0")?).await,
        "parsed" => parsed(shard, Meter::new("twilight-gateway 0.18.0")?).await,
        other => bail!("unknown way {other}"),
    }
}

async fn raw(mut shard: Shard, mut meter: Meter) -> anyhow::Result<()> {
    while let Some(message) = shard.next().await {
        if let Message::Text(text) = message? {
            // The text of a dispatch begins with its name.
            if let Some(rest) = text.strip_prefix("{\"t\":\"") {
                let t = rest.split('"').next().unwrap_or_default();
                meter.dispatch(t.as_bytes());
            }
            black_box(text);
        }
    }
    bail!("the connection ended too early")
}

async fn parsed(mut shard: Shard, mut meter: Meter) -> anyhow::Result<()> {
    while let Some(event) = shard.next_event(EventTypeFlags::all()).await {
        match &event? {
            event @ (Event::MessageCreate(_)
            | Event::PresenceUpdate(_)
            | Event::TypingStart(_)
            | Event::MemberUpdate(_)
            | Event::ReactionAdd(_)) => {
                black_box(event);
                meter.event();
            }
            _ => {}
        }
    }
    bail!("the connection ended too early")
}
