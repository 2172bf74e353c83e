//! What is read, and what is said of what cannot be.

use std::num::NonZeroU32;

use super::log::TypedLog;
use super::*;

fn read(json: &str) -> Result<Config, Error> {
    Config::from_json(json, |_| None)
}

fn error(json: &str) -> String {
    read(json).expect_err(json).to_string()
}

fn with(extra: &str) -> String {
    format!(r#"{{"token":"t","intents":1,{extra}}}"#)
}

fn ids(shards: &Shards) -> (u32, Vec<u32>) {
    match shards {
        Shards::Auto | Shards::Lease { .. } => (0, Vec::new()),
        Shards::Fixed { total, ids } => (total.get(), ids.clone()),
    }
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let config = read(r#"{"token":"Bot abc","intents":["GUILDS"]}"#).expect("complete");
    assert_eq!(config.token.expose(), "abc");
    assert_eq!(config.intents, Intents::GUILDS);
    assert_eq!(config.shards, Shards::Auto);
    assert_eq!(config.api_url, "https://discord.com/api/v10");
    assert_eq!(config.gateway_url, None);
    assert_eq!(config.compression, Compression::Zstd);
    assert_eq!(config.queue.max_events, 65_536);
    assert_eq!(config.queue.max_bytes, 67_108_864);
    assert_eq!(config.queue.when_full, WhenFull::Block);
    assert_eq!(config.budget_reserve, 50);
    assert!((1..=4).contains(&config.threads));
    assert_eq!((config.log.to, config.log.level), (LogSink::Stderr, LogLevel::Info));
}

#[test]
fn every_form_of_shards_is_read() {
    let shards = |json: &str| ids(&read(&with(&format!("\"shards\":{json}"))).expect(json).shards);
    assert_eq!(shards("\"auto\""), (0, vec![]));
    assert_eq!(shards("4"), (4, vec![0, 1, 2, 3]));
    assert_eq!(shards(r#"{"total":16,"ids":[2,0,2]}"#), (16, vec![0, 2]));
    assert_eq!(shards(r#"{"total":16,"from":14,"to":15}"#), (16, vec![14, 15]));
    for (json, part) in [
        ("0", "between 1 and"),
        ("-1", "neither"),
        ("\"many\"", "other than \"auto\""),
        (r#"{"total":4,"ids":[4]}"#, "the id 4"),
        (r#"{"total":4,"ids":[]}"#, "no ids"),
        (r#"{"total":4,"from":2,"to":1}"#, "higher id"),
        (r#"{"total":4,"from":2}"#, "`from` and `to`"),
        (r#"{"total":4,"shard":2}"#, "unknown field `shard`"),
        ("1000000", "more than 16384"),
        ("4294967295", "between 1 and"),
    ] {
        let error = error(&with(&format!("\"shards\":{json}")));
        assert!(error.starts_with("`shards` ") && error.contains(part), "{json}: {error}");
    }
}

#[test]
fn the_environment_counts_where_the_text_is_silent() {
    let env = |name: &str| {
        Some(match name {
            "DISCORD_TOKEN" => "from.env".to_owned(),
            "SHARDWRIGHT_SHARDS" => "0,3,5/32".to_owned(),
            "SHARDWRIGHT_API_URL" => "http://127.0.0.1:1/api/v10/".to_owned(),
            "SHARDWRIGHT_LOG" => "events:debug".to_owned(),
            _ => return None,
        })
    };
    let config = Config::from_json(r#"{"intents":0}"#, env).expect("complete");
    assert_eq!(config.token.expose(), "from.env");
    assert_eq!(ids(&config.shards), (32, vec![0, 3, 5]));
    assert_eq!(config.api_url, "http://127.0.0.1:1/api/v10");
    assert_eq!((config.log.to, config.log.level), (LogSink::Events, LogLevel::Debug));
    let text = r#"{"token":"t","intents":0,"shards":1,"log":{"to":"none"}}"#;
    let config = Config::from_json(text, env).expect("complete");
    assert_eq!((config.token.expose(), ids(&config.shards).0), ("t", 1));
    assert_eq!(config.log.to, LogSink::None);

    let text = r#"{"intents":0,"shards":"auto"}"#;
    let config = Config::from_json(text, env).expect("complete");
    assert_eq!(ids(&config.shards).0, 32, "whoever leaves it open");

    for (text, expected) in [("0-2/32", vec![0, 1, 2]), (" 4 ", vec![0, 1, 2, 3])] {
        assert_eq!(ids(&Shards::from_env(text).expect(text)).1, expected);
    }
    for text in ["", "x", "0-7", "7-0/32", "1,/4", "0-99999999/4", "/4", "1/0"] {
        assert!(Shards::from_env(text).is_err(), "{text:?}");
    }
    assert!(TypedLog::from_env("none").is_ok() && TypedLog::from_env("loud").is_err());
    let log = TypedLog::from_env("events:warn:json").expect("three words").or(LogConfig::default());
    let expected = (LogSink::Events, LogLevel::Warn, LogFormat::Json);
    assert_eq!((log.to, log.level, log.format), expected);
    for text in ["stderr:info:xml", "a:b:c:d", ":", "stderr:", "json"] {
        assert!(TypedLog::from_env(text).is_err(), "{text:?}");
    }
}

/// Each profile is a set of defaults, and whatever is said wins over it.
#[test]
fn a_profile_decides_what_is_not_said() {
    let log = |config: &Config| (config.log.to, config.log.level, config.log.format);
    let development = read(&with(r#""profile":"development""#)).expect("complete");
    assert_eq!(ids(&development.shards), (1, vec![0]));
    assert_eq!(log(&development), (LogSink::Stderr, LogLevel::Debug, LogFormat::Text));
    let production = read(&with(r#""profile":"production""#)).expect("complete");
    assert_eq!(production.shards, Shards::Auto);
    assert_eq!(log(&production), (LogSink::Stderr, LogLevel::Info, LogFormat::Json));

    let config = read(&with(r#""profile":"development","shards":4,"log":{"level":"warn"}"#));
    let config = config.expect("complete");
    assert_eq!(ids(&config.shards).0, 4);
    assert_eq!(log(&config), (LogSink::Stderr, LogLevel::Warn, LogFormat::Text));
    let config = read(&with(r#""profile":"production","log":{"to":"events"}"#));
    let expected = (LogSink::Events, LogLevel::Info, LogFormat::Json);
    assert_eq!(log(&config.expect("complete")), expected);

    let env = |name: &str| match name {
        "SHARDWRIGHT_SHARDS" => Some("8".to_owned()),
        "SHARDWRIGHT_LOG" => Some("warn".to_owned()),
        _ => None,
    };
    for (profile, format) in [("development", LogFormat::Text), ("production", LogFormat::Json)] {
        let text = with(&format!(r#""profile":"{profile}""#));
        let config = Config::from_json(&text, env).expect("complete");
        assert_eq!(ids(&config.shards).0, 8);
        assert_eq!(log(&config), (LogSink::Stderr, LogLevel::Warn, format));
    }
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    for (json, parts) in [
        ("", ["EOF", "config"]),
        (r#"{"intents":1,"tokn":"t"}"#, ["`tokn`", "unknown field"]),
        (r#"{"token":"t"}"#, ["missing field", "`intents`"]),
        (r#"{"intents":1}"#, ["`token`", "DISCORD_TOKEN"]),
        (r#"{"intents":1,"token":""}"#, ["`token`", "empty"]),
        (r#"{"intents":1,"token":"t"} x"#, ["trailing", "config"]),
        (&with(r#""queue":{"max_events":"9"}"#), ["`queue.max_events`", "string"]),
        (&with(r#""queue":{"max_events":0}"#), ["`queue.max_events`", "between 1"]),
        (&with(r#""queue":{"when_full":"explode"}"#), ["`queue.when_full`", "drop_oldest"]),
        (&with(r#""compression":"brotli"}"#.trim_end_matches('}')), ["`compression`", "zstd"]),
        (&with(r#""api_url":"discord.com""#), ["`api_url`", "http(s)"]),
        (&with(r#""gateway_url":"https://x""#), ["`gateway_url`", "wss"]),
        (&with(r#""presence":[]"#), ["`presence`", "object"]),
        (&with(r#""presence":{"status":"busy"}"#), ["`presence`", "invisible"]),
        (&with(r#""properties":{"os":1}"#), ["`properties.os`", "string"]),
        (&with(r#""large_threshold":10"#), ["`large_threshold`", "50"]),
        (&with(r#""threads":0"#), ["`threads`", "between 1 and 256"]),
        (&with(r#""log":{"level":"loud"}"#), ["`log.level`", "trace"]),
        (&with(r#""log":{"format":"xml"}"#), ["`log.format`", "json"]),
        (&with(r#""profile":"test""#), ["`profile`", "production"]),
        (&with(r#""metrics_address":"localhost""#), ["`metrics_address`", "127.0.0.1:9464"]),
        (&with(r#""metrics_address":9464"#), ["`metrics_address`", "string"]),
        (&with(r#""proxy":"socks5://x:1""#), ["`proxy`", "http://host"]),
        (&with(r#""proxy":"http://x[:]1""#), ["`proxy`", "http://host"]),
        (&with(r#""identify":{"reserve":1}"#), ["`identify.reserve`", "budget_reserve"]),
    ] {
        let error = error(json);
        assert!(parts.iter().all(|part| error.contains(part)), "{json}: {error}");
    }
}

#[test]
fn leases_need_a_backplane_and_nothing_else() {
    let config = |keys: &str| read(&with(&format!(r#""backplane":"redis://h",{keys}"#)));
    let leased = config(r#""shards":"lease""#).expect("complete");
    assert_eq!(leased.shards, Shards::Lease { total: None });
    assert_eq!(leased.sessions, Some(Sessions::Backplane));
    assert_eq!(leased.lease_ttl, Duration::from_secs(15));
    let total = NonZeroU32::new(16);
    let keys = r#""shards":{"lease":true,"total":16},"sessions":"backplane","lease_ttl_s":3"#;
    let leased = config(keys).expect("complete");
    assert_eq!(leased.shards, Shards::Lease { total });
    assert_eq!(leased.lease_ttl, Duration::from_secs(3));
    for (text, total) in [("lease", None), ("lease/16", total)] {
        assert_eq!(Shards::from_env(text), Ok(Shards::Lease { total }));
    }
    for (keys, parts) in [
        (r#""shards":"lease""#, ["`shards`", "no `backplane`"]),
        (r#""shards":{"lease":true}"#, ["`shards`", "no `backplane`"]),
        (r#""backplane":"redis://h","shards":{"lease":false}"#, ["`shards`", "lease"]),
        (r#""backplane":"redis://h","shards":{"lease":true,"total":0}"#, ["`shards`", "0"]),
        (r#""backplane":"redis://h","shards":{"lease":true,"ids":[1]}"#, ["`shards`", "lease"]),
        (
            r#""backplane":"redis://h","shards":"lease","sessions":"sqlite:/x""#,
            ["`sessions`", "any process"],
        ),
        (r#""lease_ttl_s":2"#, ["`lease_ttl_s`", "between 3 and 300"]),
    ] {
        let error = error(&with(keys));
        assert!(parts.iter().all(|part| error.contains(part)), "{keys}: {error}");
    }
    assert!(Shards::from_env("lease/0").is_err());
}

#[test]
fn sessions_and_delivery_fit_together() {
    let kept = read(&with(r#""sessions":"sqlite:/x/y.db","delivery":"at_least_once""#));
    let kept = kept.expect("complete");
    assert_eq!(kept.sessions, Some(Sessions::File("/x/y.db".into())));
    assert_eq!(kept.delivery, Delivery::AtLeastOnce);
    let plain = read(&with(r#""delivery":"at_most_once""#)).expect("complete");
    assert_eq!((plain.delivery, plain.sessions), (Delivery::AtMostOnce, None));
    for (keys, parts) in [
        (r#""delivery":"at_least_once""#, ["`delivery`", "`sessions`"]),
        (r#""sessions":"redis://x""#, ["`sessions`", "sqlite:PATH"]),
        (r#""sessions":"sqlite:""#, ["`sessions`", "sqlite:PATH"]),
        (r#""sessions":"backplane""#, ["`sessions`", "no `backplane`"]),
        (r#""sessions":"sqlite:/x","backplane":"sqlite:/x""#, ["`sessions`", "`backplane`"]),
        (
            r#""sessions":"sqlite:x","delivery":"at_least_once","queue":{"when_full":"drop_oldest"}"#,
            ["`queue.when_full`", "block"],
        ),
    ] {
        let error = error(&with(keys));
        assert!(parts.iter().all(|part| error.contains(part)), "{keys}: {error}");
    }
}

#[test]
fn a_worker_may_have_a_name() {
    let env = |name: &str| (name == "SHARDWRIGHT_WORKER").then(|| "worker 3".to_owned());
    let name = |json: &str| Config::from_json(&with(json), env).map(|config| config.worker_name);
    assert_eq!(name(r#""threads":1"#).expect("a config").as_deref(), Some("worker 3"));
    let named = name(r#""worker_name":"bot-7""#).expect("a config");
    assert_eq!(named.as_deref(), Some("bot-7"));
    for bad in [r#""worker_name":"\u0007""#, r#""worker_name":"a\nb""#] {
        assert!(error(&with(bad)).starts_with("`worker_name` is not 1 to 64"), "{bad}");
    }
}

#[test]
fn a_store_is_a_file_or_a_server() {
    let store = |json: &str| read(&with(json)).expect(json).store.expect("it is set");
    let file = store(r#""store":"sqlite:/x/y.db""#);
    assert_eq!(file, StoreUrl::Sqlite("/x/y.db".into()));
    let server = store(r#""store":"postgresql://me:hunter2@db.example/bot""#);
    assert_eq!(format!("{server:?}"), "Postgres(PostgreSQL at db.example:5432)");
    let env = |name: &str| (name == "SHARDWRIGHT_STORE").then(|| "sqlite:z".to_owned());
    let config = Config::from_json(r#"{"token":"t","intents":0}"#, env).expect("complete");
    assert_eq!(config.store, Some(StoreUrl::Sqlite("z".into())));
    for url in ["mysql://me:hunter2@x", "sqlite:", "postgres://me:hunter2@x:port/y", "hunter2"] {
        let error = error(&with(&format!(r#""store":"{url}""#)));
        assert!(error.starts_with("`store` "), "{error}");
        assert!(error.contains("postgres://user:password@") && !error.contains("hunter2"));
    }
}

/// Scenario 73: neither a token in the wrong place nor a proxy's password is repeated.
#[test]
fn errors_do_not_repeat_secrets() {
    let token = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs";
    for json in [
        format!(r#"{{"intents":"{token}"}}"#),
        with(&format!(r#""compression":"{token}""#)),
        format!(r#"{{"{token}":1}}"#),
        with(&format!(r#""api_url":"{token}""#)),
    ] {
        let error = error(&json);
        assert!(!error.contains(&token[30..]), "{error}");
    }
    // Found by the fuzz target `config`: a word that is a part of another one.
    let other = "x".repeat(40);
    let error_of_both = error(&format!(r#"{{"intents":["{other} {other}{token}"]}}"#));
    assert!(!error_of_both.contains(&token[30..]), "{error_of_both}");

    let error = error(&with(r#""proxy":"ftp://me:hunter2@x""#));
    assert!(!error.contains("hunter2"), "{error}");
    let config = read(&with(r#""proxy":"http://me:hunter2@x:1""#)).expect("complete");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_proxy_s_password_is_decoded() {
    for (url, credentials) in [
        ("http://host:3128", None),
        ("http://me@host:3128", Some("me:")),
        ("http://me:a%3Ab%40c@host", Some("me:a:b@c")),
    ] {
        let config = read(&with(&format!(r#""proxy":"{url}""#))).expect("complete");
        let proxy = config.proxy.expect("it is set");
        assert_eq!(proxy.credentials.as_ref().map(|text| text.as_str()), credentials);
    }
    assert!(error(&with(r#""proxy":"http://me:%ff@host""#)).contains("`proxy`"));
}
