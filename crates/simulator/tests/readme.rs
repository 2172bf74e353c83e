//! The README's tables and scripts say what the code does.

use std::collections::BTreeSet;

use serde_json::Value;
use shardwright_sim::{Action, Options, Script, Simulator};

const README: &str = include_str!("../README.md");

/// The names of all actions, as serde lists them.
fn known() -> BTreeSet<String> {
    let error = serde_json::from_str::<Action>(r#"{"do":"?"}"#).unwrap_err().to_string();
    let (_, names) = error.split_once("expected one of ").unwrap();
    let name = |part: &str| part.split('`').nth(1).map(str::to_owned);
    names.split(", ").filter_map(name).collect()
}

#[test]
fn every_action_is_in_the_table_with_an_example_that_works() {
    let mut documented = BTreeSet::new();
    for row in README.lines().filter(|line| line.starts_with("| `{\"do\":")) {
        let example = row.split("` | ").next().unwrap().trim_start_matches("| `");
        let value: Value = serde_json::from_str(example).unwrap_or_else(|e| panic!("{e}: {row}"));
        serde_json::from_value::<Action>(value.clone()).unwrap_or_else(|e| panic!("{e}: {row}"));
        documented.insert(value["do"].as_str().unwrap().to_owned());
    }
    assert_eq!(documented, known());
}

#[test]
fn every_action_has_an_example_in_its_documentation() {
    let source = include_str!("../src/control/action.rs");
    let mut documented = BTreeSet::new();
    for line in source.lines().filter_map(|line| line.trim().strip_prefix("/// ")) {
        for example in line.split('`').filter(|part| part.starts_with("{\"do\":")) {
            let action = serde_json::from_str::<Action>(example);
            action.unwrap_or_else(|error| panic!("{error}: {example}"));
            let value: Value = serde_json::from_str(example).unwrap();
            documented.insert(value["do"].as_str().unwrap().to_owned());
        }
    }
    let mut missing = known();
    missing.retain(|name| !documented.contains(name));
    assert!(missing.is_empty(), "no example on one line: {missing:?}");
}

#[tokio::test(start_paused = true)]
async fn the_script_can_be_played() {
    let (_, script) = README.split_once("```toml\n").unwrap();
    let script = Script::from_toml(script.split_once("```").unwrap().0).unwrap();
    assert_eq!(script.steps().len(), 4);
    let simulator = Simulator::new(Options::default()).unwrap();
    simulator.play(script).await;
    let failed = simulator.look(|seen| {
        seen.actions.iter().filter(|action| action.result.get("error").is_some()).count()
    });
    assert_eq!(failed, 0);
}
