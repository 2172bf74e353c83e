//! Gateway opcodes.

/// What a gateway payload is.
///
/// Source: <https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway-gateway-opcodes>.
/// Opcode 5 (voice server ping) is reserved: Discord lists no use for bots, so it is unknown here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpCode {
    /// Received: an event; the only opcode with `s` and `t`.
    Dispatch = 0,
    /// Both ways: keeps the connection alive; received, it asks for a beat at once.
    Heartbeat = 1,
    /// Sent: starts a new session; costs one of the daily session starts.
    Identify = 2,
    /// Sent: the bot's presence.
    PresenceUpdate = 3,
    /// Sent: joins, moves or leaves a voice channel.
    VoiceStateUpdate = 4,
    /// Sent: goes on with a session on a new connection.
    Resume = 6,
    /// Received: Discord wants the client to reconnect and resume.
    Reconnect = 7,
    /// Sent: asks for members, answered by `GUILD_MEMBERS_CHUNK` dispatches.
    RequestGuildMembers = 8,
    /// Received: the session is gone (`false`) or interrupted (`true`), or an identify was refused.
    InvalidSession = 9,
    /// Received: the first payload of a connection, with the heartbeat interval.
    Hello = 10,
    /// Received: the answer to a heartbeat.
    HeartbeatAck = 11,
    /// Sent: asks for soundboard sounds, answered by `SOUNDBOARD_SOUNDS` dispatches.
    RequestSoundboardSounds = 31,
    /// Sent: asks for ephemeral channel data, answered by a `CHANNEL_INFO` dispatch.
    RequestChannelInfo = 43,
}

impl OpCode {
    /// The opcode with this number, or `None` for one that Discord has not documented.
    pub fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Dispatch,
            1 => Self::Heartbeat,
            2 => Self::Identify,
            3 => Self::PresenceUpdate,
            4 => Self::VoiceStateUpdate,
            6 => Self::Resume,
            7 => Self::Reconnect,
            8 => Self::RequestGuildMembers,
            9 => Self::InvalidSession,
            10 => Self::Hello,
            11 => Self::HeartbeatAck,
            31 => Self::RequestSoundboardSounds,
            43 => Self::RequestChannelInfo,
            _ => return None,
        })
    }

    /// The number on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_round_trip() {
        let known: Vec<u64> = (0..=255).filter(|n| OpCode::from_number(*n).is_some()).collect();
        assert_eq!(known, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 31, 43]);
        for number in known {
            let op = OpCode::from_number(number).expect("filtered above");
            assert_eq!(u64::from(op.number()), number);
        }
    }
}
