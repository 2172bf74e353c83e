//! A command from any text.
//!
//! Input: the JSON text; before it a byte for the number of shards.

use std::num::NonZeroU32;

use serde_json::Value;
use shardwright::ErrorKind;
use shardwright::client::{Command, Route, soundboard_sounds};
use shardwright::protocol::{MAX_OUTGOING_BYTES, Payload, shard_for_guild};

use super::input::Input;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let total = NonZeroU32::MIN.saturating_add(input.byte().into());
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    match Command::from_json(text) {
        Ok(Command::Send { route, payload, presence }) => {
            assert!(payload.as_str().len() <= MAX_OUTGOING_BYTES);
            // Deeper, or with larger numbers, than the reader used here can take.
            let Ok(asked) = serde_json::from_str(text) else { return };
            let (op, d) = read(&payload);
            assert!(!matches!(op, 1 | 2 | 6), "op {op} is the engine's own");
            assert_eq!(presence.is_some(), op == 3);
            assert!(
                route.shard(total).is_none_or(|id| id < total.get() || route == Route::Shard(id))
            );
            if let Some(presence) = presence {
                assert_eq!(serde_json::from_str::<Value>(presence.get()).ok(), Some(d));
            } else {
                check_meaning(&asked, op, &d, route);
            }
        }
        Ok(Command::CollectMembers(request)) => {
            assert!(request.payload.as_str().len() <= MAX_OUTGOING_BYTES);
            let (op, d) = read(&request.payload);
            assert_eq!((op, d["guild_id"].as_str()), (8, Some(&*request.guild_id.to_string())));
            assert_eq!(d["nonce"].as_str(), Some(&*request.nonce));
            assert!((1..=32).contains(&request.nonce.len()));
        }
        Ok(Command::SoundboardSounds { guild_ids }) => {
            let mut asked = Vec::new();
            for (shard_id, payload) in soundboard_sounds(&guild_ids, total) {
                let (op, d) = read(&payload);
                assert_eq!(op, 31);
                for id in d["guild_ids"].as_array().expect("a list") {
                    let id = id.as_str().expect("a string").parse().expect("an id");
                    assert_eq!(shard_for_guild(id, total), shard_id);
                    asked.push(id);
                }
            }
            asked.sort_unstable();
            let mut expected = guild_ids;
            expected.sort_unstable();
            assert_eq!(asked, expected, "every guild once");
        }
        Ok(
            Command::Rest(_)
            | Command::Backplane(_)
            | Command::GatewayInfo
            | Command::Guilds(_)
            | Command::GuildStats
            | Command::RestartShard { .. }
            | Command::Reshard { .. }
            | Command::Store(_),
        ) => {}
        Err(error) => {
            use ErrorKind::{InvalidArgument, TooLarge, Unsupported};
            assert!(matches!(error.kind(), InvalidArgument | TooLarge | Unsupported));
            assert!(error.to_string().len() > 5, "{error} helps nobody");
        }
    }
}

/// A payload that Discord would read.
fn read(payload: &Payload) -> (u64, Value) {
    assert!(payload.as_str().len() <= MAX_OUTGOING_BYTES);
    let mut value: Value = serde_json::from_str(payload.as_str()).expect("JSON");
    assert_eq!(value.as_object().map(serde_json::Map::len), Some(2));
    (value["op"].as_u64().expect("an op"), value["d"].take())
}

/// What was asked for is what goes out.
fn check_meaning(asked: &Value, op: u64, d: &Value, route: Route) {
    if asked["type"] == "gateway" {
        assert_eq!((asked["op"].as_u64(), &asked["d"]), (Some(op), d));
        return;
    }
    let id = |value: &Value| value.as_str().map_or(value.as_u64(), |id| id.parse::<u64>().ok());
    let guild_id = id(&asked["guild_id"]).expect("an id");
    assert_eq!((route, id(&d["guild_id"])), (Route::Guild(guild_id), Some(guild_id)));
    assert_eq!(id(&d["channel_id"]), id(&asked["channel_id"]));
}
