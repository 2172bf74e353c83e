//! The guilds of a client: what is known of them, page by page and in numbers, and when they are complete.

use std::time::Duration;

use serde_json::{Value, json};
use shardwright::ErrorKind;
use shardwright::queue::EventKind;
use shardwright_sim::{
    ConnectPlan, Cut, EndPlan, Ending, Options, RestFaultKind, Simulator, Stage, Target,
};

use crate::host::{Host, Told, config, rest_fault, simulator};

/// Four shards with ten guilds each.
fn forty() -> Options {
    Options {
        guilds: 40,
        members_per_guild: 30,
        recommended_shards: 4,
        max_concurrency: 4,
        ..Options::default()
    }
}

/// A client whose guilds have all come.
async fn complete(options: Options) -> (Simulator, Host) {
    let simulator = simulator(options);
    let mut host = Host::start(&simulator, json!({}));
    host.until("the guilds", |host| completions(host).count() == 4).await;
    (simulator, host)
}

/// The GUILDS_COMPLETE events.
fn completions(host: &Host) -> impl Iterator<Item = &Told> {
    host.told.iter().filter(|told| told.kind == EventKind::GuildsComplete)
}

/// Guilds, those unavailable, and members, as `guild_stats` has them.
async fn stats(host: &mut Host) -> (u64, u64, u64) {
    let (status, stats) = host.ask(&json!({"type": "guild_stats"})).await;
    assert_eq!(status, 0);
    let sum = |key: &str| {
        let of_shards = stats["shards"].as_array().expect("shards").iter();
        let sum: u64 = of_shards.map(|shard| shard[key].as_u64().expect("a number")).sum();
        assert_eq!(stats[key], sum, "{stats}");
        sum
    };
    (sum("guilds"), sum("unavailable"), sum("members"))
}

/// All guilds that fit a `guilds` command, fetched page by page.
async fn pages(host: &mut Host, command: &Value) -> Vec<Value> {
    let (mut all, mut command) = (Vec::new(), command.clone());
    loop {
        let (status, page) = host.ask(&command).await;
        assert_eq!(status, 0, "{page}");
        let guilds = page["guilds"].as_array().expect("a list");
        assert!(guilds.len() <= 7);
        all.extend(guilds.iter().cloned());
        if page["next"].is_null() {
            return all;
        }
        assert_eq!(page["next"], guilds.last().expect("a full page")["id"]);
        command["after"] = page["next"].clone();
    }
}

fn id(guild: &Value) -> u64 {
    guild["id"].as_str().expect("a string").parse().expect("an id")
}

