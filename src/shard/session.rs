//! What a resume needs.

use serde::Deserialize;

use crate::protocol::GatewayUrl;

/// A gateway session: it outlives its connections for some minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Discord's `session_id`.
    pub id: String,
    /// The newest sequence number received.
    pub seq: u64,
    /// Where to resume; `None` for the gateway's own address, when Discord named none or the one it
    /// named could not be reached.
    pub resume_url: Option<GatewayUrl>,
}

/// The parts of READY that the engine itself needs.
///
/// Source: <https://discord.com/developers/docs/events/gateway-events#ready>.
#[derive(Debug, Deserialize)]
pub(super) struct Ready {
    /// The id of the new session.
    pub(super) session_id: String,
    /// Where to resume it.
    #[serde(default)]
    pub(super) resume_gateway_url: Option<String>,
}

impl Ready {
    /// The session that READY with this sequence number starts.
    ///
    /// A resume URL is not followed from `wss` down to `ws`: the token would travel in the clear.
    pub(super) fn into_session(self, seq: u64, gateway: &GatewayUrl) -> Session {
        let resume_url = self
            .resume_gateway_url
            .and_then(|url| GatewayUrl::parse(&url).ok())
            .filter(|url| url.tls || !gateway.tls);
        Session { id: self.session_id, seq, resume_url }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_url_never_drops_tls() {
        let session = |gateway: &str, resume: Option<&str>| {
            let ready =
                Ready { session_id: "s".into(), resume_gateway_url: resume.map(str::to_owned) };
            ready.into_session(1, &GatewayUrl::parse(gateway).expect("a URL")).resume_url
        };
        assert!(session("wss://a", Some("wss://b")).is_some());
        assert!(session("ws://a", Some("ws://b")).is_some());
        assert!(session("ws://a", Some("wss://b")).is_some());
        assert!(session("wss://a", Some("ws://b")).is_none());
        assert!(session("wss://a", Some("nonsense")).is_none());
        assert!(session("wss://a", None).is_none());
    }
}
