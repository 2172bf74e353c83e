//! Members that are collected: all chunks in one reply, whatever happens on the way.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::shard::StopMode;
use shardwright_sim::{Action, Chunks, Cut, Options, Simulator, Snowflake, Target};

use crate::host::{Host, config, simulator};

/// Two shards, guilds of five chunks.
fn large() -> Options {
    Options {
        guilds: 12,
        members_per_guild: 4_500,
        recommended_shards: 2,
        max_concurrency: 2,
        ..Options::default()
    }
}

/// A ready client.
async fn ready() -> (Simulator, Host) {
    let simulator = simulator(large());
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    (simulator, host)
}

/// The command that collects all members of a guild.
fn everybody(guild: Snowflake) -> Value {
    json!({"type": "request_guild_members", "guild_id": guild, "query": "", "collect": true})
}

fn set_chunks(simulator: &Simulator, chunks: Chunks) {
    simulator.act(&Action::MemberChunks { chunks }).expect("a rule");
}

/// Requests for members that reached the simulator.
fn asked(simulator: &Simulator) -> usize {
    simulator.look(|seen| seen.commands.iter().filter(|command| command.op == 8).count())
}

/// Sends a command whose answer is held back on the way, and waits until it was asked for.
async fn ask_stalled(simulator: &Simulator, host: &mut Host, command: &Value) -> u64 {
    simulator.act(&Action::Stall { target: Target::All, stall: true }).expect("a connection");
    let before = asked(simulator);
    let id = host.send(command);
    host.until("the request", |_| asked(simulator) > before).await;
    assert_eq!(host.reply(id), None);
    id
}

/// The ids of the members in a reply, which succeeded.
fn members(reply: &(i32, Value)) -> Vec<String> {
    assert_eq!(reply.0, 0, "{}", reply.1["error"]);
    let ids = reply.1["members"].as_array().expect("a list").iter();
    ids.map(|member| member["user"]["id"].as_str().expect("an id").to_owned()).collect()
}

/// Checks that a reply has every member of a guild once.
fn assert_everybody(simulator: &Simulator, guild: Snowflake, reply: &(i32, Value)) {
    let came = members(reply);
    assert_eq!(came.len(), 4_500);
    let expected = simulator.members(guild).into_iter().map(|id| id.0.to_string());
    assert!(came.into_iter().collect::<BTreeSet<_>>() == expected.collect());
    assert_eq!(reply.1["guild_id"], guild.0.to_string());
    assert_eq!(reply.1["chunks"], 5);
}

fn assert_no_chunk_came(host: &Host) {
    assert_eq!(host.dispatches("GUILD_MEMBERS_CHUNK").count(), 0);
    assert_eq!(host.dispatches("RATE_LIMITED").count(), 0);
}

