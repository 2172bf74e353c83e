//! A bot on serenity with a handler for each kind of event, and its cache.

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use serenity::all::{
    ClientBuilder, Context, EventHandler, GatewayIntents, GuildMemberUpdateEvent, HttpBuilder,
    Member, Message, Presence, Reaction, TypingStartEvent,
};
use serenity::async_trait;
use shardwright_bench_meter::{Meter, variable};

struct Handler {
    meter: Mutex<Meter>,
}

impl Handler {
    fn count<T>(&self, event: T) {
        black_box(event);
        self.meter.lock().unwrap_or_else(PoisonError::into_inner).event();
    }
}

#[async_trait]
impl EventHandler for Handler {
    async fn message(&self, _: Context, message: Message) {
        self.count(message);
    }

    async fn presence_update(&self, _: Context, presence: Presence) {
        self.count(presence);
    }

    async fn typing_start(&self, _: Context, event: TypingStartEvent) {
        self.count(event);
    }

    async fn guild_member_update(
        &self,
        _: Context,
        old: Option<Member>,
        new: Option<Member>,
        event: GuildMemberUpdateEvent,
    ) {
        self.count((old, new, event));
    }

    async fn reaction_add(&self, _: Context, reaction: Reaction) {
        self.count(reaction);
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let meter = Mutex::new(Meter::new("serenity 0.12.5")?);
    let api = variable("SIMULATOR_API_URL")?;
    let host = api.trim_end_matches("/api/v10");
    let http =
        HttpBuilder::new(variable("DISCORD_TOKEN")?).proxy(host).ratelimiter_disabled(true).build();
    // A library that does not find it goes to Discord's own.
    http.get_gateway().await.context("no gateway")?;
    let mut client = ClientBuilder::new_with_http(http, GatewayIntents::all())
        .event_handler(Handler { meter })
        .await?;
    client.start().await?;
    anyhow::bail!("the connection ended too early")
}
