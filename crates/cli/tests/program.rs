//! The program as people run it, against the simulator.

use std::process::{Command, Output};

use shardwright_sim::{Options, Simulator};

/// Runs the program; what it said on standard output and on standard error.
fn run(arguments: &[&str], api_url: &str, token: &str) -> (Output, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardwright"));
    command.args(arguments).env("DISCORD_TOKEN", token).env("SHARDWRIGHT_API_URL", api_url);
    let output = command.env_remove("SHARDWRIGHT_SHARDS").output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_says_what_discord_says() {
    let options = Options { recommended_shards: 64, max_concurrency: 16, ..Options::default() };
    let simulator = Simulator::new(options).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let token = simulator.options().token;
    let (output, stdout, stderr) = run(&["plan", "--processes", "4"], &server.api_url(), &token);
    assert!(output.status.success(), "{stderr}");
    for line in ["  recommended shards   64\n", "  max_concurrency      16\n", "  48-63/64\n"] {
        assert!(stdout.contains(line.trim_start()), "{line}: {stdout}");
    }
    assert_eq!(simulator.look(|seen| seen.counts.identifies), 0, "a plan costs no session start");

    let (output, _, stderr) = run(&["plan"], &server.api_url(), "not.the.token");
    assert!(!output.status.success());
    assert!(stderr.contains("token") && !stderr.contains("not.the.token"), "{stderr}");
    let (output, _, stderr) = run(&["plan", "--shards", "0"], &server.api_url(), &token);
    assert!(!output.status.success() && stderr.contains("0 shards"), "{stderr}");
    server.shutdown().await;
}

#[test]
fn what_is_wrong_is_said() {
    for (arguments, told) in [
        (&["demo", "no/such/bot"][..], "no/such/bot"),
        (
            &["sim", "--script", "no/such/script.toml", "--listen", "127.0.0.1:0"],
            "no/such/script.toml",
        ),
        (&["sim", "--listen", "203.0.113.1:1"], "203.0.113.1:1"),
        (&["sim", "--max-concurrency", "0"], "max_concurrency"),
    ] {
        let (output, _, stderr) = run(arguments, "http://127.0.0.1:1", "t");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains(told), "{arguments:?}: {stderr}");
    }
}