/// Scenario 62: chunks in any order are one reply, in the right order, and no dispatch.
#[tokio::test(start_paused = true)]
async fn chunks_in_any_order_are_one_reply() {
    let (simulator, mut host) = ready().await;
    let guilds = simulator.guilds();
    let mut orders = Vec::new();
    for (guild, chunks) in
        guilds.iter().zip([Chunks::Normal, Chunks::Reversed, Chunks::Shuffled, Chunks::Shuffled])
    {
        set_chunks(&simulator, chunks);
        let reply = host.ask(&everybody(*guild)).await;
        assert_everybody(&simulator, *guild, &reply);
        assert_eq!((&reply.1["not_found"], &reply.1["presences"]), (&json!([]), &Value::Null));
        let in_order: Vec<_> =
            simulator.members(*guild).iter().map(|id| id.0.to_string()).collect();
        orders.push(members(&reply) == in_order);
    }
    assert_eq!(orders, [true; 4], "in the order of the chunks");
    assert_no_chunk_came(&host);
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// Scenario 62: some by id, with those that are not there, and presences where they are asked for.
#[tokio::test(start_paused = true)]
async fn members_by_id_and_those_not_found() {
    let (simulator, mut host) = ready().await;
    let guild = simulator.guilds()[0];
    let some = &simulator.members(guild)[..3];
    let mut ids: Vec<String> = some.iter().map(|id| id.0.to_string()).collect();
    let expected = ids.clone();
    ids.push("1".to_owned());
    let reply = host
        .ask(&json!({"type": "request_guild_members", "guild_id": guild, "user_ids": ids,
            "presences": true, "collect": true, "nonce": "mine"}))
        .await;
    assert_eq!(members(&reply), expected);
    assert_eq!((&reply.1["not_found"], &reply.1["chunks"]), (&json!([1]), &json!(1)));
    assert!(reply.1["presences"].is_array());
    let nonce = simulator.look(|seen| seen.commands.back().expect("asked").d["nonce"].clone());
    assert_eq!(nonce, "mine");
    let query = json!({"type": "request_guild_members", "guild_id": guild, "query": "zzzzzz",
        "limit": 5, "collect": true});
    assert_eq!(members(&host.ask(&query).await), [""; 0]);
    assert_no_chunk_came(&host);
}

/// Scenario 62: a chunk that does not come is a timeout, and what comes later is a dispatch.
#[tokio::test(start_paused = true)]
async fn a_missing_chunk_times_out() {
    let (simulator, mut host) = ready().await;
    set_chunks(&simulator, Chunks::WithoutLast);
    let guild = simulator.guilds()[0];
    let mut command = everybody(guild);
    command["timeout_ms"] = json!(20_000);
    let asked_at = simulator.now();
    let (status, data) = host.ask(&command).await;
    let error = data["error"].as_str().expect("a text");
    assert_eq!(status, -11, "{error}");
    assert!(error.contains("4 of 5 chunks came within 20000 ms"), "{error}");
    assert!(simulator.now() - asked_at < Duration::from_secs(21));
    assert_no_chunk_came(&host);
    let nonce = simulator.look(|seen| seen.commands.back().expect("asked").d["nonce"].clone());
    let late = json!({"guild_id": guild, "nonce": nonce, "members": [], "chunk_index": 4,
        "chunk_count": 5});
    simulator.dispatch(Target::Guild(guild), "GUILD_MEMBERS_CHUNK", late);
    host.until("the late one", |host| host.dispatches("GUILD_MEMBERS_CHUNK").count() == 1).await;
}

/// Chunks that nobody collects are dispatches as ever, also between those that somebody does.
#[tokio::test(start_paused = true)]
async fn other_chunks_are_dispatches() {
    let (simulator, mut host) = ready().await;
    let guilds = simulator.guilds_of_shard(0, 2);
    let mut plain = everybody(guilds[0]);
    plain["collect"] = json!(false);
    plain["nonce"] = json!("plain");
    let plain = host.send(&plain);
    let collected = host.send(&everybody(guilds[1]));
    host.until("both", |host| {
        host.reply(collected).is_some() && host.dispatches("GUILD_MEMBERS_CHUNK").count() == 5
    })
    .await;
    assert_eq!(host.reply(plain), Some((0, Value::Null)));
    assert_everybody(&simulator, guilds[1], &host.reply(collected).expect("came"));
    assert!(host.dispatches("GUILD_MEMBERS_CHUNK").all(|told| told.data["nonce"] == "plain"));
}

/// All members of a guild three times: 30 s apart, as Discord wants it, while others go at once.
#[tokio::test(start_paused = true)]
async fn full_lists_of_a_guild_are_spaced() {
    let (simulator, mut host) = ready().await;
    let guilds = simulator.guilds_of_shard(1, 2);
    let start = simulator.now();
    let mut command = everybody(guilds[0]);
    command["timeout_ms"] = json!(120_000);
    let same: Vec<u64> = (0..3).map(|_| host.send(&command)).collect();
    let other = host.ask(&everybody(guilds[1])).await;
    assert_everybody(&simulator, guilds[1], &other);
    assert!(simulator.now() - start < Duration::from_secs(5));
    for id in same {
        host.until("its turn", |host| host.reply(id).is_some()).await;
        assert_everybody(&simulator, guilds[0], &host.reply(id).expect("came"));
    }
    let took = simulator.now() - start;
    assert!((61..65).contains(&took.as_secs()), "{took:?}");
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// Scenarios 60 and 62: Discord wants it later, and gets it later; the host does not notice.
#[tokio::test(start_paused = true)]
async fn rate_limited_is_waited_out() {
    let (simulator, mut host) = ready().await;
    let guild = simulator.guilds()[0];
    // Not collected, so nobody knows when the next may come.
    let mut plain = everybody(guild);
    plain["collect"] = json!(false);
    host.ask(&plain).await;
    host.during(Duration::from_secs(10)).await;
    let start = simulator.now();
    let reply = host.ask(&everybody(guild)).await;
    assert_everybody(&simulator, guild, &reply);
    let took = simulator.now() - start;
    assert!((19..25).contains(&took.as_secs()), "{took:?}");
    assert_eq!((asked(&simulator), host.dispatches("RATE_LIMITED").count()), (3, 0));
    assert_eq!(simulator.violations().len(), 1, "one too early, and no more");
}

/// Scenario 62: the socket goes while the answer is on its way: the replay has it.
#[tokio::test(start_paused = true)]
async fn a_resume_brings_the_rest() {
    let (simulator, mut host) = ready().await;
    let guild = simulator.guilds()[0];
    let id = ask_stalled(&simulator, &mut host, &everybody(guild)).await;
    simulator.drop_sockets(Target::All, Cut::Reset);
    host.until("the reply", |host| host.reply(id).is_some()).await;
    assert_everybody(&simulator, guild, &host.reply(id).expect("came"));
    host.until("both resumes", |_| simulator.look(|seen| seen.counts.resumed) == 2).await;
    assert_eq!(asked(&simulator), 1);
    assert_no_chunk_came(&host);
}

/// A request that goes into a dead connection is made again on the next one.
#[tokio::test(start_paused = true)]
async fn a_lost_request_is_made_again() {
    let (simulator, mut host) = ready().await;
    let guild = simulator.guilds()[0];
    simulator.drop_sockets(Target::All, Cut::Silence);
    let mut command = everybody(guild);
    command["timeout_ms"] = json!(300_000);
    let reply = host.ask(&command).await;
    assert_everybody(&simulator, guild, &reply);
    assert_eq!((asked(&simulator), simulator.look(|seen| seen.counts.identifies)), (1, 2));
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// The session ends while the answer is on its way: the new one is asked again, not too soon.
#[tokio::test(start_paused = true)]
async fn a_new_session_is_asked_again() {
    let (simulator, mut host) = ready().await;
    let guild = simulator.guilds()[0];
    let id = ask_stalled(&simulator, &mut host, &everybody(guild)).await;
    simulator.invalid_session(Target::All, false);
    host.until("the reply", |host| host.reply(id).is_some()).await;
    assert_everybody(&simulator, guild, &host.reply(id).expect("came"));
    host.until("both sessions", |_| simulator.look(|seen| seen.counts.identified) == 4).await;
    assert_eq!(asked(&simulator), 2);
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
    assert_no_chunk_came(&host);
}

/// A cancel, a refused shard and a stop: each request has one reply, and with the reason.
#[tokio::test(start_paused = true)]
async fn every_end_is_one_reply() {
    let (simulator, mut host) = ready().await;
    set_chunks(&simulator, Chunks::None);
    let of_shard = |shard| simulator.guilds_of_shard(shard, 2);
    let cancelled = host.send(&everybody(of_shard(0)[0]));
    let refused = host.send(&everybody(of_shard(0)[1]));
    // In line behind the one before it.
    let waiting = host.send(&everybody(of_shard(0)[1]));
    let stopped = host.send(&everybody(of_shard(1)[0]));
    host.until("the requests", |_| asked(&simulator) == 3).await;
    host.client.cancel(cancelled).expect("open");
    simulator.close(Target::Shard(0), Some(4_014), "");
    host.until("FATAL", |host| host.fatal().count() == 1).await;
    host.until("the replies", |host| host.reply(waiting).is_some()).await;
    let late = host.ask(&everybody(of_shard(0)[2])).await;
    host.stop(StopMode::Resumable).await;
    for (id, status) in [(cancelled, -17), (refused, -12), (waiting, -12), (stopped, -5)] {
        let replies: Vec<i32> =
            host.told.iter().filter(|told| told.command_id == id).map(|told| told.status).collect();
        assert_eq!(replies, [status]);
    }
    assert_eq!(late.0, -12);
}

/// A nonce that is in use, a shard of somebody else, and a request from before there are shards.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_collected_is_refused() {
    let simulator = simulator(large());
    let shards = json!({"shards": {"total": 2, "ids": [0]}});
    let mut host = Host::start(&simulator, shards);
    let early = host.send(&everybody(simulator.guilds_of_shard(0, 2)[0]));
    let foreign = host.send(&everybody(simulator.guilds_of_shard(1, 2)[0]));
    host.until("both", |host| host.reply(early).is_some() && host.reply(foreign).is_some()).await;
    assert_eq!(members(&host.reply(early).expect("came")).len(), 4_500);
    assert_eq!(host.reply(foreign).expect("came").0, -7);
    set_chunks(&simulator, Chunks::None);
    let mut command = everybody(simulator.guilds_of_shard(0, 2)[1]);
    command["nonce"] = json!("twice");
    host.send(&command);
    let (status, data) = host.ask(&command).await;
    assert_eq!(status, -1);
    assert!(
        data["error"].as_str().is_some_and(|text| text.contains("`nonce`: \"twice\"")),
        "{data}"
    );
}

/// The filter of `events` is for dispatches, not for what is collected.
#[tokio::test(start_paused = true)]
async fn a_filter_does_not_keep_chunks_from_their_request() {
    let simulator = simulator(large());
    let mut host = Host::start(&simulator, json!({"events": ["MESSAGE_CREATE"]}));
    host.until_ready().await;
    let guild = simulator.guilds()[3];
    let reply = host.ask(&everybody(guild)).await;
    assert_everybody(&simulator, guild, &reply);
}

/// The same over real sockets, chunks in any order, and a socket that is reset meanwhile.
#[tokio::test]
async fn members_are_collected_over_sockets() {
    let simulator = Simulator::new(large()).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let mut host = Host::start_tcp(&config(&simulator, &server.api_url(), json!({})));
    host.until_ready().await;
    set_chunks(&simulator, Chunks::Shuffled);
    let guilds = simulator.guilds();
    let reply = host.ask(&everybody(guilds[0])).await;
    assert_everybody(&simulator, guilds[0], &reply);
    let id = ask_stalled(&simulator, &mut host, &everybody(guilds[1])).await;
    simulator.drop_sockets(Target::All, Cut::Reset);
    host.until("the reply", |host| host.reply(id).is_some()).await;
    assert_everybody(&simulator, guilds[1], &host.reply(id).expect("came"));
    assert_no_chunk_came(&host);
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
    server.shutdown().await;
}
