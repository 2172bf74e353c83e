//! The REST API: answers, errors, limits, and the events that calls lead to.

mod common;

use std::time::Duration;

use common::{Client, Request, call, call_with, simulator};
use serde_json::{Value, json};
use shardwright_sim::{
    Cut, NewInteraction, Options, RestFault, RestFaultKind, RestLimits, Rule, Scope, Simulator,
    Snowflake, intents,
};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Limits off, for tests of something else.
fn unlimited() -> Simulator {
    let rest = RestLimits { global_per_second: 0, per_route: false, ..RestLimits::default() };
    simulator(Options { rest, ..Options::default() })
}

fn channel(simulator: &Simulator) -> Snowflake {
    simulator.text_channels(simulator.guilds()[0])[0]
}

async fn begin(simulator: &Simulator) -> Client {
    let (mut client, _) = Client::ready(simulator, [0, 1]).await;
    client.drain(SECOND).await;
    client
}

#[tokio::test(start_paused = true)]
async fn the_gateway_is_where_the_client_asked() {
    let simulator = simulator(Options { recommended_shards: 5, ..Options::default() });
    let plain = Request::plain("GET", "/api/v10/gateway").send(&simulator).await;
    assert_eq!(plain.json(), json!({"url": "ws://rest.test"}));
    let bot = call(&simulator, "GET", "/gateway/bot").await.json();
    assert_eq!(bot["url"], "ws://rest.test");
    assert_eq!(bot["shards"], 5);
    let limit = &bot["session_start_limit"];
    assert_eq!((&limit["total"], &limit["max_concurrency"]), (&json!(1000), &json!(1)));
    assert!(limit["reset_after"].as_u64().unwrap() <= 86_400_000);
    let nine = Request::plain("GET", "/api/v9/gateway").send(&simulator).await;
    assert_eq!(nine.status, 200);
}

#[tokio::test(start_paused = true)]
async fn bad_tokens_paths_and_methods_are_refused_as_discord_does() {
    let simulator = simulator(Options::default());
    let wrong = Request::plain("GET", "/api/v10/users/@me").header("Authorization", "Bot wrong");
    let none = Request::plain("GET", "/api/v10/users/@me");
    let unprefixed = Request::plain("GET", "/api/v10/users/@me")
        .header("Authorization", &simulator.options().token);
    for request in [wrong, none, unprefixed] {
        let response = request.send(&simulator).await;
        assert_eq!(response.status, 401);
        assert_eq!(response.json(), json!({"message": "401: Unauthorized", "code": 0}));
    }
    for (method, path, status, code) in [
        ("GET", "/nowhere", 404, 0),
        ("DELETE", "/gateway/bot", 405, 0),
        ("GET", "/channels/1", 404, 10_003),
        ("GET", "/guilds/1", 404, 10_004),
        ("GET", "/users/1", 404, 10_013),
        ("GET", "/guilds/abc", 400, 50_035),
    ] {
        let response = call(&simulator, method, path).await;
        assert_eq!((response.status, &response.json()["code"]), (status, &json!(code)), "{path}");
    }
    let old = Request::plain("GET", "/api/v8/gateway").send(&simulator).await;
    assert_eq!((old.status, old.json()["code"].clone()), (400, json!(50_041)));
    assert_eq!(simulator.seen().counts.rest_invalid, 3);
    let broken: Vec<Rule> = simulator.violations().iter().map(|broken| broken.rule).collect();
    assert_eq!(broken, [Rule::RestUnauthorized; 3]);
}

