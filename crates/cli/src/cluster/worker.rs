//! One worker: a process with its part of the shards.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::log_file::LogFile;
use crate::dashboard::{OPERATE, VIEW};

/// The longest line that is printed as one; a longer one is broken.
const MAX_LINE: u64 = 64 * 1024;

/// A worker that was started. It does not outlive this.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
}

/// Where what a worker says goes to.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// What stands before each line that is printed.
    pub(crate) label: String,
    /// Its file, if what it says is kept.
    pub(crate) log: Option<Arc<Mutex<LogFile>>>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::SIGTERM);
        }
    }
}

impl Worker {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no such program.
    pub(crate) fn start(
        command: &[OsString],
        env: &[(String, String)],
        output: &Output,
    ) -> io::Result<Self> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| io::Error::other("no program"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .envs(env.iter().map(|(name, value)| (name, value)))
            // What lets people drive the bot is none of its own business.
            .env_remove(OPERATE)
            .env_remove(VIEW)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C of the terminal is for the cluster, which stops its workers by itself.
            .process_group(0)
            .spawn()?;
        if let Some(stdout) = child.stdout.take() {
            print_lines(stdout, output.clone(), io::stdout());
        }
        if let Some(stderr) = child.stderr.take() {
            print_lines(stderr, output.clone(), io::stderr());
        }
        Ok(Self { child })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has. What it had started itself ends with it: a shell's bot would go on with the
    /// shards of the next worker.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        // Nobody else waits for it, so there is always an answer.
        let status = self.child.try_wait().ok().flatten()?;
        let _ = killpg(self.group(), Signal::SIGKILL);
        Some(status)
    }

    /// Sends it a signal. It has not been waited for, so its pid is still its own.
    pub(crate) fn signal(&self, signal: Signal) {
        // One that has ended meanwhile needs none.
        let _ = kill(self.group(), signal);
    }

    /// Kills it, with all that it has started.
    pub(crate) fn kill(&self) {
        let _ = killpg(self.group(), Signal::SIGKILL);
    }

    /// Its process, which leads a group of its own.
    fn group(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
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

/// Prints what comes from a pipe and keeps it, until it ends. Neither a reader that has gone away nor a full
/// disk holds up the worker.
fn print_lines(
    pipe: impl Read + Send + 'static,
    output: Output,
    mut printed: impl Write + Send + 'static,
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
            let text = text.trim_end_matches(['\r', '\n']);
            let _ = writeln!(printed, "{} | {text}", output.label);
            if let Some(log) = &output.log {
                let _ = log.lock().unwrap_or_else(PoisonError::into_inner).add(text);
            }
        }
    });
}
