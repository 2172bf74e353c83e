//! What a shard counts.

use crate::shard::cause::Reconnects;

/// Things a shard counts over its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connection attempts after the first, by what ended the one before.
    pub reconnects: Reconnects,
    /// IDENTIFYs sent.
    pub identifies: u64,
    /// RESUMEs sent.
    pub resumes: u64,
    /// Dispatches dropped because their sequence number was not new.
    pub duplicates: u64,
    /// Messages that were no payload.
    pub bad_payloads: u64,
}

impl Counters {
    /// Those of two lives of a shard together.
    pub(in crate::shard) fn and(self, other: Self) -> Self {
        Self {
            reconnects: self.reconnects.and(other.reconnects),
            identifies: self.identifies + other.identifies,
            resumes: self.resumes + other.resumes,
            duplicates: self.duplicates + other.duplicates,
            bad_payloads: self.bad_payloads + other.bad_payloads,
        }
    }
}
