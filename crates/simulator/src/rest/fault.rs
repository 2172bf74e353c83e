//! REST calls that are to go wrong.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ratelimit::Scope;
use crate::wire::Cut;

/// Most faults that can wait.
const MAX_FAULTS: usize = 1_000;

/// What is to go wrong, for which calls, and how often.
///
/// ```json
/// {"method": "POST", "path": "/channels/*/messages", "times": 2, "what": {"status": {"status": 500}}}
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestFault {
    /// The method; without it any.
    #[serde(default)]
    pub method: Option<String>,
    /// The path below `/api/v10`: `*` stands for one segment, a last `**` for the rest. Without it
    /// any.
    #[serde(default)]
    pub path: Option<String>,
    /// How many calls it serves; without it all until it is cleared.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens to the call.
    pub what: RestFaultKind,
}

/// What happens to a REST call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestFaultKind {
    /// It is answered with this and has no effect.
    Status {
        /// The HTTP status.
        status: u16,
        /// The body, JSON or not.
        #[serde(default)]
        body: String,
        /// More headers.
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// It is answered with 429.
    RateLimit {
        /// Whose limit it is about.
        scope: Scope,
        /// After how long it may be tried again.
        retry_after_ms: u64,
    },
    /// It is never answered and has no effect.
    Hang,
    /// The connection is dropped instead of an answer; the call has no effect.
    Drop(Cut),
    /// The connection is dropped instead of an answer, but the call has had its effect.
    DropAfter(Cut),
    /// It is answered as it should be, but later.
    DelayMs(u64),
}

impl RestFault {
    /// A fault for every call until it is cleared.
    pub fn always(what: RestFaultKind) -> Self {
        Self { method: None, path: None, times: None, what }
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.path.as_deref().is_none_or(|pattern| path_matches(pattern, path))
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    let parts = |path: &str| -> Vec<String> {
        path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let (pattern, path) = (parts(pattern), parts(path));
    for (index, wanted) in pattern.iter().enumerate() {
        match (wanted.as_str(), path.get(index)) {
            ("**", _) if index + 1 == pattern.len() => return true,
            ("*", Some(_)) => {}
            (wanted, Some(part)) if wanted == part => {}
            _ => return false,
        }
    }
    pattern.len() == path.len()
}

/// The faults that wait.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    waiting: BTreeMap<u64, RestFault>,
    next: u64,
}

impl Faults {
    /// Adds a fault and returns its number.
    pub(crate) fn add(&mut self, fault: RestFault) -> u64 {
        if self.waiting.len() >= MAX_FAULTS {
            self.waiting.pop_first();
        }
        self.next += 1;
        if fault.times != Some(0) {
            self.waiting.insert(self.next, fault);
        }
        self.next
    }

    /// Forgets one fault, or all.
    pub(crate) fn clear(&mut self, number: Option<u64>) {
        match number {
            Some(number) => {
                self.waiting.remove(&number);
            }
            None => self.waiting.clear(),
        }
    }

    /// What happens to this call: the oldest fault that is for it.
    pub(crate) fn next(&mut self, method: &str, path: &str) -> Option<RestFaultKind> {
        let number = *self.waiting.iter().find(|(_, fault)| fault.matches(method, path))?.0;
        let fault = self.waiting.get_mut(&number)?;
        let what = fault.what.clone();
        if let Some(left) = &mut fault.times {
            *left -= 1;
            if *left == 0 {
                self.waiting.remove(&number);
            }
        }
        Some(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_segments() {
        for (pattern, path, expected) in [
            ("/gateway/bot", "/gateway/bot", true),
            ("/gateway", "/gateway/bot", false),
            ("/channels/*/messages", "/channels/1/messages", true),
            ("/channels/*/messages", "/channels/1/messages/2", false),
            ("/channels/**", "/channels/1/messages/2", true),
            ("**", "/anything", true),
        ] {
            assert_eq!(path_matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn faults_run_out() {
        let mut faults = Faults::default();
        faults.add(RestFault {
            method: Some("post".to_owned()),
            times: Some(2),
            ..RestFault::always(RestFaultKind::Hang)
        });
        assert_eq!(faults.next("GET", "/x"), None);
        assert!(faults.next("POST", "/x").is_some());
        assert!(faults.next("POST", "/y").is_some());
        assert_eq!(faults.next("POST", "/z"), None);
    }
}