#[tokio::test(start_paused = true)]
async fn guilds_are_told_page_by_page() {
    let (simulator, mut host) = complete(forty()).await;
    let all = pages(&mut host, &json!({"type": "guilds", "limit": 7})).await;
    let mut expected: Vec<u64> = simulator.guilds().iter().map(|guild| guild.0).collect();
    expected.sort_unstable();
    assert_eq!(all.iter().map(id).collect::<Vec<_>>(), expected);
    for guild in &all {
        let create = host.dispatches("GUILD_CREATE").find(|told| told.guild_id == id(guild));
        let create = create.expect("it came");
        assert_eq!(guild["name"], create.data["name"]);
        assert_eq!(guild["shard"], create.shard_id);
        assert_eq!((&guild["member_count"], &guild["available"]), (&json!(30), &json!(true)));
    }
    let of_shard = pages(&mut host, &json!({"type": "guilds", "limit": 7, "shard": 2})).await;
    let mut expected: Vec<u64> = simulator.guilds_of_shard(2, 4).iter().map(|id| id.0).collect();
    expected.sort_unstable();
    assert_eq!(of_shard.iter().map(id).collect::<Vec<_>>(), expected);
    simulator.guild_down(simulator.guilds()[3]).expect("a guild");
    host.until("the outage", |host| host.dispatches("GUILD_DELETE").count() == 1).await;
    let down = json!({"type": "guilds", "limit": 7, "unavailable": true});
    let down = pages(&mut host, &down).await;
    assert_eq!(down.iter().map(id).collect::<Vec<_>>(), [simulator.guilds()[3].0]);
    assert_eq!((&down[0]["member_count"], &down[0]["available"]), (&json!(30), &json!(false)));
    let up = json!({"type": "guilds", "limit": 7, "unavailable": false});
    assert_eq!(pages(&mut host, &up).await.len(), 39);
    let (_, whole) = host.ask(&json!({"type": "guilds"})).await;
    assert_eq!(
        (whole["guilds"].as_array().map(Vec::len), &whole["next"]),
        (Some(40), &Value::Null)
    );
    let error = host.client.send_command(r#"{"type":"guilds","shard":4}"#).expect_err("no shard 4");
    assert_eq!(error.kind(), ErrorKind::UnknownShard);
}

/// Scenario 65: the counts are right after joins, leaves, outages, and people who come and go.
#[tokio::test(start_paused = true)]
async fn counts_follow_joins_leaves_and_outages() {
    let (simulator, mut host) = complete(forty()).await;
    assert_eq!(stats(&mut host).await, (40, 0, 1_200));
    let guilds = simulator.guilds();
    for guild in &guilds[..5] {
        simulator.guild_down(*guild).expect("a guild");
    }
    simulator.leave_guild(guilds[7]).expect("a guild");
    let joined = simulator.join_guild().expect("room");
    host.until("all that", |host| {
        host.dispatches("GUILD_DELETE").count() == 6
            && host.dispatches("GUILD_CREATE").count() == 41
    })
    .await;
    assert_eq!(stats(&mut host).await, (40, 5, 1_200));
    for (t, user) in [("GUILD_MEMBER_ADD", 1), ("GUILD_MEMBER_ADD", 2), ("GUILD_MEMBER_REMOVE", 1)]
    {
        let d = json!({"guild_id": joined, "user": {"id": user.to_string()}});
        simulator.dispatch(Target::Guild(joined), t, d);
    }
    let renamed = json!({"id": joined, "name": "Renamed"});
    simulator.dispatch(Target::Guild(joined), "GUILD_UPDATE", renamed);
    simulator.guild_up(guilds[0]).expect("a guild");
    host.until("all that", |host| {
        host.dispatches("GUILD_UPDATE").count() == 1
            && host.dispatches("GUILD_CREATE").count() == 42
    })
    .await;
    assert_eq!(stats(&mut host).await, (40, 4, 1_201));
    let after = json!({"type": "guilds", "limit": 1, "after": (joined.0 - 1).to_string()});
    let (_, page) = host.ask(&after).await;
    let expected = json!({"id": joined, "name": "Renamed", "member_count": 31, "available": true,
        "shard": page["guilds"][0]["shard"]});
    assert_eq!(page["guilds"][0], expected);

    // A new session lists them anew; what a guild in an outage is called is still known.
    simulator.invalid_session(Target::All, false);
    host.until("new sessions", |host| completions(host).count() == 8).await;
    assert_eq!(stats(&mut host).await, (40, 4, 1_200));
    let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
    assert_eq!(status["guilds"], 40);
    assert!(
        status["shards"].as_array().expect("shards").iter().all(|s| s["guilds_complete"] == true)
    );
    let down = json!({"type": "guilds", "unavailable": true});
    let (_, down) = host.ask(&down).await;
    let down = down["guilds"].as_array().expect("a list");
    assert!(
        down.len() == 4 && down.iter().all(|g| g["name"].is_string() && g["member_count"] == 30)
    );
}

/// Scenario 66: a guild that READY lists does not come, and after a while the host is told which.
#[tokio::test(start_paused = true)]
async fn a_guild_that_does_not_come_is_named() {
    let simulator = simulator(forty());
    let guilds = simulator.guilds_of_shard(1, 4);
    simulator.withhold(vec![guilds[2]]).expect("a guild");
    simulator.guild_down(guilds[4]).expect("a guild");
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    host.until("the others", |host| completions(host).count() == 3).await;
    for told in completions(&host) {
        assert_eq!(told.data, json!({"guilds": 10, "missing": [], "missing_count": 0}));
        assert_eq!((told.status, &*told.name), (0, ""));
    }
    host.during(Duration::from_secs(14)).await;
    assert_eq!(completions(&host).count(), 3);
    assert_eq!(host.shard_status(1)["guilds_complete"], false);
    host.during(Duration::from_secs(2)).await;
    let told = completions(&host).find(|told| told.shard_id == 1).expect("it came").clone();
    let mut missing = [guilds[2].0, guilds[4].0];
    missing.sort_unstable();
    let missing = missing.map(|id| id.to_string());
    assert_eq!(told.data, json!({"guilds": 10, "missing": missing, "missing_count": 2}));
    assert_eq!(told.status, 2);
    assert_eq!(host.shard_status(1)["guilds_complete"], true);
    assert_eq!(stats(&mut host).await, (40, 2, 38 * 30));

    // It comes after all, which is no second completion.
    simulator.release(vec![]).expect("all");
    host.during(Duration::from_secs(60)).await;
    assert_eq!(completions(&host).count(), 4);
    assert_eq!(stats(&mut host).await, (40, 1, 39 * 30));
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// Scenario 44: the socket is cut while the guilds come; the resume brings the rest, and they are complete
/// once.
#[tokio::test(start_paused = true)]
async fn guilds_that_come_after_a_resume_complete_them() {
    let simulator = simulator(forty());
    let how = Ending::Drop(Cut::Reset);
    let end = Some(EndPlan { stage: Stage::AfterDispatches(5), how });
    simulator.plan(Some(4), ConnectPlan { end, ..ConnectPlan::default() }).expect("a good plan");
    let mut host = Host::start(&simulator, json!({}));
    host.until("the guilds", |host| completions(host).count() == 4).await;
    assert!(completions(&host).all(|told| told.data["missing_count"] == 0));
    assert_eq!(simulator.look(|seen| (seen.counts.identifies, seen.counts.resumes)), (4, 4));
    host.during(Duration::from_secs(60)).await;
    assert_eq!(completions(&host).count(), 4);
    assert_eq!(stats(&mut host).await, (40, 0, 1_200));
}

/// It is told behind the last GUILD_CREATE, and not because a host that sleeps has read none.
#[tokio::test(start_paused = true)]
async fn completion_does_not_overtake_guilds() {
    let simulator = simulator(forty());
    let mut host = Host::start(&simulator, json!({"queue": {"max_events": 5}}));
    tokio::time::sleep(Duration::from_secs(300)).await;
    host.until("the guilds", |host| completions(host).count() == 4).await;
    for shard in 0..4 {
        let of_shard: Vec<&Told> = host.told.iter().filter(|told| told.shard_id == shard).collect();
        let last = of_shard.iter().rposition(|told| told.name == "GUILD_CREATE");
        let complete = of_shard.iter().position(|told| told.kind == EventKind::GuildsComplete);
        assert!(last < complete, "{last:?} {complete:?}");
        assert_eq!(of_shard[complete.expect("told")].data["missing_count"], 0);
    }
}

/// Without the intent GUILDS there is a list and nothing else: complete at once, and none is missing.
#[tokio::test(start_paused = true)]
async fn without_the_intent_there_is_only_the_list() {
    let simulator = simulator(forty());
    let mut host = Host::start(&simulator, json!({"intents": ["GUILD_MESSAGES"]}));
    host.until_ready().await;
    host.until("completion", |host| completions(host).count() == 4).await;
    assert!(completions(&host).all(|told| told.data["missing_count"] == 0));
    assert_eq!(stats(&mut host).await, (40, 40, 0));
    let (_, page) = host.ask(&json!({"type": "guilds", "limit": 1})).await;
    let guild = &page["guilds"][0];
    assert_eq!((&guild["name"], &guild["member_count"]), (&Value::Null, &Value::Null));
}

/// Before there are shards there are no guilds, and that is said at once.
#[tokio::test(start_paused = true)]
async fn guild_commands_are_answered_before_there_are_shards() {
    let simulator = simulator(forty());
    simulator.rest_fault(rest_fault("/gateway/bot", RestFaultKind::Hang)).expect("a good fault");
    let mut host = Host::start(&simulator, json!({}));
    let stats = host.send(&json!({"type": "guild_stats"}));
    let page = host.send(&json!({"type": "guilds", "shard": 9}));
    host.poll();
    let none = json!({"guilds": 0, "unavailable": 0, "members": 0, "shards": []});
    assert_eq!(host.reply(stats), Some((0, none)));
    assert_eq!(host.reply(page), Some((0, json!({"guilds": [], "next": null}))));
}

/// The same over real sockets.
#[tokio::test]
async fn guilds_are_told_over_sockets() {
    let simulator = Simulator::new(forty()).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let mut host = Host::start_tcp(&config(&simulator, &server.api_url(), json!({})));
    host.until("the guilds", |host| completions(host).count() == 4).await;
    assert_eq!(stats(&mut host).await, (40, 0, 1_200));
    simulator.leave_guild(simulator.guilds()[0]).expect("a guild");
    host.until("the leave", |host| host.dispatches("GUILD_DELETE").count() == 1).await;
    assert_eq!(stats(&mut host).await, (39, 0, 1_170));
    assert_eq!(pages(&mut host, &json!({"type": "guilds", "limit": 7})).await.len(), 39);
    server.shutdown().await;
}
