//! How `shardwright deploy` and others tell a running cluster what to do: a socket in its directory.
//!
//! One line of JSON asks, and lines of JSON answer until all is done. Who may use the socket is a matter of the
//! directory's permissions: it is made for its owner only.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use super::rollout::Told;
use super::settings::ShardCount;
use super::status::ClusterStatus;

/// What a cluster says at last: how its workers are, if that was asked.
pub(crate) type Answer = Option<ClusterStatus>;

/// The longest question.
const MAX_LINE: u64 = 1 << 20;

/// Patience with somebody who connects and does not ask.
const QUESTION: Duration = Duration::from_secs(5);

/// What a cluster is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub(crate) enum Wish {
    /// Restart all workers, one after the other.
    Deploy {
        /// Another program, if it is to be another.
        command: Option<Vec<String>>,
        /// Another number of workers.
        workers: Option<u32>,
        /// Another number of shards.
        #[serde(default)]
        shards: Option<ShardCount>,
    },
    /// Restart one worker, by its name.
    Restart { worker: String },
    /// Stop one worker, until it is told to go on.
    Pause { worker: String },
    /// Let a paused worker go on.
    Unpause { worker: String },
    /// Say how the workers are.
    Status,
}

/// A wish, and who waits for what comes of it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) wish: Wish,
    pub(crate) told: Sender<Told>,
}

/// The place where a cluster is asked.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Control {
    /// Makes it, in the directory of a cluster.
    ///
    /// # Errors
    /// When another cluster runs there.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        let path = socket_path(directory)?;
        ensure!(
            UnixStream::connect(&path).is_err(),
            "a cluster runs in {} already; `shardwright deploy` restarts it, and another one needs a \
             --directory of its own",
            directory.display()
        );
        // Left behind by one that was killed.
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("cannot make the socket {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Hands on what is asked, from a thread of its own.
    ///
    /// # Errors
    /// When the system has no file descriptor left.
    pub(crate) fn listen(&self, ask: impl Fn(Request) + Clone + Send + 'static) -> io::Result<()> {
        let listener = self.listener.try_clone()?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let ask = ask.clone();
                std::thread::spawn(move || {
                    // Somebody who has gone away needs no answer.
                    let _ = converse(&stream, ask);
                });
            }
        });
        Ok(())
    }
}

/// One question, and what comes of it.
fn converse(mut stream: &UnixStream, ask: impl Fn(Request)) -> io::Result<()> {
    stream.set_read_timeout(Some(QUESTION))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line)?;
    let (told, telling) = channel();
    match serde_json::from_str(&line) {
        Ok(wish) => ask(Request { wish, told }),
        Err(error) => {
            let _ = told.send(Told::Failed(format!("this cluster does not understand: {error}")));
            drop(told);
        }
    }
    for told in telling {
        writeln!(stream, "{}", serde_json::to_string(&told)?)?;
    }
    Ok(())
}

/// Asks the cluster of a directory; what it says at last. `line` gets what it says before.
///
/// # Errors
/// When there is none, or it could not do it.
pub(crate) fn ask(
    directory: &Path,
    wish: &Wish,
    mut line: impl FnMut(&str),
) -> anyhow::Result<Answer> {
    let mut stream = UnixStream::connect(socket_path(directory)?).with_context(|| {
        format!(
            "no cluster runs in {}; start one with `shardwright cluster`, or name its --directory",
            directory.display()
        )
    })?;
    writeln!(stream, "{}", serde_json::to_string(wish)?)?;
    for told in BufReader::new(stream).lines() {
        match serde_json::from_str(&told?).context("the cluster says something unexpected")? {
            Told::Line(text) => line(&text),
            Told::Done(text) => {
                line(&text);
                return Ok(None);
            }
            Told::Status(status) => return Ok(Some(status)),
            Told::Failed(why) => bail!("{why}"),
        }
    }
    bail!("the cluster ended before it was done")
}

/// The socket of a directory.
fn socket_path(directory: &Path) -> anyhow::Result<PathBuf> {
    /// Of `sockaddr_un`, with the zero at its end.
    const LONGEST: usize = 107;
    let path = directory.join("control");
    ensure!(
        path.as_os_str().as_bytes().len() <= LONGEST,
        "{} is too long for a socket (at most {LONGEST} bytes); take a shorter --directory",
        path.display()
    );
    Ok(path)
}
