//! The way from HTTP to a websocket.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::{Response, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::StatusCode;

use super::BoxedIo;

/// The longest head of an answer.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Asks for a websocket; gives back what the server sent behind its answer.
///
/// # Errors
/// What failed, for people. Never the server's body: it may be a megabyte of HTML.
pub(super) async fn upgrade(stream: &mut BoxedIo, url: &str) -> Result<Vec<u8>, String> {
    let request = url.into_client_request().map_err(|error| error.to_string())?;
    let (request, key) = generate_request(request).map_err(|error| error.to_string())?;
    let failed = |error: &dyn std::fmt::Display| format!("the websocket upgrade failed: {error}");
    stream.write_all(&request).await.map_err(|error| failed(&error))?;
    stream.flush().await.map_err(|error| failed(&error))?;
    let mut bytes = Vec::with_capacity(1 << 10);
    let (head_len, response) = loop {
        if stream.read_buf(&mut bytes).await.map_err(|error| failed(&error))? == 0 {
            return Err(failed(&"the server closed the connection"));
        }
        if let Some(found) = Response::try_parse(&bytes).map_err(|error| failed(&error))? {
            break found;
        }
        if bytes.len() > MAX_HEAD_BYTES {
            return Err(failed(&format!(
                "an answer with a head of more than {MAX_HEAD_BYTES} bytes"
            )));
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        return Err(format!("the gateway answered the websocket upgrade with HTTP {status}"));
    }
    let accept = response.headers().get("sec-websocket-accept");
    if accept.is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes())
    {
        return Err(failed(&"the server did not accept it as a websocket"));
    }
    bytes.drain(..head_len);
    Ok(bytes)
}
