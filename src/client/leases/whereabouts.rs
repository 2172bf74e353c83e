//! Where a worker is, so that others can say who has their shards, and on the same machine see that it is gone.

use std::fmt;
use std::fs::{read_link, read_to_string};

use serde::{Deserialize, Serialize};

use crate::process::{began_at, host_name};

/// Where a worker is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Whereabouts {
    /// The machine, for people.
    host: String,
    pid: u32,
    /// In what the process's id is unique: this start of the machine, and a container of it. Empty where the
    /// system does not say.
    place: String,
    /// When the process began, as the system counts.
    began: u64,
}

impl Whereabouts {
    /// This process.
    pub(super) fn here() -> Self {
        let boot = read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let names = read_link("/proc/self/ns/pid");
        let place = match (boot.trim(), names) {
            (boot, Ok(names)) if !boot.is_empty() => format!("{boot} {}", names.display()),
            _ => String::new(),
        };
        let pid = std::process::id();
        Self { host: host_name(), pid, place, began: began_at(pid).unwrap_or(0) }
    }

    /// As others read it.
    pub(super) fn to_json(&self) -> String {
        // Numbers and text can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What somebody wrote; of another version what is the same.
    pub(super) fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Whether that process has certainly ended, or is this one. `self` is this one's.
    pub(super) fn sees_end_of(&self, other: &Self) -> bool {
        if self.place.is_empty() || self.place != other.place {
            return false;
        }
        other == self || began_at(other.pid) != Some(other.began)
    }
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.is_empty() { "an unknown host" } else { &self.host };
        write!(f, "pid {} on {host}", self.pid)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn who_is_certainly_gone() {
        let here = Whereabouts::here();
        if here.place.is_empty() {
            return;
        }
        assert_eq!(Whereabouts::parse(&here.to_json()), here);
        assert!(here.sees_end_of(&here), "an earlier client of this process");
        // It lives until its input ends.
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("cat(1)");
        let began = began_at(child.id()).expect("it runs");
        let other = Whereabouts { pid: child.id(), began, ..here.clone() };
        assert!(!here.sees_end_of(&other));
        let earlier = Whereabouts { began: began - 1, ..other.clone() };
        assert!(here.sees_end_of(&earlier), "its id is another process's now");
        let elsewhere = Whereabouts { place: "another machine".into(), ..earlier };
        assert!(!here.sees_end_of(&elsewhere), "nobody knows");
        assert!(!here.sees_end_of(&Whereabouts::parse("{")), "nobody knows");
        child.kill().expect("it runs");
        child.wait().expect("it was ours");
        assert!(here.sees_end_of(&other));
    }
}
