//! A recording: one whole connection, encoded before anyone connects, for measurements where the
//! client's time is to count and not the server's.
//!
//! It begins with HELLO; behind it stand READY, the guilds and the numbered events, each a
//! websocket frame of its own and compressed by itself, as on any connection. What is in it depends
//! on the options that make the world and on the number of events, on no clock and no client: every
//! connection gets the same bytes. So READY names no shard, and nobody can resume. The events begin when
//! as many connections have identified as there are recommended shards, so that they meet a whole fleet.

use std::io;

use serde_json::json;
use tokio::sync::watch;

use super::compression::{Encoder, Transport};
use super::dispatch::{control_text, dispatch_text};
use super::frame;
use super::handshake::hello_d;
use crate::intents;
use crate::options::Options;
use crate::state::State;
use crate::world::guild::Viewer;
use crate::world::live::GuildLive;
use crate::world::message::{Form, Message};
use crate::world::snowflake::Generator;
use crate::world::traffic::{Happening, next_scene};

/// Heartbeats are not acknowledged: the first may come, and a second comes in a day.
const HEARTBEAT_INTERVAL_MS: u64 = 24 * 60 * 60 * 1000;

/// When the first event happened: the first moment of 2026.
const BEGIN_UNIX_MS: u64 = 1_767_225_600_000;

/// Time between two events.
const STEP_MS: u64 = 5;

/// Where READY sends those who resume. A constant, since the address is not the same every time.
const RESUME_URL: &str = "ws://127.0.0.1:7447";

/// Everyone sees everything.
const VIEWER: Viewer = Viewer { intents: intents::ALL, large_threshold: 250 };

/// The same connection for each transport.
#[derive(Debug)]
pub(crate) struct Recording {
    tracks: [Track; 3],
    /// Connections that the events wait for.
    shards: u32,
    line: watch::Sender<Line>,
}

/// The connections that wait for others.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    waiting: u32,
    /// Times that the events began.
    begun: u64,
}

/// A connection that waits for others. One that leaves is not counted any more.
struct Place<'a> {
    line: &'a watch::Sender<Line>,
    begun: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.line.send_modify(|line| line.waiting -= u32::from(line.begun == self.begun));
    }
}

impl Recording {
    /// Waits for the other connections of the fleet.
    pub(crate) async fn wait_for_others(&self) {
        let mut line = self.line.subscribe();
        let begun = line.borrow().begun;
        let _place = Place { line: &self.line, begun };
        self.line.send_modify(|line| {
            line.waiting += 1;
            if line.waiting >= self.shards {
                *line = Line { waiting: 0, begun: line.begun + 1 };
            }
        });
        // The sender is there for as long as this is.
        let _ = line.wait_for(|line| line.begun > begun).await;
    }

    /// The connection for one transport.
    pub(crate) fn track(&self, transport: Transport) -> &Track {
        &self.tracks[transport as usize]
    }
}

/// A connection, as bytes.
#[derive(Debug, Default)]
pub(crate) struct Track {
    /// What is sent at once: HELLO.
    pub(crate) hello: Vec<u8>,
    /// What is sent after IDENTIFY: READY and the guilds.
    pub(crate) intro: Vec<u8>,
    /// The events.
    pub(crate) events: Vec<u8>,
    /// Where each of them ends.
    pub(crate) ends: Vec<usize>,
    /// Payloads in all.
    pub(crate) payloads: u64,
    /// Bytes of them inside the frames.
    pub(crate) payload_bytes: u64,
}

/// A track that is being recorded.
struct Recorder {
    encoder: Encoder,
    track: Track,
}

impl Recorder {
    fn new(transport: Transport, options: &Options) -> io::Result<Self> {
        let mut recorder =
            Self { encoder: Encoder::new(transport, options)?, track: Track::default() };
        recorder.add(&control_text(10, &hello_d(&json!(HEARTBEAT_INTERVAL_MS))))?;
        let hello = std::mem::take(&mut recorder.track).events;
        recorder.track.hello = hello;
        Ok(recorder)
    }

    fn add(&mut self, payload: &str) -> io::Result<()> {
        let mut message = Vec::new();
        let code = self.encoder.encode(payload, &mut message)?;
        frame::write(&mut self.track.events, true, code, &message);
        self.track.ends.push(self.track.events.len());
        self.track.payloads += 1;
        self.track.payload_bytes += message.len() as u64;
        Ok(())
    }
}

impl State {
    /// Records a connection with so many events in this world.
    pub(crate) fn recording(&self, events: u32) -> io::Result<Recording> {
        let recorder = |transport| Recorder::new(transport, &self.options);
        let mut recorders = [
            recorder(Transport::None)?,
            recorder(Transport::ZlibStream)?,
            recorder(Transport::ZstdStream)?,
        ];
        let mut seq = 0;
        let mut add = |recorders: &mut [Recorder], t: &str, d: &str| {
            seq += 1;
            let payload = dispatch_text(t, seq, d);
            recorders.iter_mut().try_for_each(|recorder| recorder.add(&payload))
        };
        let guilds: Vec<u32> = self.guilds().collect();
        let ready = self.ready(10, "recorded".into(), RESUME_URL.into(), None, &guilds);
        add(&mut recorders, "READY", &ready)?;
        let live = GuildLive::default();
        for guild in &guilds {
            let created = self.world.guild_create(*guild, &live, VIEWER);
            add(&mut recorders, "GUILD_CREATE", &created)?;
        }
        for Recorder { track, .. } in &mut recorders {
            track.intro = std::mem::take(&mut track.events);
            track.ends.clear();
        }

        let world = &self.world;
        let mut rng = fastrand::Rng::with_seed(self.options.seed);
        let mut ids = Generator::default();
        let mut newest: Option<Message> = None;
        for number in 1..=u64::from(events) {
            let Some(scene) = next_scene(world, &guilds, &mut rng) else { break };
            let unix_ms = BEGIN_UNIX_MS + number * STEP_MS;
            let d = if scene.what == Happening::Message {
                let message = scene.message(world, number, ids.next(unix_ms), unix_ms);
                newest.insert(message).json(world, &live, Form::Event)
            } else {
                let channel = world.channel_id(scene.guild, scene.channel);
                let here = newest.as_ref().filter(|message| message.channel_id == channel);
                let reacted = here.map(|message| (message.id, message.author));
                scene.event(world, &live, number, unix_ms, reacted)
            };
            add(&mut recorders, scene.what.t(), &d)?;
        }
        let tracks = recorders.map(|recorder| recorder.track);
        let shards = self.options.recommended_shards;
        Ok(Recording { tracks, shards, line: watch::Sender::default() })
    }
}
