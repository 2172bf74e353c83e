//! Everything through an HTTP proxy, over real sockets.

use std::sync::{Arc, Mutex};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use shardwright::queue::NO_SHARD;
use shardwright_sim::{Cut, Options, Simulator, Target};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy_bidirectional,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

use crate::host::{Host, config};
use crate::temp_file::TempFile;

/// A proxy that tunnels, or answers with something else.
struct Proxy {
    port: u16,
    /// The heads of the requests it got.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// One that tunnels, over TLS if there is an acceptor; or one that answers with this.
    async fn start(tls: Option<TlsAcceptor>, refusal: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, seen) = (tls.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let Some(tls) = tls else { return serve(stream, &seen, refusal).await };
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, &seen, refusal).await;
                    }
                });
            }
        });
        Self { port, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

/// Serves one connection to its end.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    heads: &Mutex<Vec<String>>,
    refusal: Option<&str>,
) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !matches!(stream.read_line(&mut head).await, Ok(1..)) {
            return;
        }
    }
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    heads.lock().expect("no panic").push(head);
    if let Some(refusal) = refusal {
        let _ = stream.write_all(refusal.as_bytes()).await;
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
    let _ = copy_bidirectional(&mut stream, &mut server).await;
}

fn options(tls: bool) -> Options {
    Options { tls, recommended_shards: 2, max_concurrency: 2, ..Options::default() }
}

/// Every connection is a tunnel with the credentials, TLS to Discord goes through it end to end, and
/// a tunnel that breaks is one more lost connection.
#[tokio::test]
async fn everything_goes_through_it() {
    let simulator = Simulator::new(options(true)).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let proxy = Proxy::start(None, None).await;
    let ca = TempFile::new("through.pem", server.ca_pem().expect("TLS is on"));
    let url = format!("http://me:hunter%402@127.0.0.1:{}", proxy.port);
    let changes = json!({"ca_file": ca.path(), "proxy": url});
    let mut host = Host::start_tcp(&config(&simulator, &server.api_url(), changes));
    host.until_ready().await;
    simulator.drop_sockets(Target::All, Cut::Reset);
    host.until("resumes", |_| simulator.look(|seen| seen.counts.resumed) == 2).await;
    simulator.happen(50);
    host.assert_nothing_lost(&simulator, 2).await;
    let connections = simulator.look(|seen| seen.counts.connections);
    let heads = proxy.heads();
    assert!(connections >= 4 && heads.len() > connections as usize, "and REST: {heads:?}");
    for head in heads {
        assert!(head.starts_with("CONNECT 127.0.0.1:"), "{head}");
        assert!(head.contains("\r\nProxy-Authorization: Basic bWU6aHVudGVyQDI=\r\n"), "{head}");
    }
    server.shutdown().await;
}

/// The way to the proxy itself may be TLS.
#[tokio::test]
async fn a_proxy_may_speak_tls() {
    let simulator = Simulator::new(options(false)).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let names = vec!["localhost".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).expect("a key");
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], signing_key.into())
        .expect("they match");
    let proxy = Proxy::start(Some(TlsAcceptor::from(Arc::new(tls))), None).await;
    let ca = TempFile::new("proxy.pem", &cert.pem());
    let url = format!("https://localhost:{}", proxy.port);
    let changes = json!({"ca_file": ca.path(), "proxy": url});
    let mut host = Host::start_tcp(&config(&simulator, &server.api_url(), changes));
    host.until_ready().await;
    assert!(proxy.heads().len() > 2, "the gateway and REST");
    server.shutdown().await;
}

/// Scenario 13: a proxy that does not let us through is told of, without its password, and tried again.
#[tokio::test]
async fn a_refusal_is_told() {
    for (answer, told) in [
        (
            "HTTP/1.1 407 Who are you?\r\n\r\n",
            "the proxy answered with \"HTTP/1.1 407 Who are you?\"",
        ),
        ("", "the proxy answered by closing the connection"),
        ("no HTTP\r\n\r\n", "the proxy answered with \"no HTTP\""),
    ] {
        let simulator = Simulator::new(options(false)).expect("sensible options");
        let proxy = Proxy::start(None, Some(answer)).await;
        let url = format!("http://me:hunter2@127.0.0.1:{}", proxy.port);
        let config = config(&simulator, "http://discord.test/api/v10", json!({"proxy": url}));
        let mut host = Host::start_tcp(&config);
        host.until("two refusals", |host| host.states(NO_SHARD).len() >= 2).await;
        let (_, reason) = &host.states(NO_SHARD)[0];
        assert!(reason.contains(told), "{reason}");
        assert!(!format!("{:?} {:?}", host.told, host.client).contains("hunter2"));
        assert!(proxy.heads()[0].starts_with("CONNECT discord.test:80 HTTP/1.1\r\n"));
    }
}
