//! The simulator on a TCP port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::http;
use crate::simulator::Simulator;
use crate::tls;
use crate::wire::{OnReset, Wire};

/// Pause after a failed accept: the machine is out of something, mostly file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A simulator that listens. Dropping it stops listening and ends every connection;
/// [`shutdown`](Self::shutdown) also waits for that.
#[derive(Debug)]
pub struct Server {
    simulator: Simulator,
    address: SocketAddr,
    ca_pem: Option<String>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) async fn bind(simulator: Simulator) -> io::Result<Self> {
        let options = simulator.options();
        let listener = TcpListener::bind(options.listen).await?;
        let bound = listener.local_addr()?;
        let (acceptor, ca_pem) = if options.tls {
            let hosts = tls::hosts(bound.ip(), options.public_host.as_deref());
            let (acceptor, ca_pem) = tls::acceptor(&hosts).map_err(io::Error::other)?;
            if let Some(path) = &options.ca_file {
                tokio::fs::write(path, &ca_pem).await.map_err(|error| {
                    let problem = format!("cannot write {}: {error}", path.display());
                    io::Error::new(error.kind(), problem)
                })?;
            }
            (Some(acceptor), Some(ca_pem))
        } else {
            (None, None)
        };
        let address = reachable(bound);
        simulator.shared.with(|state| state.address = Some(address));
        let stop = simulator.shared.stop.child_token();
        let task = tokio::spawn(run(simulator.clone(), listener, acceptor, stop.clone()));
        Ok(Self { simulator, address, ca_pem, stop, task: Some(task) })
    }

    /// The address to connect to: the one listened on, with loopback in place of "any".
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Base URL of the REST API, `http://127.0.0.1:PORT/api/v10`.
    pub fn api_url(&self) -> String {
        format!("{}/api/v10", self.http_url())
    }

    /// URL of the control API, `http://127.0.0.1:PORT/sim`.
    pub fn control_url(&self) -> String {
        format!("{}/sim", self.http_url())
    }

    /// URL of the gateway without a query, `ws://127.0.0.1:PORT`.
    pub fn gateway_url(&self) -> String {
        self.simulator.shared.with(|state| state.gateway_url(None))
    }

    fn http_url(&self) -> String {
        let host = self.simulator.shared.with(|state| state.host(None));
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{host}")
    }

    /// The certificate of the authority that clients must trust, as PEM; `None` without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The simulator behind it.
    pub fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// Stops listening and ends every connection of this server, and waits until that is done.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// An address that can be connected to.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

async fn run(
    simulator: Simulator,
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    stop: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    tasks.spawn(simulator.traffic());
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tasks.spawn(serve(simulator.clone(), stream, acceptor.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
    drop(listener);
    tasks.shutdown().await;
}

async fn serve(simulator: Simulator, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
    // Dribbled writes must become segments of their own.
    let _ = stream.set_nodelay(true);
    let on_reset: OnReset<TcpStream> = Box::new(|stream| {
        let _ = stream.set_zero_linger();
    });
    let (mut wire, control) = Wire::new(stream, on_reset);
    let shared = simulator.shared.clone();
    if !http::admit(&shared, &mut wire, &control).await {
        return;
    }
    match acceptor {
        None => http::serve(shared, wire, control).await,
        Some(acceptor) => {
            // A client that refuses the certificate ends here.
            if let Ok(stream) = acceptor.accept(wire).await {
                http::serve(shared, stream, control).await;
            }
        }
    }
}
