//! `rediss://`, and whom to trust.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use shardwright::shard::StopMode;
use shardwright_sim::Options;

use crate::backend::directory;
use crate::host::{Host, simulator};
use crate::messages::{messages, subscribe};
use crate::redis_server::RedisServer;
use crate::temp_file::TempDir;

/// Files of an authority and of a server that it vouches for.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new() -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let ca = authority.self_signed(&key).expect("an authority");
        let authority = Issuer::new(authority, key);
        let key = KeyPair::generate().expect("a key");
        let server = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let server = server.signed_by(&key, &authority).expect("a certificate");
        let files = Self { directory: directory() };
        for (name, text) in [("ca", ca.pem()), ("cert", server.pem()), ("key", key.serialize_pem())]
        {
            std::fs::write(files.path(name), text).expect("a place");
        }
        files
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_right_authority_is_trusted() {
    let (files, other) = (Files::new(), Files::new());
    let server = RedisServer::start_tls(&[
        "--tls-cert-file",
        &files.path("cert"),
        "--tls-key-file",
        &files.path("key"),
        "--tls-ca-cert-file",
        &files.path("ca"),
        "--tls-auth-clients",
        "no",
    ]);
    let simulator = simulator(Options::default());
    let url = format!("rediss://localhost:{}", server.port());
    let start = |ca: &str| Host::start(&simulator, json!({"backplane": url, "ca_file": ca}));
    let mut host = start(&files.path("ca"));
    subscribe(&mut host, "word").await;
    host.ask(&json!({"type": "publish", "topic": "word", "data": "hello"})).await;
    host.until("the message", |host| messages(host).len() == 1).await;
    host.stop(StopMode::Abort).await;

    let mut host = start(&other.path("ca"));
    let error = |host: &Host| {
        let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
        status["backplane_error"].as_str().map(str::to_owned)
    };
    host.until("the refusal", |host| error(host).is_some()).await;
    let error = error(&host).expect("it came");
    assert!(error.contains("invalid peer certificate") && error.contains("`ca_file`"), "{error}");
    host.stop(StopMode::Abort).await;
}
