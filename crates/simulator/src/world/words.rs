//! Words to make names and sentences of: the world's texts are new each time, yet compress and
//! read like chat.

use super::snowflake::mix;

const ADJECTIVES: [&str; 32] = [
    "amber", "brave", "calm", "dusty", "eager", "fuzzy", "gentle", "hollow", "icy", "jolly",
    "keen", "lucky", "mellow", "noble", "odd", "proud", "quiet", "rapid", "shy", "tidy", "upbeat",
    "vivid", "witty", "young", "zesty", "bold", "crisp", "dapper", "faint", "grand", "humble",
    "lively",
];

const NOUNS: [&str; 32] = [
    "otter", "comet", "harbor", "lantern", "meadow", "pixel", "raven", "summit", "thistle",
    "voyager", "walnut", "badger", "canyon", "dynamo", "ember", "falcon", "glacier", "heron",
    "island", "jigsaw", "kettle", "lagoon", "marble", "nebula", "orchid", "puffin", "quarry",
    "ripple", "saffron", "tundra", "vortex", "willow",
];

const CHAT: [&str; 64] = [
    "anyone",
    "up",
    "for",
    "a",
    "game",
    "tonight",
    "the",
    "new",
    "patch",
    "is",
    "out",
    "and",
    "it",
    "broke",
    "my",
    "build",
    "again",
    "lol",
    "thanks",
    "that",
    "helped",
    "lot",
    "wait",
    "what",
    "did",
    "you",
    "see",
    "stream",
    "yesterday",
    "no",
    "way",
    "sure",
    "I",
    "will",
    "be",
    "there",
    "in",
    "ten",
    "minutes",
    "please",
    "read",
    "pinned",
    "message",
    "first",
    "good",
    "morning",
    "everyone",
    "how",
    "do",
    "we",
    "reset",
    "bot",
    "works",
    "here",
    "just",
    "updated",
    "to",
    "latest",
    "version",
    "nice",
    "screenshot",
    "by",
    "way",
    "🎉",
];

const CHANNELS: [&str; 16] = [
    "general",
    "random",
    "help",
    "showcase",
    "memes",
    "music",
    "off-topic",
    "bot-commands",
    "announcements",
    "feedback",
    "looking-for-group",
    "art",
    "development",
    "support",
    "pets",
    "introductions",
];

fn pick<'a>(words: &[&'a str], number: u64) -> &'a str {
    words[(number % words.len() as u64) as usize]
}

/// A user name such as `lucky_otter4711`, the number making it unique.
pub(crate) fn user_name(seed: u64, number: u32) -> String {
    let roll = mix(seed, 101, u64::from(number), 0);
    format!("{}_{}{number}", pick(&ADJECTIVES, roll), pick(&NOUNS, roll >> 16))
}

/// A display name or nickname such as `Lucky Otter`.
pub(crate) fn display_name(seed: u64, salt: u64, number: u32) -> String {
    let roll = mix(seed, 102, u64::from(number), salt);
    let capital = |word: &str| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    };
    let (first, second) = (pick(&ADJECTIVES, roll), pick(&NOUNS, roll >> 16));
    format!("{} {}", capital(first), capital(second))
}

/// A text channel's name; beyond the list they are numbered.
pub(crate) fn channel_name(index: u16) -> String {
    let name = CHANNELS[usize::from(index) % CHANNELS.len()];
    match usize::from(index) / CHANNELS.len() {
        0 => name.to_owned(),
        round => format!("{name}-{}", round + 1),
    }
}

/// A sentence of `words` words of chat.
pub(crate) fn sentence(rng: &mut fastrand::Rng, words: usize) -> String {
    let mut text = String::with_capacity(words * 6);
    for i in 0..words {
        if i > 0 {
            text.push(' ');
        }
        text.push_str(CHAT[rng.usize(..CHAT.len())]);
    }
    text
}

/// A made-up image hash: 32 hexadecimal digits.
pub(crate) fn image_hash(seed: u64, salt: u64, number: u64) -> String {
    format!("{:016x}{:016x}", mix(seed, 103, salt, number), mix(seed, 104, salt, number))
}
