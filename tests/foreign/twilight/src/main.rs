//! A bot on twilight. What it prints is for clients.py to check.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use twilight_gateway::queue::InMemoryQueue;
use twilight_gateway::{
    CloseFrame, ConfigBuilder, Event, EventTypeFlags, Intents, Message, Shard, create_recommended,
};
use twilight_http::Client;

/// Set before the shards are closed for good: a close of their own is followed by a reconnect.
static ENDING: AtomicBool = AtomicBool::new(false);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    println!("client twilight-gateway 0.17.1");
    let mut terminate = signal(SignalKind::terminate())?;
    let token = env::var("DISCORD_TOKEN")?;
    let api = env::var("SIMULATOR_API_URL")?;
    let host = api.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/api/v10"));
    let host = host.context("the API's URL is not http://HOST/api/v10")?;
    let http = Client::builder().token(token.clone()).proxy(host.to_owned(), true).build();
    let http = Arc::new(http);

    let limit = http.gateway().authed().await?.model().await?.session_start_limit;
    let queue = InMemoryQueue::new(
        limit.max_concurrency,
        limit.remaining,
        std::time::Duration::from_millis(limit.reset_after),
        limit.total,
    );
    let config = ConfigBuilder::new(token, Intents::all())
        .proxy_url(env::var("SIMULATOR_GATEWAY_URL")?)
        .queue(queue)
        .build();
    let shards = create_recommended(&http, config, |_, builder| builder.build()).await?;
    let shards: Vec<Shard<InMemoryQueue>> = shards.collect();
    let senders: Vec<_> = shards.iter().map(Shard::sender).collect();
    let running = shards.into_iter().map(|shard| tokio::spawn(run(shard, Arc::clone(&http))));
    let running: Vec<_> = running.collect();

    terminate.recv().await;
    ENDING.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.close(CloseFrame::NORMAL)?;
    }
    for ended in join_all(running).await {
        ended?;
    }
    Ok(())
}

/// Answers `!ping`, and tells of every event as it came from the socket, until the shard is closed.
async fn run(mut shard: Shard<InMemoryQueue>, http: Arc<Client>) {
    let id = shard.id().number();
    while let Some(item) = shard.next().await {
        let text = match item {
            Ok(Message::Text(text)) => text,
            Ok(Message::Close(frame)) => {
                println!("shard {id}: closed {frame:?}");
                if ENDING.load(Ordering::Relaxed) {
                    return;
                }
                continue;
            }
            Err(error) => {
                println!("shard {id}: {error:?}");
                continue;
            }
        };
        tell(&text);
        match twilight_gateway::parse(text, EventTypeFlags::all()).map(|it| it.map(Event::from)) {
            Ok(Some(Event::Ready(_))) => println!("shard {id}: ready"),
            Ok(Some(Event::Resumed)) => println!("shard {id}: resumed"),
            Ok(Some(Event::MessageCreate(message))) if message.content == "!ping" => {
                let reply = http.create_message(message.channel_id).content("Pong!").await;
                let reply = reply.expect("it is granted").model().await.expect("a message");
                println!("shard {id}: sent {}", reply.id);
            }
            Ok(_) => {}
            Err(error) => println!("shard {id}: cannot read: {error:?}"),
        }
    }
}

/// Prints the number of a dispatch that has one.
fn tell(text: &str) {
    let payload: Value = serde_json::from_str(text).expect("the gateway speaks JSON");
    if payload["op"] == 0
        && let Some(number) = payload["d"]["nonce"].as_str()
    {
        println!("event {number}");
    }
}
