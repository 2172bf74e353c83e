//! `wss` and `https`, and whom to trust.

use std::path::PathBuf;

use serde_json::json;
use shardwright::queue::NO_SHARD;
use shardwright_sim::{Cut, Options, Simulator, Target};

use crate::host::{Host, config};
use crate::temp_file::TempFile;

fn options() -> Options {
    Options { tls: true, recommended_shards: 2, max_concurrency: 2, ..Options::default() }
}

/// With the simulator's certificate authority everything runs over TLS, resumes too.
#[tokio::test]
async fn the_right_authority_is_trusted() {
    let simulator = Simulator::new(options()).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let ca = TempFile::new("right.pem", server.ca_pem().expect("TLS is on"));
    let changes = json!({"ca_file": ca.path()});
    let mut host = Host::start_tcp(&config(&simulator, &server.api_url(), changes));
    host.until_ready().await;
    simulator.drop_sockets(Target::All, Cut::Reset);
    host.until("resumes", |_| simulator.look(|seen| seen.counts.resumed) == 2).await;
    simulator.happen(200);
    host.assert_nothing_lost(&simulator, 2).await;
    assert!(server.gateway_url().starts_with("wss://"));
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
    server.shutdown().await;
}

/// Another authority is refused with a reason that says what to do, again and again with backoff.
#[tokio::test]
async fn a_wrong_authority_is_refused() {
    let simulator = Simulator::new(options()).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let other = Simulator::new(options()).expect("sensible options");
    let other = other.bind().await.expect("a free port");
    let ca = TempFile::new("wrong.pem", other.ca_pem().expect("TLS is on"));
    for changes in [json!({"ca_file": ca.path()}), json!({})] {
        let mut host = Host::start_tcp(&config(&simulator, &server.api_url(), changes));
        host.until("two refusals", |host| host.states(NO_SHARD).len() >= 2).await;
        let (_, reason) = &host.states(NO_SHARD)[0];
        assert!(reason.contains("invalid peer certificate"), "{reason}");
        assert!(reason.contains("`ca_file`"), "{reason}");
    }
    assert_eq!(simulator.look(|seen| seen.counts.rest), 0);
    other.shutdown().await;
    server.shutdown().await;
}

/// Scenario 13: the gateway too: REST in the clear, the gateway with a certificate that is not trusted.
#[tokio::test]
async fn a_wrong_authority_of_the_gateway_is_refused() {
    let rest = Simulator::new(Options { tls: false, ..options() }).expect("sensible options");
    let rest_server = rest.bind().await.expect("a free port");
    let gateway = Simulator::new(options()).expect("sensible options");
    let gateway_server = gateway.bind().await.expect("a free port");
    let changes = json!({"gateway_url": gateway_server.gateway_url()});
    let mut host = Host::start_tcp(&config(&rest, &rest_server.api_url(), changes));
    host.until("two refusals", |host| {
        host.states(0).iter().filter(|(state, _)| state == "disconnected").count() >= 2
    })
    .await;
    let (_, reason) = &host.states(0)[2];
    assert!(reason.contains("invalid peer certificate"), "{reason}");
    assert_eq!(gateway.look(|seen| seen.counts.connections), 0);
    rest_server.shutdown().await;
    gateway_server.shutdown().await;
}

/// A `ca_file` that cannot be used is found at once.
#[test]
fn a_useless_ca_file_is_a_config_error() {
    let empty = TempFile::new("empty.pem", "no certificate here");
    for path in [empty.path().clone(), PathBuf::from("/does/not/exist.pem")] {
        let text = json!({"token": "t", "intents": 0, "ca_file": path}).to_string();
        let config = shardwright::Config::from_json(&text, |_| None).expect("not read yet");
        let network = std::sync::Arc::new(shardwright::transport::Tcp);
        let error = shardwright::Client::new(config, network).expect_err("useless");
        assert_eq!(error.kind(), shardwright::ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("`ca_file`"), "{error}");
    }
}
