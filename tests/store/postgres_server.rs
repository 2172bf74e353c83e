//! A PostgreSQL server of the tests' own, in a temporary directory and on a free port.

use std::fs::read_to_string;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::file::TempDir;

/// The password of the user `shard`. No text for people may have it.
pub(crate) const PASSWORD: &str = "hunter2-correct-horse";

/// Patience with a server that starts or stops; only reached by a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server, stopped when it is dropped.
pub(crate) struct PostgresServer {
    /// Where its programs are.
    programs: PathBuf,
    pub(crate) directory: TempDir,
    pub(crate) port: u16,
    process: Mutex<Option<Child>>,
}

impl PostgresServer {
    /// A server of the test's own, with these lines in its configuration.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let port = free_port();
        let directory = TempDir::new();
        let server = Self { programs: programs(), directory, port, process: Mutex::default() };
        server.make(settings);
        server.resume();
        server
    }

    /// The server that the tests of the suite share. The last of them stops it.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start(&[]));
        *shared = Arc::downgrade(&server);
        server
    }

    /// A URL of it with this password, and these parameters.
    pub(crate) fn url_with(&self, password: &str, database: &str, parameters: &str) -> String {
        format!("postgres://shard:{password}@127.0.0.1:{}/{database}{parameters}", self.port)
    }

    /// A URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url_with(PASSWORD, database, "?sslmode=disable")
    }

    /// Makes a new database. Returns its URL.
    pub(crate) async fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {name}")).await;
        self.url(name)
    }

    /// Carries out SQL. Returns the first column of the first row of the last statement.
    pub(crate) async fn sql(&self, database: &str, sql: &str) -> Option<String> {
        let (client, connection) =
            tokio_postgres::connect(&self.url(database), tokio_postgres::NoTls)
                .await
                .expect("a connection");
        let connection = tokio::spawn(connection);
        let messages = client.simple_query(sql).await.expect(sql);
        connection.abort();
        messages.iter().rev().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
    }

    /// Ends it as a crash would: clients see their connections end.
    pub(crate) fn crash(&self) {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut process) = process else { return };
        let _ = Command::new("kill").args(["-QUIT", &process.id().to_string()]).status();
        let _ = process.wait();
    }

    /// Starts it, again.
    pub(crate) fn resume(&self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log());
        let log = log.expect("a log");
        let data = self.data();
        let mut command = self.program("postgres");
        command.args(["-D".as_ref(), data.as_os_str()]).stdout(Stdio::null()).stderr(log);
        let child = spawn(command);
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let give_up_at = Instant::now() + PATIENCE;
        // The eighth line says how it stands.
        let is_ready = || {
            let pid = read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            pid.lines().nth(7).is_some_and(|state| state.trim() == "ready")
        };
        while !is_ready() {
            let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
            let ended = process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            let log = || read_to_string(self.log()).unwrap_or_default();
            assert!(ended.is_none(), "postgres ended: {}", log());
            assert!(Instant::now() < give_up_at, "postgres does not get ready: {}", log());
            drop(process);
            sleep(Duration::from_millis(10));
        }
    }

    /// Where its data is.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// What the server writes.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Makes a cluster.
    fn make(&self, settings: &[&str]) {
        let directory = self.directory.path();
        let password = directory.join("password");
        std::fs::write(&password, PASSWORD).expect("written");
        std::fs::write(self.log(), "").expect("written");
        for path in [directory, &password, &self.log()] {
            give_to_server(path);
        }
        let output = self
            .program("initdb")
            .args(["--username=shard", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            .args(["--no-sync".into(), format!("--pwfile={}", password.display())])
            .arg(self.data())
            .output()
            .expect("it is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let port = format!("port = {}", self.port);
        let mut lines = vec![
            "listen_addresses = '127.0.0.1'",
            "unix_socket_directories = ''",
            "fsync = off",
            "shared_buffers = 16MB",
            &port,
        ];
        lines.extend(settings);
        let path = self.data().join("postgresql.conf");
        let defaults = read_to_string(&path).expect("initdb wrote it");
        std::fs::write(&path, defaults + "\n" + &lines.join("\n") + "\n").expect("written");
    }

    /// One of its programs, as somebody who is not root, and gone with this process.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        if is_root() {
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
        }
        command.args(["--pdeathsig=QUIT", "--"]).arg(self.programs.join(name));
        // The directory of the tests may be closed to others.
        command.current_dir("/").env("LC_ALL", "C");
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.crash();
    }
}

/// Starts a program from a thread that lives as long as the process: what `setpriv --pdeathsig` asks for
/// comes when the thread ends that the program was started from.
fn spawn(command: Command) -> Child {
    type Order = (Command, Sender<Child>);
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, next) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in next {
                let _ = answer.send(command.spawn().expect("it is installed"));
            }
        });
        orders
    });
    let (answer, child) = channel();
    spawner.send((command, answer)).expect("the thread lives");
    child.recv().expect("it was started")
}

/// A port that was free just now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// Whether the tests run as root, as which PostgreSQL does not.
pub(crate) fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|metadata| metadata.uid() == 0)
}

/// Lets the server's user use a file.
pub(crate) fn give_to_server(path: &Path) {
    if is_root() {
        let id = |option: &str, name: &str| -> u32 {
            let output = Command::new("getent").args([option, name]).output().expect("libc's");
            let line = String::from_utf8(output.stdout).expect("ASCII");
            line.split(':').nth(2).and_then(|id| id.parse().ok()).expect("a number")
        };
        let (user, group) = (id("passwd", "nobody"), id("group", "nogroup"));
        chown(path, Some(user), Some(group)).expect("root may");
    }
}

/// Where PostgreSQL's programs are: on the path, or where Debian puts them, which is not on it.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    found.sort();
    found.reverse();
    let all = std::env::split_paths(&path).chain(found);
    let mut with_server = all.filter(|directory| directory.join("initdb").exists());
    with_server.next().expect("PostgreSQL is missing; `scripts/setup.sh test` installs it")
}
