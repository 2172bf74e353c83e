//! The WebSocket: the whole state, then what changes, and commands.
//!
//! Nothing waits here for a browser that does not read: it gets the next change when it has taken the last one, and
//! if it takes none for long, it is let go.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::access::Role;
use super::hub::Missed;
use super::{Dashboard, api};

/// Patience with a browser that does not take what it is sent.
const SEND_PATIENCE: Duration = Duration::from_secs(20);

/// Time between two pings, so that whatever stands between does not take the silence for the end.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Changes that are sent before commands are looked at.
const AT_ONCE: usize = 32;

/// The longest command: a message for the bot's processes may be 256 KiB.
pub(crate) const MAX_COMMAND_BYTES: usize = 300 << 10;

/// Where a browser was when it lost its connection.
#[derive(Debug, Deserialize)]
pub(crate) struct Place {
    stream: Option<String>,
    seq: Option<u64>,
}

/// A command.
#[derive(Debug, Deserialize)]
struct Command<'a> {
    id: Value,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    action: &'a RawValue,
}

/// Opens one.
pub(crate) async fn open(
    State(dashboard): State<Arc<Dashboard>>,
    Extension(role): Extension<Role>,
    Query(place): Query<Place>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(permit) = Arc::clone(&dashboard.streams).try_acquire_owned() else {
        let text = "too many browsers watch already";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let upgrade = upgrade.max_message_size(MAX_COMMAND_BYTES).max_frame_size(MAX_COMMAND_BYTES);
    upgrade.on_upgrade(move |socket| {
        let known = place.stream.as_deref() == Some(dashboard.hub.stream());
        let stream = Stream { dashboard, role, seq: place.seq.filter(|_| known), socket, permit };
        stream.run()
    })
}

/// One browser.
struct Stream {
    dashboard: Arc<Dashboard>,
    role: Role,
    /// What it knows.
    seq: Option<u64>,
    socket: WebSocket,
    /// Given back at the end.
    #[allow(dead_code, reason = "held for its drop")]
    permit: OwnedSemaphorePermit,
}

/// It is gone, or does not read.
struct Gone;

impl Stream {
    async fn run(mut self) {
        // Whoever is gone needs no farewell.
        let Err(Gone) = self.talk().await;
        let frame = CloseFrame { code: close_code::AWAY, reason: Utf8Bytes::from_static("") };
        let _ = timeout(SEND_PATIENCE, self.socket.send(Message::Close(Some(frame)))).await;
    }

    async fn talk(&mut self) -> Result<std::convert::Infallible, Gone> {
        let mut changes = self.dashboard.hub.changes();
        changes.mark_changed();
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        self.greet().await?;
        loop {
            tokio::select! {
                message = self.socket.recv() => match message {
                    Some(Ok(Message::Text(text))) => self.answer(&text).await?,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Gone),
                    Some(Ok(_)) => {}
                },
                changed = changes.changed() => {
                    changed.map_err(|_| Gone)?;
                    if self.tell().await? {
                        changes.mark_changed();
                    }
                }
                _ = ping.tick() => self.send(Message::Ping(bytes::Bytes::new())).await?,
            }
        }
    }

    /// Says that it goes on where it was, if it does.
    async fn greet(&mut self) -> Result<(), Gone> {
        let hub = &self.dashboard.hub;
        if let (Some(seq), None | Some(Missed::Patches(..))) = (self.seq, hub.after(self.seq, 0)) {
            let (stream, role) = (hub.stream(), self.role);
            let told = json!({"type": "resumed", "stream": stream, "seq": seq, "role": role});
            return self.send(Message::Text(told.to_string().into())).await;
        }
        self.seq = None;
        Ok(())
    }

    /// Sends what it does not know; whether there is more.
    async fn tell(&mut self) -> Result<bool, Gone> {
        match self.dashboard.hub.after(self.seq, AT_ONCE) {
            None => return Ok(false),
            Some(Missed::Patches(patches, last)) => {
                for patch in patches {
                    self.send(Message::Text(patch)).await?;
                }
                self.seq = Some(last);
            }
            Some(Missed::State(state, seq)) => {
                let snapshot = api::snapshot("snapshot", &self.dashboard, self.role, &state, seq);
                self.send(Message::Text(snapshot.into())).await?;
                self.seq = Some(seq);
            }
        }
        Ok(true)
    }

    /// Does what it asks for.
    async fn answer(&mut self, text: &str) -> Result<(), Gone> {
        let reply = match serde_json::from_str::<Command<'_>>(text) {
            Ok(Command { id, kind, action }) => {
                let result = match kind {
                    "cost" => api::cost(&self.dashboard, action.get()),
                    "act" => api::act(&self.dashboard, self.role, action.get()),
                    _ => Err((
                        StatusCode::BAD_REQUEST,
                        format!("{kind:?} is neither \"cost\" nor \"act\""),
                    )),
                };
                let mut reply = result.unwrap_or_else(|(_, error)| json!({"error": error}));
                reply["type"] = json!("reply");
                reply["id"] = id;
                reply
            }
            Err(error) => json!({
                "type": "reply", "id": null,
                "error": format!("{error}; a command is {{\"id\": 1, \"type\": \"act\", \"action\": {{…}}}}"),
            }),
        };
        self.send(Message::Text(reply.to_string().into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match timeout(SEND_PATIENCE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}
