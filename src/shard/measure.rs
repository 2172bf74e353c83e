//! What a shard takes the time of.

/// Something that took time. Each is a histogram of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// From a heartbeat to its ACK.
    HeartbeatLatency,
    /// In line at the identify gate, from the end to the word that it may pass.
    IdentifyWait,
    /// From a command's arrival at its shard to the moment it has left the socket: for a session, for
    /// the rate limit, and for the network.
    OutboundWait,
}
