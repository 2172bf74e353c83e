//! A real Redis server.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use crate::temp_file::TempDir;

/// A Redis server of this test's own, which keeps nothing.
pub(crate) struct RedisServer {
    child: Child,
    port_option: &'static str,
    port: u16,
    options: Vec<String>,
    /// One that has replicas writes there, and reads it as it starts.
    directory: TempDir,
}

impl RedisServer {
    /// Starts one on a free port, with more options.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_on("--port", options)
    }

    /// The same with TLS, whose options are among those given.
    pub(crate) fn start_tls(options: &[&str]) -> Self {
        Self::start_on("--tls-port", options)
    }

    fn start_on(port_option: &'static str, options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        loop {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = free.local_addr().expect("bound").port();
            drop(free);
            let directory = TempDir::new(&format!("redis-{port}"));
            // Somebody else may have taken it by now.
            if let Some(child) = run(port_option, port, &options, &directory) {
                return Self { child, port_option, port, options, directory };
            }
        }
    }

    /// What the config says.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was ours");
    }

    /// Starts it again where it was, empty.
    pub(crate) fn restart(&mut self) {
        let _ = std::fs::remove_file(self.directory.path().join("dump.rdb"));
        self.child = run(self.port_option, self.port, &self.options, &self.directory)
            .expect("its port is free");
    }

    /// Has it do nothing until it is told to go on: connections stay, answers do not come.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill")
            .args([&format!("-{signal}"), &self.child.id().to_string()])
            .status();
        assert!(done.expect("kill(1)").success());
    }
}

/// A running server; `None` when it cannot listen there.
fn run(port_option: &str, port: u16, options: &[String], directory: &TempDir) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args([
            // Not in the clear where it is TLS.
            "--port",
            "0",
            port_option,
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .arg("--dir")
        .arg(directory.path())
        .args(options)
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-server is installed; scripts/setup.sh test does that");
    let stdout = child.stdout.take().expect("piped");
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    if lines.any(|line| line.contains("Ready to accept connections")) {
        // It goes on writing, and must not meet a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        return Some(child);
    }
    child.wait().expect("it was ours");
    None
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
