//! The documents say what the code does.

use std::fs::read_to_string;
use std::path::Path;

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The bots in the README are those in `examples`, which are built and run by other tests.
#[test]
fn the_readme_shows_the_real_bots() {
    let readme = file("README.md");
    for (language, path, most_lines) in [
        ("python", "examples/python/ping_bot.py", 20),
        ("julia", "examples/julia/ping_bot.jl", 20),
        ("c", "examples/c/first_bot.c", 30),
        ("c", "examples/c/ping_bot.c", 120),
    ] {
        let bot = file(path);
        assert!(
            readme.contains(&format!("```{language}\n{bot}```\n")),
            "copy {path} into the README"
        );
        let lines = bot.lines().count();
        assert!(lines <= most_lines, "{path}: {lines} lines are too many for a first example");
    }
}

/// The table of configuration keys is made of the comments in `src/config/typed.rs`.
#[test]
fn the_configuration_tables_are_fresh() {
    let source = file("src/config/typed.rs");
    let (_, typed) = source.split_once("struct Typed<'a> {\n").expect("the struct");
    let (typed, _) = typed.split_once("\n}\n").expect("its end");
    let mut table = "| key | default | meaning |\n| --- | --- | --- |\n".to_owned();
    let mut comment = Vec::new();
    for line in typed.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            comment.push(text);
        } else if !line.starts_with("#[") {
            let (key, _) = line.split_once(':').expect("a field");
            let comment = std::mem::take(&mut comment).join(" ");
            let (default, meaning) = comment.split_once(" · ").expect("default · meaning");
            table += &format!("| `{key}` | {default} | {meaning} |\n");
        }
    }
    assert!(table.lines().count() > 20, "{table}");
    replace_table("README.md", &table);
    replace_table("docs/configuration.md", &table);
}

/// The example of the configuration reference is one.
#[test]
fn the_configuration_example_works() {
    let text = file("docs/configuration.md");
    let (_, json) = text.split_once("```json\n").expect("an example");
    let (json, _) = json.split_once("```").expect("its end");
    let env = |name: &str| (name == "DISCORD_TOKEN").then(|| "t".to_owned());
    shardwright::Config::from_json(json, env).expect("the example works");
}

/// The one-line configurations of the documents are some.
#[test]
fn the_recipes_work() {
    let mut count = 0;
    for path in ["docs/configuration.md", "docs/monitoring.md"] {
        for line in file(path).lines().filter(|line| line.starts_with("    {\"intents\"")) {
            let env = |name: &str| (name == "DISCORD_TOKEN").then(|| "t".to_owned());
            shardwright::Config::from_json(line, env).expect(line);
            count += 1;
        }
    }
    assert_eq!(count, 3);
}

/// Checks that a document has this table, or with BLESS puts it in the place of the old one.
fn replace_table(path: &str, table: &str) {
    let text = file(path);
    let (head, _) = table.split_once('\n').expect("a head");
    let start = text.find(head).unwrap_or_else(|| panic!("{path} has no table {head}"));
    let end = text[start..].find("\n\n").map_or(text.len(), |at| start + at + 1);
    bless(path, &format!("{}{table}{}", &text[..start], &text[end..]));
}

/// The reference of the C API is made of the header.
#[test]
fn the_c_reference_is_fresh() {
    let header = file("include/shardwright.h");
    let (_, body) = header.split_once("#include <stdint.h>\n").expect("the includes");
    let mut reference = "# The C API\n\nMade of `include/shardwright.h` by `make generate`.\n\n\
        | constant | value | meaning |\n| --- | --- | --- |\n"
        .to_owned();
    let (mut comment, mut code) = (Vec::new(), String::new());
    for line in body.lines() {
        if let (Some(text), true) = (line.strip_prefix("//"), code.is_empty()) {
            comment.push(text.strip_prefix(' ').unwrap_or(text));
            continue;
        }
        if comment.is_empty() {
            continue;
        }
        code += line;
        code += "\n";
        let is_struct = code.starts_with("typedef struct shard_event {");
        let ends = if is_struct { line.starts_with('}') } else { line.ends_with(';') };
        if let Some(define) = code.strip_prefix("#define ") {
            let (name, value) = define.trim().split_once(' ').expect("a value");
            let text = std::mem::take(&mut comment).join(" ").replace('|', "\\|");
            reference += &format!("| `{name}` | `{value}` | {text} |\n");
            code.clear();
        } else if ends {
            let text = std::mem::take(&mut comment).join("\n").replace("# Safety\n", "Safety: ");
            reference += &format!("\n```c\n{}```\n\n{text}\n", std::mem::take(&mut code));
        }
    }
    let symbols = file("tests/abi/symbols.txt");
    for symbol in symbols.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        assert!(reference.contains(&format!("{symbol}(")), "{symbol} is not in the reference");
    }
    bless("docs/c-api.md", &reference);
}

/// Checks that a file has this text, or with BLESS writes it.
fn bless(path: &str, text: &str) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), text).expect(path);
    }
    assert!(file(path) == text, "{path} is stale; run `make generate` and commit it");
}

/// Every command in the README's table is accepted by the parser.
#[test]
fn the_readme_lists_commands_that_exist() {
    let readme = file("README.md");
    let (_, table) = readme.split_once("| command | example |").expect("the table of commands");
    let (table, _) = table.split_once("\n\n").expect("the end of the table");
    let examples = table.split('`').filter(|part| part.starts_with("{\"type\""));
    let config = r#"{"token":"t","intents":0,"backplane":"sqlite:never-opened","store":"sqlite:never-opened"}"#;
    let config = shardwright::Config::from_json(config, |_| None).expect("complete");
    let network = std::sync::Arc::new(shardwright::transport::Tcp);
    let client = shardwright::Client::new(config, network).expect("a client");
    let mut count = 0;
    for example in examples {
        let example = example.replace("\"files\":[…]", "\"files\":[]");
        let example = example.replace("\"call\":\"…\"", "\"call\":\"a:1\"");
        let error = client.send_command(&example).expect_err("the client is not started");
        assert_eq!(error.kind(), shardwright::ErrorKind::State, "{example}: {error}");
        count += 1;
    }
    assert_eq!(count, 19);
}
