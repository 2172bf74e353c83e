//! Why a shard takes a new connection.

/// What ended the connection, or the attempt, before a new one. Few, so that each can be counted on
/// its own: it is a label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The websocket could not be opened, or not in time.
    ConnectFailed,
    /// The websocket stood, and no HELLO came.
    NoHello,
    /// The server closed with a close code.
    ClosedByServer,
    /// The connection ended without one.
    ConnectionLost,
    /// Discord asked for it.
    Op7,
    /// Discord refused IDENTIFY or ended the session.
    InvalidSession,
    /// Heartbeats were not answered.
    Zombie,
    /// IDENTIFY or RESUME was not answered.
    Unanswered,
    /// What came could not be read.
    BadData,
    /// Heartbeats were answered, but no event came on a shard that normally has many.
    Silent,
    /// The host wanted it.
    Restart,
    /// The shard's task met a bug in the engine.
    Bug,
}

impl Cause {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::ConnectFailed,
        Self::NoHello,
        Self::ClosedByServer,
        Self::ConnectionLost,
        Self::Op7,
        Self::InvalidSession,
        Self::Zombie,
        Self::Unanswered,
        Self::BadData,
        Self::Silent,
        Self::Restart,
        Self::Bug,
    ];

    /// The name in status and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectFailed => "connect_failed",
            Self::NoHello => "no_hello",
            Self::ClosedByServer => "closed_by_server",
            Self::ConnectionLost => "connection_lost",
            Self::Op7 => "op7",
            Self::InvalidSession => "invalid_session",
            Self::Zombie => "zombie",
            Self::Unanswered => "unanswered",
            Self::BadData => "bad_data",
            Self::Silent => "silent",
            Self::Restart => "restart",
            Self::Bug => "bug",
        }
    }
}

/// How often there was each cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconnects([u64; Cause::ALL.len()]);

impl Reconnects {
    /// One more.
    pub(crate) fn count(&mut self, cause: Cause) {
        self.0[cause as usize] += 1;
    }

    /// For one cause.
    pub fn of(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// For all causes together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Those of two lives together.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(mine, its)| *mine += its);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_counted_on_its_own() {
        let mut reconnects = Reconnects::default();
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, index, "{}", cause.name());
            (0..=index).for_each(|_| reconnects.count(cause));
        }
        let both = reconnects.and(reconnects);
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(both.of(cause), 2 * (index as u64 + 1));
        }
        assert_eq!(both.total(), 2 * 78);
    }
}
