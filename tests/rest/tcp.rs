//! The same over real sockets, where the operating system has its say.

use std::sync::Arc;

use shardwright::ErrorKind;
use shardwright::rest::Rest;
use shardwright::transport::Tcp;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::bench::{Reply, Server, client, post};

/// A server on a free port, a client of it, and the task that has to be stopped.
async fn listen(
    script: impl Fn(&crate::bench::Seen, usize) -> Reply + Send + Sync + 'static,
) -> (Rest, Arc<Server>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (_, server) = Server::start(script);
    let for_task = Arc::clone(&server);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Arc::clone(&for_task).serve(stream));
        }
    });
    (client(&format!("http://{address}/api"), Arc::new(Tcp)), server, task)
}

#[tokio::test]
async fn requests_share_a_connection() {
    let (rest, server, task) = listen(|_, _| Reply::new(200, &[], "{}")).await;
    for _ in 0..20 {
        let response = rest.get("/gateway").await.expect("answered");
        assert_eq!((response.status, &response.body[..]), (200, &b"{}"[..]));
    }
    assert_eq!((server.seen().len(), server.connections()), (20, 1));
    assert_eq!(server.seen()[0].target, "/api/gateway");
    task.abort();
}

#[tokio::test]
async fn many_requests_go_side_by_side() {
    let (rest, server, task) = listen(|_, _| Reply::new(200, &[], "{}").after_ms(1)).await;
    let requests: Vec<_> = (0..300)
        .map(|id| {
            let rest = rest.clone();
            tokio::spawn(
                async move { post(&rest, &format!("/interactions/{id}/x/callback")).await },
            )
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.expect("no panic").expect("answered").status, 200);
    }
    assert_eq!(server.seen().len(), 300);
    assert!(server.connections() <= 64, "{}", server.connections());
    task.abort();
}

/// A reset arrives as an error, not as an end.
#[tokio::test]
async fn a_reset_connection_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Closing with data unread resets the connection.
            let _ = stream.read_u8().await;
        }
    });
    let rest = client(&format!("http://{address}"), Arc::new(Tcp));
    let error = post(&rest, "/channels/1/messages").await.expect_err("it is reset");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("may have carried it out"), "{error}");
    task.abort();
}
