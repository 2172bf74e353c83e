//! The vocabulary of control: everything that can be made to happen.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan::{AcceptPlan, Acks, Chunks, ConnectPlan, Ready, Split};
use super::target::Target;
use crate::rest::NewInteraction;
use crate::rest::fault::RestFault;
use crate::wire::Cut;
use crate::world::snowflake::Snowflake;

/// Something to happen. In JSON `do` names it: `{"do": "reconnect", "target": {"shard": 0}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// A user writes a message.
    /// `{"do":"message","channel":"123","content":"!ping"}`
    Message {
        /// The channel, of a guild or direct.
        channel: Snowflake,
        /// Who writes; without it the guild's owner, or the other side of the direct channel.
        #[serde(default)]
        user: Option<Snowflake>,
        /// What.
        content: String,
    },
    /// A user writes to the bot directly. `{"do":"direct_message","content":"psst"}`
    DirectMessage {
        /// Who writes; without it the first user of the world.
        #[serde(default)]
        user: Option<Snowflake>,
        /// What.
        content: String,
    },
    /// A user invokes a command or uses a component.
    /// `{"do":"interaction","channel":"123","command":"weather"}`
    Interaction(NewInteraction),
    /// An event is dispatched as it stands. With a guild as target it goes to the sessions of that
    /// guild's shard. `{"do":"dispatch","target":{"shard":0},"t":"USER_UPDATE","d":{"id":"1"}}`
    Dispatch {
        /// The sessions.
        #[serde(default)]
        target: Target,
        /// The event's name.
        t: String,
        /// Its data.
        d: Value,
        /// Send it to sessions whose intents would not let it pass, too.
        #[serde(default)]
        ignore_intents: bool,
    },
    /// Something else than a dispatch is sent, as a payload of the connection's compression.
    /// `{"do":"send","target":"all","text":"{\"op\":99}"}`
    Send {
        /// The connections.
        #[serde(default)]
        target: Target,
        /// The payload's text: valid or not, empty or not.
        text: String,
    },
    /// A websocket message is sent past the compression.
    /// `{"do":"send_frame","target":"all","text":"not compressed"}`
    SendFrame {
        /// The connections.
        #[serde(default)]
        target: Target,
        /// A text message of this.
        #[serde(default)]
        text: Option<String>,
        /// A binary message of these bytes, in base 64.
        #[serde(default)]
        base64: Option<String>,
    },
    /// Bytes are written under the websocket, which breaks it. In base 64.
    /// `{"do":"send_bytes","target":"all","base64":"//8="}`
    SendBytes {
        /// The connections.
        #[serde(default)]
        target: Target,
        /// The bytes.
        base64: String,
    },
    /// A dispatch with so many zeros in it is sent, which compresses to next to nothing.
    /// `{"do":"bomb","target":{"shard":0},"bytes":67108864}`
    Bomb {
        /// The connections.
        #[serde(default)]
        target: Target,
        /// How large the payload gets, up to 512 MiB.
        bytes: usize,
    },
    /// Sockets are dropped. `{"do":"drop","target":"all","how":"reset"}`
    Drop {
        /// The connections.
        #[serde(default)]
        target: Target,
        /// How.
        how: Cut,
    },
    /// Connections are closed with a close frame.
    /// `{"do":"close","target":{"shard":1},"code":4000,"reason":"bye"}`
    Close {
        /// The connections.
        #[serde(default)]
        target: Target,
        /// The code; without it an empty close frame.
        #[serde(default)]
        code: Option<u16>,
        /// The reason.
        #[serde(default)]
        reason: String,
    },
    /// Op 7 is sent; some time later the connections are closed.
    /// `{"do":"reconnect","target":"all","close_after_ms":3000}`
    Reconnect {
        /// The connections.
        #[serde(default)]
        target: Target,
        /// When they are closed (with an empty frame); without it never.
        #[serde(default)]
        close_after_ms: Option<u64>,
    },
    /// Op 9 is sent; `false` also ends the sessions.
    /// `{"do":"invalid_session","target":"all","resumable":false}`
    InvalidSession {
        /// The connections.
        #[serde(default)]
        target: Target,
        /// The `d` of op 9.
        #[serde(default)]
        resumable: bool,
    },
    /// Op 1 is sent: a heartbeat is wanted now. `{"do":"request_heartbeat","target":"all"}`
    RequestHeartbeat {
        /// The connections.
        #[serde(default)]
        target: Target,
    },
    /// Heartbeats are acknowledged in another way from now on.
    /// `{"do":"acks","target":"all","acks":{"delay_ms":50000}}`
    Acks {
        /// The connections.
        #[serde(default)]
        target: Target,
        /// How.
        acks: Acks,
    },
    /// The next dispatches are sent corrupted. `{"do":"corrupt","target":"all","count":1}`
    Corrupt {
        /// The connections.
        #[serde(default)]
        target: Target,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// The next dispatch is sent in pieces. `{"do":"split","target":"all","split":{"frames":3}}`
    Split {
        /// The connections.
        #[serde(default)]
        target: Target,
        /// How.
        split: Split,
    },
    /// What is sent is slowed down. `{"do":"slow","target":"all","bytes_per_second":1000}`
    Slow {
        /// The connections.
        #[serde(default)]
        target: Target,
        /// To this rate; without it full speed again.
        #[serde(default)]
        bytes_per_second: Option<u64>,
    },
    /// Close frames of clients are no longer answered. `{"do":"ignore_close","target":"all"}`
    IgnoreClose {
        /// The connections.
        #[serde(default)]
        target: Target,
        /// Whether they are ignored.
        #[serde(default = "yes")]
        ignore: bool,
    },
    /// A plan is made for the next gateway connections.
    /// `{"do":"plan","count":3,"plan":{"handshake":{"refuse":{"status":502}}}}`
    Plan {
        /// For how many; without it for all until plans are cleared.
        #[serde(default)]
        count: Option<u64>,
        /// The plan.
        plan: ConnectPlan,
    },
    /// A plan is made for the next streams, of REST or the gateway.
    /// `{"do":"accept","count":1,"plan":"hang"}`
    Accept {
        /// For how many; without it for all until plans are cleared.
        #[serde(default)]
        count: Option<u64>,
        /// The plan.
        plan: AcceptPlan,
    },
    /// IDENTIFY and RESUME are answered at another time from now on; those that wait are told.
    /// `{"do":"ready","ready":"never"}`
    Ready {
        /// For this shard; without it for all.
        #[serde(default)]
        shard: Option<u32>,
        /// When.
        ready: Ready,
    },
    /// Dispatches are held back, while heartbeats are still acknowledged.
    /// `{"do":"stall","target":{"shard":0},"stall":true}`
    Stall {
        /// The connections.
        #[serde(default)]
        target: Target,
        /// Whether they are held back; what has gathered follows when they no longer are.
        #[serde(default = "yes")]
        stall: bool,
    },
    /// Requests for members are answered in another way from now on.
    /// `{"do":"member_chunks","chunks":"without_last"}`
    MemberChunks {
        /// How.
        chunks: Chunks,
    },
    /// REST calls go wrong.
    /// `{"do":"rest_fault","fault":{"path":"/gateway/bot","what":{"status":{"status":503}}}}`
    RestFault {
        /// Which and how.
        fault: RestFault,
    },
    /// Plans, rules and REST faults are forgotten. Open connections keep what they have.
    /// `{"do":"clear_faults"}`
    ClearFaults {
        /// Only this REST fault.
        #[serde(default)]
        rest_fault: Option<u64>,
    },
    /// Sessions end as if nobody had resumed them in time; the sockets of live ones are closed
    /// with 4009. `{"do":"expire","target":{"shard":0}}`
    Expire {
        /// The sessions.
        #[serde(default)]
        target: Target,
    },
    /// Guilds are not introduced to sessions to come. `{"do":"withhold","guilds":["123"]}`
    Withhold {
        /// The guilds.
        guilds: Vec<Snowflake>,
    },
    /// Withheld guilds are introduced after all. `{"do":"release","guilds":["123"]}`
    Release {
        /// The guilds; without any all.
        #[serde(default)]
        guilds: Vec<Snowflake>,
    },
    /// A guild fails: `GUILD_DELETE` with `unavailable`. `{"do":"guild_down","guild":"123"}`
    GuildDown {
        /// The guild.
        guild: Snowflake,
    },
    /// A guild recovers: `GUILD_CREATE`. `{"do":"guild_up","guild":"123"}`
    GuildUp {
        /// The guild.
        guild: Snowflake,
    },
    /// The bot joins a new guild. `{"do":"join_guild"}`
    JoinGuild {},
    /// The bot is removed from a guild. `{"do":"leave_guild","guild":"123"}`
    LeaveGuild {
        /// The guild.
        guild: Snowflake,
    },
    /// The rate of the world's traffic changes. `{"do":"traffic","events_per_second":50}`
    Traffic {
        /// The new rate.
        events_per_second: f64,
    },
    /// Options change: those about limits, timing, replay, REST and compression take effect for
    /// what comes after, those that make the world do not. Give only what changes.
    /// `{"do":"configure","options":{"max_concurrency":16}}`
    Configure {
        /// Fields of [`Options`](crate::Options) with their new values.
        options: serde_json::Map<String, Value>,
    },
    /// The session start limit is set. `{"do":"session_starts","remaining":3}`
    SessionStarts {
        /// How many are left.
        remaining: u32,
    },
    /// The token is reset as Discord does it: sessions end with 4004 and the old token is worth
    /// nothing. `{"do":"reset_token"}`
    ResetToken {
        /// The new token; without it there is none.
        #[serde(default)]
        token: Option<String>,
    },
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}
