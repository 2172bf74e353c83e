//! The documents say what the code does.

use std::fs::read_to_string;
use std::path::Path;

fn file(path: &str) -> String {
    read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

/// The bot in the README is the one in `examples`, which is built and run by other tests.
#[test]
fn the_readme_shows_the_real_bot() {
    let bot = format!("```c\n{}```\n", file("examples/c/ping_bot.c"));
    assert!(file("README.md").contains(&bot), "copy examples/c/ping_bot.c into the README");
    let lines = bot.lines().count() - 2;
    assert!(lines < 120, "a bot of {lines} lines is no first example");
}

/// Every key of the configuration has its row in the README's table.
#[test]
fn the_readme_lists_every_config_key() {
    let error = shardwright::Config::from_json(r#"{"no_such_key":1}"#, |_| None);
    let error = error.expect_err("there is no such key").to_string();
    let keys: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
    assert!(keys.len() >= 18 && keys.contains(&"ca_file"), "{error}");
    let readme = file("README.md");
    for key in keys.into_iter().filter(|key| *key != "no_such_key") {
        let has_row = |line: &str| {
            line.starts_with("| ")
                && line.split(" | ").next().is_some_and(|cell| cell.contains(&format!("`{key}`")))
        };
        assert!(readme.lines().any(has_row), "the README has no row for `{key}`");
    }
}

/// Every command in the README's table is accepted by the parser.
#[test]
fn the_readme_lists_commands_that_exist() {
    let readme = file("README.md");
    let (_, table) = readme.split_once("| command | example |").expect("the table of commands");
    let (table, _) = table.split_once("\n\n").expect("the end of the table");
    let examples = table.split('`').filter(|part| part.starts_with("{\"type\""));
    let config = r#"{"token":"t","intents":0}"#;
    let config = shardwright::Config::from_json(config, |_| None).expect("complete");
    let network = std::sync::Arc::new(shardwright::transport::Tcp);
    let client = shardwright::Client::new(config, network).expect("a client");
    let mut count = 0;
    for example in examples {
        let example = example.replace("\"files\":[…]", "\"files\":[]");
        let error = client.send_command(&example).expect_err("the client is not started");
        assert_eq!(error.kind(), shardwright::ErrorKind::State, "{example}: {error}");
        count += 1;
    }
    assert_eq!(count, 9);
}