#[tokio::test(start_paused = true)]
async fn what_libraries_ask_at_login_is_there() {
    let simulator = unlimited();
    let guild = simulator.guilds()[0];
    for path in [
        "/users/@me".to_owned(),
        "/users/@me/guilds".to_owned(),
        "/applications/@me".to_owned(),
        "/oauth2/applications/@me".to_owned(),
        format!("/applications/{}/commands", simulator.bot_id()),
        format!("/channels/{}", channel(&simulator)),
        format!("/guilds/{guild}?with_counts=true"),
        format!("/guilds/{guild}/channels"),
        format!("/guilds/{guild}/members?limit=1000"),
        format!("/guilds/{guild}/members/search?query=a&limit=3"),
        format!("/guilds/{guild}/members/{}", simulator.bot_id()),
        format!("/guilds/{guild}/members/@me"),
        format!("/guilds/{guild}/roles"),
        format!("/guilds/{guild}/roles/{guild}"),
        format!("/guilds/{guild}/emojis"),
        format!("/guilds/{guild}/soundboard-sounds"),
        format!("/users/{}", simulator.members(guild)[1]),
    ] {
        let response = call(&simulator, "GET", &path).await;
        assert_eq!(response.status, 200, "{path}: {}", response.text);
        let body = response.json();
        assert!(
            body.is_object()
                || body
                    .as_array()
                    .is_some_and(|all| { path.contains("commands") || !all.is_empty() }),
            "{path}"
        );
    }
    let members = call(&simulator, "GET", &format!("/guilds/{guild}/members?limit=1000")).await;
    assert_eq!(members.json().as_array().unwrap().len(), 100);
    let me = call(&simulator, "GET", "/users/@me").await.json();
    assert_eq!((&me["id"], &me["bot"]), (&json!(simulator.bot_id()), &json!(true)));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_posted_edited_and_deleted() {
    let simulator = unlimited();
    let mut client = begin(&simulator).await;
    let path = format!("/channels/{}/messages", channel(&simulator));
    let body = json!({"content": "Pong!", "nonce": "abc", "embeds": [{"title": "t"}]});
    let posted = call_with(&simulator, "POST", &path, &body).await;
    assert_eq!(posted.status, 200);
    let posted = posted.json();
    assert_eq!((&posted["content"], &posted["nonce"]), (&json!("Pong!"), &json!("abc")));
    assert_eq!(posted["embeds"], json!([{"title": "t", "type": "rich"}]));
    assert_eq!(posted.get("guild_id"), None, "events have the guild, REST has not");
    let event = client.dispatch("MESSAGE_CREATE").await;
    assert_eq!((&event["id"], &event["content"]), (&posted["id"], &json!("Pong!")));
    assert_eq!(event["guild_id"], json!(simulator.guilds()[0]));
    assert_eq!(event["author"]["bot"], true);
    assert!(event["member"]["joined_at"].is_string());

    let one = format!("{path}/{}", posted["id"].as_str().unwrap());
    assert_eq!(call(&simulator, "GET", &one).await.json()["content"], "Pong!");
    let edited = call_with(&simulator, "PATCH", &one, &json!({"content": "Pang!"})).await.json();
    assert_eq!(edited["content"], "Pang!");
    assert!(edited["edited_timestamp"].is_string());
    assert_eq!(client.dispatch("MESSAGE_UPDATE").await["content"], "Pang!");
    assert_eq!(simulator.messages(channel(&simulator))[0]["content"], "Pang!");
    assert_eq!(call(&simulator, "DELETE", &one).await.status, 204);
    let gone = client.dispatch("MESSAGE_DELETE").await;
    assert_eq!(gone["id"], posted["id"]);
    assert_eq!(call(&simulator, "GET", &one).await.json()["code"], 10_008);
    assert_eq!(call(&simulator, "DELETE", &one).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn bad_messages_are_refused_with_what_is_wrong() {
    let simulator = unlimited();
    let path = format!("/channels/{}/messages", channel(&simulator));
    for (body, code, field) in [
        (json!({}), 50_006, ""),
        (json!({"content": ""}), 50_006, ""),
        (json!({"content": "x".repeat(2001)}), 50_035, "content"),
        (json!({"content": "x", "nonce": "n".repeat(26)}), 50_035, "nonce"),
        (json!({"embeds": "none"}), 50_035, "embeds"),
        (json!({"embeds": vec![json!({}); 11]}), 50_035, "embeds"),
        (
            json!({"content": "x", "message_reference": {"message_id": "1"}}),
            50_035,
            "message_reference",
        ),
        (json!([]), 50_035, ""),
    ] {
        let response = call_with(&simulator, "POST", &path, &body).await;
        let error = response.json();
        assert_eq!((response.status, &error["code"]), (400, &json!(code)), "{body}");
        if !field.is_empty() {
            assert!(error["errors"][field]["_errors"][0]["code"].is_string(), "{error}");
        }
    }
    let longest = json!({"content": "ä".repeat(2000)});
    assert_eq!(call_with(&simulator, "POST", &path, &longest).await.status, 200);
    let mut request =
        Request::api(&simulator, "POST", &path).header("Content-Type", "application/json");
    request.body = b"{\"content\":".to_vec();
    assert_eq!(request.send(&simulator).await.json()["code"], 50_109);
    let mut request = Request::api(&simulator, "POST", &path);
    request.body = b"{\"content\":\"x\"}".to_vec();
    assert_eq!(request.send(&simulator).await.json()["code"], 50_035, "no content type");
    let channels = format!("/guilds/{}/channels", simulator.guilds()[0]);
    let channels = call(&simulator, "GET", &channels).await.json();
    let category = format!("/channels/{}/messages", channels[0]["id"].as_str().unwrap());
    let refused = call_with(&simulator, "POST", &category, &json!({"content": "x"})).await;
    assert_eq!(refused.json()["code"], 50_008);
}

#[tokio::test(start_paused = true)]
async fn files_become_attachments() {
    let simulator = unlimited();
    let mut client = begin(&simulator).await;
    let path = format!("/channels/{}/messages", channel(&simulator));
    let mut request = Request::api(&simulator, "POST", &path)
        .header("Content-Type", "multipart/form-data; boundary=b");
    request.body = b"--b\r\nContent-Disposition: form-data; name=\"payload_json\"\r\n\
        Content-Type: application/json\r\n\r\n\
        {\"content\":\"look\",\"attachments\":[{\"id\":0,\"description\":\"a cat\"}]}\r\n\
        --b\r\nContent-Disposition: form-data; name=\"files[0]\"; filename=\"cat.png\"\r\n\
        Content-Type: image/png\r\n\r\nmeow!\r\n--b--\r\n"
        .to_vec();
    let posted = request.send(&simulator).await;
    assert_eq!(posted.status, 200, "{}", posted.text);
    let attachment = posted.json()["attachments"][0].clone();
    assert_eq!((&attachment["filename"], &attachment["size"]), (&json!("cat.png"), &json!(5)));
    assert_eq!(attachment["description"], "a cat");
    assert_eq!(client.dispatch("MESSAGE_CREATE").await["attachments"][0], attachment);
    let recorded = simulator.seen().rest[0].clone();
    assert_eq!(recorded.files, [("cat.png".to_owned(), 5)]);
    assert_eq!(recorded.body["content"], "look");
}

#[tokio::test(start_paused = true)]
async fn replies_refer_and_nonces_can_be_enforced() {
    let simulator = unlimited();
    let asked = simulator.post_message(channel(&simulator), None, "!ping").unwrap();
    let path = format!("/channels/{}/messages", channel(&simulator));
    let reply = json!({"content": "Pong!", "message_reference": {"message_id": asked.id}});
    let reply = call_with(&simulator, "POST", &path, &reply).await.json();
    assert_eq!(reply["type"], 19);
    assert_eq!(reply["referenced_message"]["content"], "!ping");
    assert_eq!(reply["mentions"].as_array().unwrap().len(), 1);
    let body = json!({"content": "once", "nonce": 7, "enforce_nonce": true});
    let first = call_with(&simulator, "POST", &path, &body).await.json();
    let second = call_with(&simulator, "POST", &path, &body).await.json();
    assert_eq!(first["id"], second["id"]);
}

#[tokio::test(start_paused = true)]
async fn messages_are_listed_in_pages_newest_first() {
    let simulator = unlimited();
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(
            simulator.post_message(channel(&simulator), None, format!("{number}")).unwrap().id,
        );
    }
    let path = format!("/channels/{}/messages", channel(&simulator));
    let list = async |query: &str| {
        let page = call(&simulator, "GET", &format!("{path}?{query}")).await.json();
        let contents = page.as_array().unwrap().iter();
        contents.map(|message| message["content"].as_str().unwrap().to_owned()).collect::<String>()
    };
    assert_eq!(list("limit=3").await, "987");
    assert_eq!(list(&format!("limit=3&before={}", ids[5])).await, "432");
    assert_eq!(list(&format!("limit=3&after={}", ids[5])).await, "876");
    assert_eq!(list(&format!("limit=3&around={}", ids[5])).await, "654");
    assert_eq!(call(&simulator, "GET", &format!("{path}?limit=101")).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn reactions_typing_bulk_delete_and_direct_channels() {
    let simulator = unlimited();
    let mut client = begin(&simulator).await;
    let posted = simulator.post_message(channel(&simulator), None, "react to me").unwrap();
    client.dispatch("MESSAGE_CREATE").await;
    let base = format!("/channels/{}", channel(&simulator));
    let reaction = format!("{base}/messages/{}/reactions/%F0%9F%94%A5", posted.id);
    assert_eq!(call(&simulator, "PUT", &format!("{reaction}/@me")).await.status, 204);
    let added = client.dispatch("MESSAGE_REACTION_ADD").await;
    assert_eq!((&added["emoji"]["name"], &added["message_id"]), (&json!("🔥"), &json!(posted.id)));
    let users = call(&simulator, "GET", &reaction).await.json();
    assert_eq!(users[0]["id"], json!(simulator.bot_id()));
    assert_eq!(simulator.messages(channel(&simulator))[0]["reactions"][0]["me"], true);
    assert_eq!(call(&simulator, "DELETE", &format!("{reaction}/@me")).await.status, 204);
    client.dispatch("MESSAGE_REACTION_REMOVE").await;
    for index in 0..=20 {
        let emoji = format!("{base}/messages/{}/reactions/custom:{}/@me", posted.id, 100 + index);
        let added = call(&simulator, "PUT", &emoji).await;
        assert_eq!(added.status, if index < 20 { 204 } else { 400 });
    }
    let unknown = format!("{base}/messages/{}/reactions/smile/@me", posted.id);
    assert_eq!(call(&simulator, "PUT", &unknown).await.json()["code"], 10_014);
    for (path, event) in [
        (reaction.clone(), "MESSAGE_REACTION_REMOVE_EMOJI"),
        (format!("{base}/messages/{}/reactions", posted.id), "MESSAGE_REACTION_REMOVE_ALL"),
    ] {
        assert_eq!(call(&simulator, "DELETE", &path).await.status, 204);
        assert_eq!(client.dispatch(event).await.get("user_id"), None);
    }

    assert_eq!(call(&simulator, "POST", &format!("{base}/typing")).await.status, 204);
    let typing = client.dispatch("TYPING_START").await;
    assert_eq!(typing["user_id"], json!(simulator.bot_id()));

    let other = simulator.post_message(channel(&simulator), None, "x").unwrap();
    let ids = json!({"messages": [posted.id, other.id]});
    let bulk = format!("{base}/messages/bulk-delete");
    assert_eq!(call_with(&simulator, "POST", &bulk, &ids).await.status, 204);
    assert_eq!(client.dispatch("MESSAGE_DELETE_BULK").await["ids"], ids["messages"]);
    let one = call_with(&simulator, "POST", &bulk, &json!({"messages": [posted.id]})).await;
    assert_eq!(one.json()["code"], 50_016);

    let user = simulator.members(simulator.guilds()[0])[1];
    let recipient = json!({"recipient_id": user});
    let dm = call_with(&simulator, "POST", "/users/@me/channels", &recipient).await.json();
    assert_eq!((&dm["type"], &dm["recipients"][0]["id"]), (&json!(1), &json!(user)));
    let path = format!("/channels/{}/messages", dm["id"].as_str().unwrap());
    call_with(&simulator, "POST", &path, &json!({"content": "hi"})).await;
    let direct = client.dispatch("MESSAGE_CREATE").await;
    assert_eq!((direct.get("guild_id"), &direct["content"]), (None, &json!("hi")));
}

#[tokio::test(start_paused = true)]
async fn members_and_channels_change_with_a_reason() {
    let simulator = unlimited();
    let mut client = begin(&simulator).await;
    let guild = simulator.guilds()[0];
    let user = simulator.members(guild)[3];
    let request = Request::api(&simulator, "PATCH", &format!("/guilds/{guild}/members/{user}"))
        .header("X-Audit-Log-Reason", "was%20rude%20%F0%9F%98%A0")
        .json(&json!({"nick": "Polite"}));
    assert_eq!(request.send(&simulator).await.json()["nick"], "Polite");
    let update = client.dispatch("GUILD_MEMBER_UPDATE").await;
    assert_eq!((&update["nick"], &update["guild_id"]), (&json!("Polite"), &json!(guild)));
    assert_eq!(simulator.seen().rest[0].reason.as_deref(), Some("was rude 😠"));
    let path = format!("/channels/{}", channel(&simulator));
    call_with(&simulator, "PATCH", &path, &json!({"topic": "new", "name": "renamed"})).await;
    let update = client.dispatch("CHANNEL_UPDATE").await;
    assert_eq!((&update["topic"], &update["name"]), (&json!("new"), &json!("renamed")));
    assert_eq!(call(&simulator, "GET", &path).await.json()["name"], "renamed");
}

#[tokio::test(start_paused = true)]
async fn a_route_has_a_limit_and_says_so() {
    let simulator = simulator(Options::default());
    let path = format!("/channels/{}/messages", channel(&simulator));
    let body = json!({"content": "x"});
    for remaining in ["4", "3", "2", "1", "0"] {
        let response = call_with(&simulator, "POST", &path, &body).await;
        assert_eq!(response.status, 200);
        assert_eq!(response.header("x-ratelimit-remaining"), Some(remaining));
        assert_eq!(response.header("x-ratelimit-limit"), Some("5"));
        assert_eq!(response.header("x-ratelimit-reset-after"), Some("5.000"));
        assert_eq!(response.header("x-ratelimit-reset"), Some("1767225605.000"));
        assert_eq!(response.header("x-ratelimit-bucket").unwrap().len(), 32);
    }
    tokio::time::sleep(Duration::from_millis(1_250)).await;
    let refused = call_with(&simulator, "POST", &path, &body).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("x-ratelimit-scope"), Some("user"));
    assert_eq!(refused.header("retry-after"), Some("4"));
    let error = refused.json();
    assert_eq!((&error["retry_after"], &error["global"]), (&json!(3.75), &json!(false)));
    assert_eq!(simulator.violations()[0].rule, Rule::RestLimitExceeded);
    // Another channel has its own, and this one is free again later.
    let other = simulator.text_channels(simulator.guilds()[1])[0];
    let other = format!("/channels/{other}/messages");
    assert_eq!(call_with(&simulator, "POST", &other, &body).await.status, 200);
    tokio::time::sleep(Duration::from_millis(3_750)).await;
    assert_eq!(call_with(&simulator, "POST", &path, &body).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_51st_call_in_a_second_hits_the_global_limit() {
    let simulator = simulator(Options::default());
    let channels: Vec<Snowflake> =
        simulator.guilds().into_iter().flat_map(|guild| simulator.text_channels(guild)).collect();
    for channel in &channels[..50] {
        assert_eq!(call(&simulator, "GET", &format!("/channels/{channel}")).await.status, 200);
    }
    let refused = call(&simulator, "GET", &format!("/channels/{}", channels[51])).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("x-ratelimit-global"), Some("true"));
    assert_eq!(refused.header("x-ratelimit-scope"), Some("global"));
    assert_eq!(refused.json()["global"], true);
    tokio::time::sleep(SECOND).await;
    assert_eq!(call(&simulator, "GET", &format!("/channels/{}", channels[51])).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn calls_can_be_made_to_fail() {
    let simulator = unlimited();
    let fault = |path: &str, times, what| RestFault {
        method: None,
        path: Some(path.to_owned()),
        times,
        what,
    };
    let status = RestFaultKind::Status { status: 503, body: "<html>".into(), headers: Vec::new() };
    simulator.rest_fault(fault("/gateway/bot", Some(1), status)).unwrap();
    let down = call(&simulator, "GET", "/gateway/bot").await;
    assert_eq!((down.status, down.text.as_str()), (503, "<html>"));
    assert_eq!(down.header("content-type"), Some("text/html"));
    assert_eq!(call(&simulator, "GET", "/gateway/bot").await.status, 200);

    for (scope, name) in
        [(Scope::User, "user"), (Scope::Shared, "shared"), (Scope::Global, "global")]
    {
        let what = RestFaultKind::RateLimit { scope, retry_after_ms: 1_500 };
        simulator.rest_fault(fault("/users/*", Some(1), what)).unwrap();
        let limited = call(&simulator, "GET", "/users/@me").await;
        assert_eq!((limited.status, limited.header("x-ratelimit-scope")), (429, Some(name)));
        assert_eq!(limited.json()["retry_after"], 1.5);
    }
    assert_eq!(simulator.seen().counts.rest_invalid, 2, "a shared limit is nobody's fault");

    let path = format!("/channels/{}/messages", channel(&simulator));
    let request = || Request::api(&simulator, "POST", &path).json(&json!({"content": "x"}));
    for (what, effects) in [
        (RestFaultKind::Drop(Cut::Reset), 0),
        (RestFaultKind::Hang, 0),
        (RestFaultKind::DropAfter(Cut::Fin), 1),
    ] {
        simulator.rest_fault(fault(&path, Some(1), what.clone())).unwrap();
        assert!(request().over(simulator.connect()).await.is_none(), "{what:?}");
        assert_eq!(simulator.messages(channel(&simulator)).len(), effects, "{what:?}");
        assert_eq!(simulator.seen().rest.back().unwrap().status, 0);
    }
    simulator.rest_fault(fault("**", None, RestFaultKind::DelayMs(9_000))).unwrap();
    let start = Instant::now();
    assert_eq!(request().send(&simulator).await.status, 200);
    assert!(start.elapsed() >= 9 * SECOND);
    simulator.clear_faults();
    let start = Instant::now();
    request().send(&simulator).await;
    assert!(start.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_proper_user_agent_is_noticed() {
    let simulator = unlimited();
    let token = format!("Bot {}", simulator.options().token);
    let request = Request::plain("GET", "/api/v10/users/@me").header("Authorization", &token);
    assert_eq!(request.send(&simulator).await.status, 200);
    assert_eq!(simulator.violations()[0].rule, Rule::RestUserAgent);
    let recorded = json!(simulator.seen().rest[0]).to_string();
    assert!(!recorded.contains(&simulator.options().token), "tokens are not written down");
}

#[tokio::test(start_paused = true)]
async fn application_commands_are_kept() {
    let simulator = unlimited();
    let path = format!("/applications/{}/commands", simulator.bot_id());
    let commands = json!([
        {"name": "ping", "description": "Answers."},
        {"name": "Look at it", "type": 3},
    ]);
    let put = call_with(&simulator, "PUT", &path, &commands).await.json();
    let ping = put[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(put.as_array().unwrap().len(), 2);
    let again = call_with(&simulator, "PUT", &path, &commands).await.json();
    assert_eq!(again[0]["id"], json!(ping), "a command of the same name keeps its id");
    assert_eq!(call(&simulator, "GET", &path).await.json().as_array().unwrap().len(), 2);
    let one = format!("{path}/{ping}");
    let changed = call_with(&simulator, "PATCH", &one, &json!({"description": "New."})).await;
    assert_eq!(changed.json()["description"], "New.");
    let new = json!({"name": "roll", "description": "Dice."});
    assert_eq!(call_with(&simulator, "POST", &path, &new).await.status, 201);
    assert_eq!(call_with(&simulator, "POST", &path, &new).await.status, 200);
    assert_eq!(call(&simulator, "DELETE", &one).await.status, 204);
    assert_eq!(call(&simulator, "GET", &one).await.json()["code"], 10_063);
    let bad = call_with(&simulator, "PUT", &path, &json!([{"name": "x"}])).await.json();
    assert!(bad["errors"]["0"]["description"].is_object(), "{bad}");
    assert_eq!(call(&simulator, "GET", "/applications/1/commands").await.json()["code"], 10_002);
}

#[tokio::test(start_paused = true)]
async fn an_interaction_is_answered_and_followed_up() {
    let simulator = unlimited();
    let mut client = begin(&simulator).await;
    let mut new = NewInteraction::command(channel(&simulator), "weather");
    new.options = vec![json!({"name": "city", "type": 3, "value": "Oslo"})];
    let id = simulator.interact(new.clone()).unwrap();
    let event = client.dispatch("INTERACTION_CREATE").await;
    assert_eq!((&event["id"], &event["type"]), (&json!(id), &json!(2)));
    assert_eq!(event["data"]["options"][0]["value"], "Oslo");
    assert!(event["member"]["user"]["id"].is_string());
    let token = event["token"].as_str().unwrap();
    let callback = format!("/interactions/{id}/{token}/callback");
    let hook = format!("/webhooks/{}/{token}", simulator.bot_id());
    let early = call_with(&simulator, "POST", &hook, &json!({"content": "too early"})).await;
    assert_eq!(early.status, 401);

    let answer = json!({"type": 4, "data": {"content": "Rain."}});
    let path = format!("{callback}?with_response=true");
    let answered = call_with(&simulator, "POST", &path, &answer).await.json();
    assert_eq!(answered["resource"]["message"]["content"], "Rain.");
    let message = client.dispatch("MESSAGE_CREATE").await;
    assert_eq!((&message["content"], &message["type"]), (&json!("Rain."), &json!(20)));
    assert_eq!(message["interaction_metadata"]["name"], "weather");
    let twice = call_with(&simulator, "POST", &callback, &answer).await.json();
    assert_eq!(twice["code"], 40_060);

    let edit = json!({"content": "Sun."});
    let original = format!("{hook}/messages/@original");
    assert_eq!(call_with(&simulator, "PATCH", &original, &edit).await.json()["content"], "Sun.");
    let more = call_with(&simulator, "POST", &hook, &json!({"content": "And wind."})).await.json();
    assert_eq!(more["content"], "And wind.");
    let one = format!("{hook}/messages/{}", more["id"].as_str().unwrap());
    assert_eq!(call(&simulator, "DELETE", &one).await.status, 204);
    assert!(simulator.seen().rest.iter().all(|call| !call.path.contains(token)));

    // Three seconds for the first answer.
    let id = simulator.interact(new).unwrap();
    let event = client.dispatch("INTERACTION_CREATE").await;
    tokio::time::sleep(Duration::from_millis(3_001)).await;
    let token = event["token"].as_str().unwrap();
    let late = format!("/interactions/{id}/{token}/callback");
    assert_eq!(call_with(&simulator, "POST", &late, &answer).await.json()["code"], 10_062);
}

#[tokio::test(start_paused = true)]
async fn a_deferred_answer_is_filled_in() {
    let simulator = unlimited();
    let mut client = begin(&simulator).await;
    let id = simulator.interact(NewInteraction::command(channel(&simulator), "slow")).unwrap();
    let event = client.dispatch("INTERACTION_CREATE").await;
    let token = event["token"].as_str().unwrap();
    let callback = format!("/interactions/{id}/{token}/callback");
    let deferred = call_with(&simulator, "POST", &callback, &json!({"type": 5})).await;
    assert_eq!((deferred.status, deferred.text.as_str()), (204, ""));
    let loading = client.dispatch("MESSAGE_CREATE").await;
    assert_eq!(loading["flags"], 128);
    let hook = format!("/webhooks/{}/{token}", simulator.bot_id());
    let filled = call_with(&simulator, "POST", &hook, &json!({"content": "done"})).await.json();
    assert_eq!((&filled["id"], &filled["flags"]), (&loading["id"], &json!(0)));
    assert_eq!(client.dispatch("MESSAGE_UPDATE").await["content"], "done");
}

#[tokio::test(start_paused = true)]
async fn rest_hides_content_from_bots_without_the_intent() {
    let privileged_intents = intents::GUILD_MEMBERS;
    let simulator = simulator(Options { privileged_intents, ..Options::default() });
    simulator.post_message(channel(&simulator), None, "secret").unwrap();
    let path = format!("/channels/{}/messages", channel(&simulator));
    let page: Value = call(&simulator, "GET", &path).await.json();
    assert_eq!(page[0]["content"], "");
}
