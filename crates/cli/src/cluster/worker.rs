//! One worker: a process with its part of the shards.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The longest line that is printed as one; a longer one is broken.
const MAX_LINE: u64 = 64 * 1024;

/// A worker that was started. It does not outlive this.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::SIGTERM);
        }
    }
}

impl Worker {
    /// Starts one. What it says is printed behind its name, line by line.
    ///
    /// # Errors
    /// When there is no such program.
    pub(crate) fn start(command: &[OsString], shards: &str, name: &str) -> io::Result<Self> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| io::Error::other("no program"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .env("SHARDWRIGHT_SHARDS", shards)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C of the terminal is for the cluster, which stops its workers by itself.
            .process_group(0)
            .spawn()?;
        if let Some(stdout) = child.stdout.take() {
            print_lines(stdout, name.to_owned(), || Box::new(io::stdout()));
        }
        if let Some(stderr) = child.stderr.take() {
            print_lines(stderr, name.to_owned(), || Box::new(io::stderr()));
        }
        Ok(Self { child })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        // Nobody else waits for it, so there is always an answer.
        self.child.try_wait().ok().flatten()
    }

    /// Sends it a signal. It has not been waited for, so its pid is still its own.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // One that has ended meanwhile needs none.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// How a process ended, for people.
pub(crate) fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("was ended by {signal}"),
            Err(_) => format!("was ended by signal {signal}"),
        },
        (None, None) => "ended".to_owned(),
    }
}

/// Prints what comes from a pipe, until it ends. A reader that has gone away does not hold up the worker.
fn print_lines(
    pipe: impl Read + Send + 'static,
    name: String,
    output: impl Fn() -> Box<dyn Write> + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = pipe.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
            if !matches!(read, Ok(1..)) {
                return;
            }
            let text = String::from_utf8_lossy(&line);
            let _ = writeln!(output(), "{name} | {}", text.trim_end_matches(['\r', '\n']));
        }
    });
}
