//! Moments of a world, for people.

use std::fmt;
use std::time::Duration;

/// A time since a world began, as `83 min 00.061 s`; a width aligns it to the right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At(pub(crate) Duration);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, seconds) = (self.0.as_secs() / 60, self.0.as_secs_f64() % 60.0);
        // `pad` is what makes a width count.
        f.pad(&format!("{minutes} min {seconds:06.3} s"))
    }
}
