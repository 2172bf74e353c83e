//! Close codes: whether a shard may resume, must identify anew, or has to stop, and what to tell people.

use std::fmt;

/// What a shard does after its connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    /// Reconnect; the session lives.
    Resume,
    /// Reconnect; try the session once more, then give it up. Discord says that 1000 and 1001 end a
    /// session when the *client* sends them; sent by a server they are seen with living sessions.
    ResumeOnce,
    /// Reconnect; the session is gone.
    Identify,
    /// Do not reconnect: it would fail in the same way until a person changes something.
    Fatal,
}

/// A websocket close code as the gateway uses it.
///
/// Source: <https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway-gateway-close-event-codes>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// Sent by us to close for good: Discord ends the session and the bot goes offline.
    pub const NORMAL: Self = Self(1000);
    /// Sent by us to leave a connection whose session is to be resumed. Any code but 1000 and 1001
    /// keeps the session; this one is in the range for applications and means nothing else to Discord.
    pub const RESUMABLE: Self = Self(4900);

    /// What to do about it. Codes that nobody documented keep the session: a resume that fails costs
    /// nothing, an identify does.
    pub fn next(self) -> Next {
        match self.0 {
            1000 | 1001 => Next::ResumeOnce,
            // 3000, 3003 and 4006 are not in Discord's table but have been seen for lost sessions.
            3000 | 3003 | 4003 | 4006 | 4007 | 4009 => Next::Identify,
            4004 | 4010..=4014 => Next::Fatal,
            _ => Next::Resume,
        }
    }

    /// Whether commands were sent too fast (4008), so that more of them should wait.
    pub fn is_rate_limited(self) -> bool {
        self.0 == 4008
    }

    /// Whether another number of shards would help (4010, 4011).
    pub fn is_about_sharding(self) -> bool {
        matches!(self.0, 4010 | 4011)
    }

    /// Discord's name for the code, or what kind of code it is.
    pub fn name(self) -> &'static str {
        match self.0 {
            1000 => "normal closure",
            1001 => "going away",
            1006 => "abnormal closure",
            3000 => "unauthorized",
            3003 => "forbidden",
            4000 => "unknown error",
            4001 => "unknown opcode",
            4002 => "decode error",
            4003 => "not authenticated",
            4004 => "authentication failed",
            4005 => "already authenticated",
            4006 => "session no longer valid",
            4007 => "invalid seq",
            4008 => "rate limited",
            4009 => "session timed out",
            4010 => "invalid shard",
            4011 => "sharding required",
            4012 => "invalid API version",
            4013 => "invalid intents",
            4014 => "disallowed intents",
            _ => "undocumented close code",
        }
    }

    /// For the fatal codes, what a person has to change; `None` for the rest, which mend themselves.
    pub fn advice(self) -> Option<&'static str> {
        Some(match self.0 {
            4004 => {
                "the bot token is wrong or was reset: copy it again from the Bot page of the \
                 Developer Portal"
            }
            4010 => {
                "this shard id and shard total do not fit: the id must be below the total, and for a \
                 bot with large-bot sharding the total must be a multiple of the number that Discord \
                 assigned to it: set `shards` to one, or to \"auto\", or use \"reshard\":\"auto\""
            }
            4011 => {
                "the shard would carry more than 2500 guilds: raise the number of shards, or use \
                 \"shards\":\"auto\", or \"reshard\":\"auto\""
            }
            4012 => "the gateway no longer speaks this API version: update Shardwright",
            4013 => {
                "`intents` has a bit that Discord does not know: give the intents by name to be safe"
            }
            4014 => {
                "an intent in `intents` is privileged and not enabled for this application: enable \
                 it on the Bot page of the Developer Portal, or leave it out"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.name())?;
        match self.advice() {
            Some(advice) => write!(f, ": {advice}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Discord's table, column "Reconnect": `false` is fatal here and nothing else is. Scenario 45.
    #[test]
    fn exactly_the_codes_without_reconnect_are_fatal_and_have_advice() {
        for code in 0..=u16::MAX {
            let code = CloseCode(code);
            let fatal = matches!(code.0, 4004 | 4010 | 4011 | 4012 | 4013 | 4014);
            assert_eq!(code.next() == Next::Fatal, fatal, "{code}");
            assert_eq!(code.advice().is_some(), fatal, "{code}");
        }
    }

    /// Scenarios 41, 46 and 48.
    #[test]
    fn sessions_survive_what_does_not_end_them() {
        for lost in [3000, 3003, 4003, 4006, 4007, 4009] {
            assert_eq!(CloseCode(lost).next(), Next::Identify, "{lost}");
        }
        for kept in [1006, 4000, 4001, 4002, 4005, 4008, 4015, 4242, 4999] {
            assert_eq!(CloseCode(kept).next(), Next::Resume, "{kept}");
        }
    }

    #[test]
    fn our_own_codes_do_what_they_are_for() {
        assert_eq!(CloseCode::NORMAL.0, 1000);
        assert!(!matches!(CloseCode::RESUMABLE.0, 1000 | 1001));
        assert!((4000..5000).contains(&CloseCode::RESUMABLE.0));
    }
}
