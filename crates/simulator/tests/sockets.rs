//! Real sockets: TCP, resets, TLS, and a server that ends.

mod common;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use common::{Arrived, Client, QUERY, Request};
use shardwright_sim::{AcceptPlan, ConnectPlan, Cut, Options, Pace, Server, Simulator, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

async fn serve(options: Options) -> (Simulator, Server) {
    let simulator = Simulator::new(options).unwrap();
    let server = simulator.bind().await.unwrap();
    (simulator, server)
}

async fn connect(server: &Server) -> Client<TcpStream> {
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    Client::over(stream, QUERY).await.unwrap()
}

async fn ready(simulator: &Simulator, server: &Server) -> Client<TcpStream> {
    let mut client = connect(server).await;
    client.hello().await;
    client.identify(simulator, [0, 1]).await;
    client.dispatch("READY").await;
    for _ in 0..simulator.guilds().len() {
        client.dispatch("GUILD_CREATE").await;
    }
    client
}

fn trusting(ca_pem: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn rest_gateway_and_control_share_a_port() {
    let (simulator, server) = serve(Options::default()).await;
    let url = server.api_url();
    assert_eq!(url, format!("http://{}/api/v10", server.addr()));
    assert_eq!(server.gateway_url(), format!("ws://{}", server.addr()));
    let mut client = ready(&simulator, &server).await;
    let channel = simulator.text_channels(simulator.guilds()[0])[0];
    let body = serde_json::json!({"content": "over TCP"});
    let request = Request::api(&simulator, "POST", &format!("/channels/{channel}/messages"));
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    assert_eq!(request.json(&body).over(stream).await.unwrap().status, 200);
    assert_eq!(client.dispatch("MESSAGE_CREATE").await["content"], "over TCP");
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    let state = Request::plain("GET", "/sim/state").over(stream).await.unwrap();
    assert_eq!(state.json()["connections"].as_array().unwrap().len(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_fin_is_none() {
    let (simulator, server) = serve(Options::default()).await;
    for (how, expected) in [(Cut::Reset, Err(ErrorKind::ConnectionReset)), (Cut::Fin, Ok(0))] {
        // A bare stream, to see what the socket says.
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        let head = "GET /?v=10&encoding=json HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut bytes = [0; 4096];
        let mut seen = String::new();
        while !seen.contains("heartbeat_interval") {
            let read = stream.read(&mut bytes).await.unwrap();
            seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        assert!(seen.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        simulator.drop_sockets(Target::All, how);
        // Unread bytes of the client (a ping) must not turn a FIN into a reset.
        if how == Cut::Fin {
            stream.write_all(b"\x89\x80\0\0\0\0").await.unwrap();
        }
        let mut end = stream.read(&mut bytes).await.map_err(|error| error.kind());
        while matches!(end, Ok(1..)) {
            end = stream.read(&mut bytes).await.map_err(|error| error.kind());
        }
        assert_eq!(end, expected, "{how:?}");
        drop(stream);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_close_frame_arrives_although_the_client_sent_too_much() {
    let (_simulator, server) = serve(Options::default()).await;
    for _ in 0..20 {
        let mut client = connect(&server).await;
        client.hello().await;
        client.send_text(&"x".repeat(1_000_000)).await;
        assert_eq!(client.close_code().await, 4002);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn silence_leaves_the_socket_open() {
    let (simulator, server) = serve(Options::default()).await;
    let mut client = ready(&simulator, &server).await;
    simulator.drop_sockets(Target::All, Cut::Silence);
    for _ in 0..10 {
        client.beat().await;
    }
    let channel = simulator.text_channels(simulator.guilds()[0])[0];
    simulator.post_message(channel, None, "unheard").unwrap();
    client.quiet(Duration::from_millis(200)).await;
    assert_eq!(simulator.seen().counts.heartbeats, 0);
    drop(client);
    simulator.wait_until(|seen| seen.counts.closed == 1).await;
    server.shutdown().await;
}

#[tokio::test]
async fn tls_is_trusted_with_its_authority_and_not_with_another() {
    let directory = std::env::temp_dir().join(format!("shardwright-sim-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let ca_file = directory.join("ca.pem");
    let options = Options { tls: true, ca_file: Some(ca_file.clone()), ..Options::default() };
    let (simulator, server) = serve(options).await;
    let (_other, stranger) = serve(Options { tls: true, ..Options::default() }).await;
    let written = std::fs::read_to_string(&ca_file).unwrap();
    assert_eq!(Some(written.as_str()), server.ca_pem());
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(server.api_url().starts_with("https://"));
    assert!(server.gateway_url().starts_with("wss://"));

    for name in ["127.0.0.1", "localhost"] {
        let stream = TcpStream::connect(server.addr()).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        let stream = trusting(&written).connect(name, stream).await.unwrap();
        let mut client = Client::over(stream, QUERY).await.unwrap();
        client.hello().await;
        client.close(4000).await;
        assert!(matches!(client.end().await, Arrived::Closed(Some(4000), _)));
    }
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let refused = trusting(stranger.ca_pem().unwrap()).connect(name, stream).await;
    assert!(refused.unwrap_err().to_string().contains("certificate"));
    assert_eq!(simulator.seen().counts.connections, 2);
    server.shutdown().await;
    stranger.shutdown().await;
}

#[tokio::test]
async fn a_stream_can_hang_or_crawl_before_tls() {
    let (simulator, server) = serve(Options { tls: true, ..Options::default() }).await;
    let connector = trusting(server.ca_pem().unwrap());
    let name = ServerName::try_from("127.0.0.1").unwrap();
    simulator.plan_accept(Some(1), AcceptPlan::Hang).unwrap();
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    let hung = connector.connect(name.clone(), stream);
    assert!(tokio::time::timeout(Duration::from_millis(200), hung).await.is_err());
    simulator.plan_accept(Some(1), AcceptPlan::Pace(Pace { bytes: 100, gap_ms: 1 })).unwrap();
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    let mut client = Client::over(stream, QUERY).await.unwrap();
    client.hello().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_dribbled_head_comes_in_many_segments() {
    let (simulator, server) = serve(Options::default()).await;
    let dribble = Some(Pace { bytes: 7, gap_ms: 1 });
    simulator.plan(Some(1), ConnectPlan { dribble, ..ConnectPlan::default() }).unwrap();
    connect(&server).await.hello().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_closes_what_is_open_and_the_port() {
    let (simulator, server) =
        serve(Options { events_per_second: 50.0, ..Options::default() }).await;
    let mut client = ready(&simulator, &server).await;
    let address = server.addr();
    server.shutdown().await;
    assert!(matches!(client.end().await, Arrived::Gone(_)));
    assert!(TcpStream::connect(address).await.is_err());
    assert_eq!(simulator.look(|seen| seen.open_connections().count()), 0);
    // The simulator itself goes on and can be bound again.
    let server = simulator.bind().await.unwrap();
    connect(&server).await.hello().await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_threads_lose_nothing() {
    const SHARDS: u32 = 32;
    let options = Options { guilds: 64, max_concurrency: SHARDS, ..Options::default() };
    let (simulator, server) = serve(options).await;
    let mut clients = tokio::task::JoinSet::new();
    for shard in 0..SHARDS {
        let (simulator, address) = (simulator.clone(), server.addr());
        clients.spawn(async move {
            let query = format!("{QUERY}&compress=zstd-stream");
            let connect = async || {
                let stream = TcpStream::connect(address).await.unwrap();
                let mut client = Client::over(stream, &query).await.unwrap();
                client.hello().await;
                client
            };
            let mut client = connect().await;
            client.identify(&simulator, [shard, SHARDS]).await;
            let ready = client.dispatch("READY").await;
            let session = ready["session_id"].as_str().unwrap().to_owned();
            // Says that READY has been read.
            client.beat().await;
            let mut numbers: Vec<u64> = Vec::new();
            loop {
                match client.next().await {
                    Arrived::Payload(payload) => {
                        // The last event of all ends it, after those of this shard.
                        if payload["t"] == "END" {
                            return (shard, numbers);
                        }
                        let number = payload["d"]["nonce"].as_str();
                        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
                    }
                    Arrived::Gone(_) => {
                        let seq = client.seq;
                        client = connect().await;
                        client.seq = seq;
                        client.resume(&simulator, &session, seq.unwrap()).await;
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    simulator.wait_until(|seen| seen.counts.heartbeats == u64::from(SHARDS)).await;
    for round in 0..20 {
        simulator.happen(250);
        if round % 5 == 0 {
            assert_eq!(simulator.drop_sockets(Target::All, Cut::Reset), SHARDS as usize);
            let resumed = u64::from(SHARDS) * (round / 5 + 1);
            simulator.wait_until(|seen| seen.counts.resumed == resumed).await;
        }
    }
    simulator.dispatch(Target::All, "END", serde_json::json!({}));
    while let Some(client) = clients.join_next().await {
        let (shard, numbers) = client.unwrap();
        assert_eq!(numbers, simulator.look(|seen| seen.numbers_of_shard(shard)), "shard {shard}");
        assert!(!numbers.is_empty());
    }
    assert!(simulator.violations().is_empty());
    server.shutdown().await;
}
