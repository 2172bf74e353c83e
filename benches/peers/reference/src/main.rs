//! The reference: the least that a gateway client can do for an event. It reads the websocket,
//! inflates, and finds `t`, `s` and `op` in the first bytes. No session, no heartbeat, no hand-over.

use std::hint::black_box;

use anyhow::{Context, bail};
use flate2::{Decompress, FlushDecompress};
use futures_util::{SinkExt, StreamExt};
use shardwright_bench_meter::{Meter, variable};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use zstd_safe::{DCtx, InBuffer, OutBuffer};

enum Inflate {
    None,
    Zlib(Decompress),
    Zstd(DCtx<'static>),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut meter = Meter::new("reference loop")?;
    let compression = variable("BENCH_COMPRESSION")?;
    let (mut inflate, parameter) = match compression.as_str() {
        "none" => (Inflate::None, ""),
        "zlib" => (Inflate::Zlib(Decompress::new(true)), "&compress=zlib-stream"),
        "zstd" => (Inflate::Zstd(DCtx::create()), "&compress=zstd-stream"),
        other => bail!("unknown compression {other}"),
    };
    let gateway = variable("SIMULATOR_GATEWAY_URL")?;
    let (mut socket, _) =
        connect_async(format!("{gateway}/?v=10&encoding=json{parameter}")).await?;
    let token = variable("DISCORD_TOKEN")?;
    let identify =
        format!(r#"{{"op":2,"d":{{"token":"{token}","intents":{INTENTS},"properties":{{}}}}}}"#);
    socket.send(Message::text(identify)).await?;

    let mut inflated = Vec::with_capacity(1 << 20);
    while let Some(message) = socket.next().await {
        let message = message?.into_data();
        let payload = match &mut inflate {
            Inflate::None => &message[..],
            Inflate::Zlib(context) => inflate_zlib(context, &message, &mut inflated)?,
            Inflate::Zstd(context) => inflate_zstd(context, &message, &mut inflated)?,
        };
        if let Some((t, s, op)) = scan(payload) {
            black_box((s, op));
            meter.dispatch(t);
        }
    }
    bail!("the connection ended too early")
}

/// Every intent that there is for guilds and direct messages.
const INTENTS: u32 = (1 << 17) - 1;

fn inflate_zlib<'a>(
    context: &mut Decompress,
    mut message: &[u8],
    out: &'a mut Vec<u8>,
) -> anyhow::Result<&'a [u8]> {
    out.clear();
    loop {
        let before = context.total_in();
        context.decompress_vec(message, out, FlushDecompress::Sync)?;
        message = &message[(context.total_in() - before) as usize..];
        if message.is_empty() && out.len() < out.capacity() {
            return Ok(out);
        }
        out.reserve(out.len().max(1 << 16));
    }
}

fn inflate_zstd<'a>(
    context: &mut DCtx<'_>,
    message: &[u8],
    out: &'a mut Vec<u8>,
) -> anyhow::Result<&'a [u8]> {
    out.clear();
    let mut input = InBuffer::around(message);
    loop {
        let end = out.len();
        context
            .decompress_stream(&mut OutBuffer::around_pos(out, end), &mut input)
            .map_err(zstd_safe::get_error_name)
            .map_err(anyhow::Error::msg)
            .context("zstd")?;
        if input.pos() == message.len() && out.len() < out.capacity() {
            return Ok(out);
        }
        out.reserve(out.len().max(1 << 16));
    }
}

/// `t`, `s` and `op` of a dispatch, where the keys stand as Discord writes them.
fn scan(payload: &[u8]) -> Option<(&[u8], u64, u8)> {
    let rest = payload.strip_prefix(b"{\"t\":\"")?;
    let t = &rest[..rest.iter().position(|byte| *byte == b'"')?];
    let mut rest = rest[t.len()..].strip_prefix(b"\",\"s\":")?;
    let mut s = 0;
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        s = s * 10 + u64::from(digit - b'0');
        rest = after;
    }
    let [op, ..] = rest.strip_prefix(b",\"op\":")? else { return None };
    Some((t, s, op - b'0'))
}
