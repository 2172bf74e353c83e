//! The terminal while `shardwright top` has it: the other screen, no cursor, keys as they are pressed.

use std::io::{Read, Write, stdin, stdout};
use std::os::fd::AsFd;

use anyhow::Context;
use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use tokio::sync::mpsc;

/// The other screen, without a cursor; and back.
const OPEN: &str = "\x1b[?1049h\x1b[?25l";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";

/// Keys that may wait; the rest is not for us.
const MAX_KEYS: usize = 16;

/// What POSIX calls `_POSIX_VDISABLE` on Linux: no key does that.
const NO_KEY: u8 = 0;

/// The terminal. It is given back as it was, however this ends.
#[derive(Debug)]
pub(super) struct Screen {
    before: Termios,
}

impl Screen {
    /// Takes it.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn open() -> anyhow::Result<Self> {
        let before = tcgetattr(stdin().as_fd()).context("cannot ask the terminal how it is")?;
        let mut wanted = before.clone();
        wanted.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        // Ctrl-C is a signal still; Ctrl-Z would leave the shell with our screen.
        wanted.control_chars[SpecialCharacterIndices::VSUSP as usize] = NO_KEY;
        tcsetattr(stdin().as_fd(), SetArg::TCSANOW, &wanted)
            .context("cannot set up the terminal")?;
        let screen = Self { before };
        write(OPEN)?;
        Ok(screen)
    }

    /// Shows a frame, in place of the one before.
    ///
    /// # Errors
    /// When the terminal has gone away.
    pub(super) fn draw(&mut self, frame: &str) -> anyhow::Result<()> {
        // In one piece and over what is there, so that nothing flickers.
        let lines = frame.replace('\n', "\x1b[K\r\n");
        write(&format!("\x1b[H{lines}\x1b[K\x1b[J"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write(CLOSE);
        let _ = tcsetattr(stdin().as_fd(), SetArg::TCSANOW, &self.before);
    }
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("the terminal has gone away")
}

/// The keys that are pressed.
#[derive(Debug)]
pub(super) struct Keys(mpsc::Receiver<u8>);

impl Keys {
    /// Reads them in a thread, which ends with the process.
    pub(super) fn read() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_KEYS);
        std::thread::spawn(move || {
            for key in stdin().bytes().map_while(Result::ok) {
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// The next one; `None` when there are no more.
    pub(super) async fn next(&mut self) -> Option<u8> {
        self.0.recv().await
    }
}
