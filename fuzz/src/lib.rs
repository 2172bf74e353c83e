//! What each fuzz target does with its bytes.
//!
//! libFuzzer calls these functions from `fuzz_targets/`, and `tests/fuzz` with every file of `corpus/`
//! (and `crashes/`), so that what was found once is looked at by each ordinary test run. A function
//! panics where the engine broke a promise.

pub mod command;
pub mod config;
pub mod envelope;
pub mod event_field;
pub mod frames;
pub mod inflate;
mod input;
pub mod machine;

/// What one target does.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 7] = [
    ("command", command::run),
    ("config", config::run),
    ("envelope", envelope::run),
    ("event_field", event_field::run),
    ("frames", frames::run),
    ("inflate", inflate::run),
    ("machine", machine::run),
];

/// A token as Discord makes them. It stands in inputs for each byte 0x01, which no JSON text has, so
/// that a fuzzer need not find it: it must never come out.
pub const TOKEN: &str = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs";

/// The text with the token in its places; `None` where it is no UTF-8, or where the fuzzer brought
/// parts of the token that it saw in comparisons: those stand where nobody would put a token.
fn with_token(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !shows_token(text))?;
    Some(text.replace('\u{1}', TOKEN))
}

/// Whether a text has the token in it, or enough of it to be worth something.
fn shows_token(text: &str) -> bool {
    const WORTH: usize = 16;
    (0..=TOKEN.len() - WORTH).any(|start| text.contains(&TOKEN[start..start + WORTH]))
}
