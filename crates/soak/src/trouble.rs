//! What can go wrong in a world: on the network, at Discord, in the host and with its clock.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::shard::StopMode;
use shardwright_sim::{
    AcceptPlan, Acks, Action, ConnectPlan, Cut, EndPlan, Ending, HandshakePlan, Hello, Pace, Ready,
    RestFault, RestFaultKind, Scope, Split, Stage, Target,
};

use crate::at::At;
use crate::network::{GATEWAY_HOST, Outage, REST_HOST, RESUME_HOST};

/// The name of a dispatch without a sequence number, which a trouble sends.
pub(crate) const UNNUMBERED: &str = "UNHEARD_OF";

/// One trouble: when, for how long, and what.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts, where it does not end by itself.
    pub lasts: Option<Duration>,
    /// What it is.
    pub(crate) what: What,
}

/// What a trouble is.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// The simulator does this.
    Discord(Action),
    /// The simulator does the first, and the second at its end.
    Spell(Action, Box<Action>),
    /// The bot joins, leaves or sees failing the guild with this number of its list.
    Guild(GuildTrouble, usize),
    /// A host cannot be reached.
    Outage(&'static str, Outage),
    /// The host program looks at no events.
    HostStalls,
    /// The host program stops like this and starts anew at the end.
    HostRestarts(StopMode),
    /// The host program, which keeps its sessions, dies and starts anew at the end.
    HostDies,
    /// The host asks for so many shards.
    Reshard(u32),
    /// The host sends so many commands at once.
    Burst(u32),
    /// The host restarts one shard.
    RestartShard {
        /// Which.
        shard: u32,
        /// With its session.
        resume: bool,
    },
    /// The machine of the host stands still, or its clock jumps.
    Frozen,
}

/// What becomes of a guild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GuildTrouble {
    /// It fails, and recovers at the end.
    Fails,
    /// The bot is removed from it.
    Left,
    /// The bot joins a new one.
    Joined,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>17}  ", At(self.at))?;
        match &self.what {
            What::Discord(action) | What::Spell(action, _) => write!(f, "{}", brief(action))?,
            What::Guild(what, index) => write!(f, "guild {index}: {what:?}")?,
            What::Outage(host, how) => write!(f, "{host} is out of reach ({how:?})")?,
            What::HostStalls => write!(f, "the host looks at no events")?,
            What::HostRestarts(mode) => write!(f, "the host stops ({mode:?}) and starts anew")?,
            What::HostDies => write!(f, "the host dies and starts anew")?,
            What::Reshard(shards) => write!(f, "the host reshards to {shards}")?,
            What::Burst(count) => write!(f, "the host sends {count} commands at once")?,
            What::RestartShard { shard, resume } => {
                write!(f, "the host restarts shard {shard}, resume: {resume}")?;
            }
            What::Frozen => write!(f, "the machine stands still")?,
        }
        match self.lasts {
            Some(lasts) => write!(f, ", for {:.1} s", lasts.as_secs_f64()),
            None => Ok(()),
        }
    }
}

/// An action without what is as usual in it.
fn brief(action: &Action) -> Value {
    let mut action = json!(action);
    let plan = action.get_mut("plan").and_then(Value::as_object_mut);
    if let (Some(plan), Value::Object(usual)) = (plan, json!(ConnectPlan::default())) {
        plan.retain(|key, value| usual.get(key) != Some(value));
    }
    action
}

/// Chooses troubles.
pub(crate) struct Chooser<'a> {
    pub(crate) rng: &'a mut fastrand::Rng,
    pub(crate) shards: u32,
    /// Whether the connections are compressed.
    pub(crate) compressed: bool,
}

impl Chooser<'_> {
    /// A trouble that begins at `at`.
    pub(crate) fn choose(&mut self, at: Duration) -> Trouble {
        let seconds = |s: f64| Some(Duration::from_secs_f64(s));
        let brief = 1.0 + 60.0 * self.rng.f64();
        // Mostly short, sometimes longer than any patience of the client.
        let long = brief * if self.rng.u8(..4) == 0 { 20.0 } else { 2.0 };
        let (lasts, what) = match self.rng.u8(..100) {
            0..18 => (None, What::Discord(Action::Drop { target: self.target(), how: self.cut() })),
            18..26 => (None, What::Discord(self.close())),
            26..31 => (None, What::Discord(self.reconnect())),
            31..35 => (None, What::Discord(self.invalid_session())),
            35..37 => (None, What::Discord(Action::RequestHeartbeat { target: self.target() })),
            37..42 => (seconds(long), self.acks()),
            42..46 => (None, self.corruption()),
            46..49 => (None, What::Discord(self.nonsense())),
            49..53 => (seconds(brief), self.slow()),
            53..62 => (None, What::Discord(self.plan())),
            62..65 => (None, What::Discord(self.accept_plan())),
            65..68 => (seconds(long), self.unready()),
            68..71 => (seconds(long), self.stall()),
            71..75 => (None, What::Discord(Action::RestFault { fault: self.rest_fault() })),
            75..77 => (None, What::Discord(Action::Expire { target: self.target() })),
            77..80 => self.guild(long),
            80..87 => (seconds(long), self.outage()),
            87..90 => (seconds(long), What::HostStalls),
            90..92 => (seconds(6.0 + brief), What::HostRestarts(self.stop_mode())),
            92..95 => (None, What::Burst(self.rng.u32(1..400))),
            95..97 => {
                let shard = self.rng.u32(..self.shards);
                (None, What::RestartShard { shard, resume: self.rng.bool() })
            }
            _ => (seconds(long), What::Frozen),
        };
        Trouble { at, lasts, what }
    }

    fn target(&mut self) -> Target {
        if self.rng.u8(..4) == 0 { Target::All } else { self.one() }
    }

    fn one(&mut self) -> Target {
        Target::Shard(self.rng.u32(..self.shards))
    }

    fn cut(&mut self) -> Cut {
        [Cut::Fin, Cut::Reset, Cut::Silence][self.rng.usize(..3)]
    }

    fn stop_mode(&mut self) -> StopMode {
        [StopMode::Resumable, StopMode::Close, StopMode::Abort][self.rng.usize(..3)]
    }

    fn close(&mut self) -> Action {
        const CODES: [u16; 15] = [
            1000, 1001, 1012, 3000, 4000, 4001, 4002, 4003, 4005, 4006, 4007, 4008, 4009, 4242,
            4014,
        ];
        let index = self.rng.usize(..=CODES.len());
        let code = CODES.get(index).copied();
        // A fatal one is for one shard, so that there are others to go on.
        let target = if code == Some(4014) { self.one() } else { self.target() };
        Action::Close { target, code, reason: "trouble".to_owned() }
    }

    fn reconnect(&mut self) -> Action {
        let close_after_ms = self.rng.bool().then(|| self.rng.u64(0..10_000));
        Action::Reconnect { target: self.target(), close_after_ms }
    }

    fn invalid_session(&mut self) -> Action {
        Action::InvalidSession { target: self.target(), resumable: self.rng.bool() }
    }

    fn acks(&mut self) -> What {
        let acks = match self.rng.u8(..3) {
            0 => Acks::SwallowAll,
            1 => Acks::Swallow(self.rng.u32(1..4)),
            _ => Acks::DelayMs(self.rng.u64(1..90_000)),
        };
        let target = self.target();
        let end = Action::Acks { target: target.clone(), acks: Acks::Normal };
        What::Spell(Action::Acks { target, acks }, Box::new(end))
    }

    fn corruption(&mut self) -> What {
        let target = self.target();
        // An unreadable payload that is not compressed is lost by itself, and only by itself: there is
        // nothing to resume. See scenario 55.
        What::Discord(if self.compressed && self.rng.bool() {
            Action::Corrupt { target, count: self.rng.u32(1..3) }
        } else {
            Action::Split { target, split: Split::Frames(self.rng.usize(2..9)) }
        })
    }

    fn nonsense(&mut self) -> Action {
        const TEXTS: [&str; 9] = [
            "",
            "nonsense",
            r#"{"op":99,"d":null,"s":null,"t":null}"#,
            r#"{"op":0,"s":null,"t":"UNHEARD_OF","d":{}}"#,
            r#"{"op":11}"#,
            r#"{"op":"eleven"}"#,
            r#"{"d":{"op":9,"s":77},"op":11}"#,
            r#"{"op":10,"d":{"heartbeat_interval":1}}"#,
            "[[[[[[[[[[[[",
        ];
        Action::Send {
            target: self.target(),
            text: TEXTS[self.rng.usize(..TEXTS.len())].to_owned(),
        }
    }

    fn slow(&mut self) -> What {
        let target = self.target();
        let end = Action::Slow { target: target.clone(), bytes_per_second: None };
        What::Spell(
            Action::Slow { target, bytes_per_second: Some(self.rng.u64(500..50_000)) },
            Box::new(end),
        )
    }

    fn plan(&mut self) -> Action {
        let plan = match self.rng.u8(..9) {
            0 => ConnectPlan::refuse([429, 502, 504, 520][self.rng.usize(..4)], "<html>no</html>"),
            1 => ConnectPlan { handshake: HandshakePlan::Hang, ..ConnectPlan::default() },
            2 => {
                let hello = match self.rng.u8(..4) {
                    0 => Hello::Never,
                    1 => Hello::Interval(json!("soon")),
                    2 => Hello::Interval(json!(0)),
                    _ => Hello::D(Value::Null),
                };
                ConnectPlan { hello, ..ConnectPlan::default() }
            }
            3 => {
                let early = [json!({"op": 7, "d": null}), json!({"op": 77, "d": {}})];
                let before_hello = vec![early[self.rng.usize(..2)].clone()];
                ConnectPlan { before_hello, ..ConnectPlan::default() }
            }
            4 => {
                let ready = Ready::AfterMs(self.rng.u64(1..300_000));
                ConnectPlan { ready, ..ConnectPlan::default() }
            }
            5 => {
                let dribble = Some(Pace { bytes: self.rng.usize(1..50), gap_ms: 20 });
                ConnectPlan { dribble, ..ConnectPlan::default() }
            }
            _ => {
                let stage = match self.rng.u8(..4) {
                    0 => Stage::BeforeHello,
                    1 => Stage::AfterHello,
                    2 => Stage::OnIdentify,
                    _ => Stage::AfterDispatches(self.rng.u64(0..6)),
                };
                let how = match self.rng.u8(..3) {
                    0 => Ending::Drop(self.cut()),
                    1 => Ending::Close { code: Some(4000), reason: String::new() },
                    _ => Ending::Payload(json!({"op": 7, "d": null})),
                };
                ConnectPlan { end: Some(EndPlan { stage, how }), ..ConnectPlan::default() }
            }
        };
        Action::Plan { count: Some(self.rng.u64(1..6)), plan }
    }

    fn accept_plan(&mut self) -> Action {
        let plan = match self.rng.u8(..3) {
            0 => AcceptPlan::Hang,
            1 => AcceptPlan::Drop(self.cut()),
            _ => AcceptPlan::Pace(Pace { bytes: 100, gap_ms: self.rng.u64(1..50) }),
        };
        Action::Accept { count: Some(self.rng.u64(1..6)), plan }
    }

    fn unready(&mut self) -> What {
        let shard = self.rng.bool().then(|| self.rng.u32(..self.shards));
        let end = Action::Ready { shard, ready: Ready::AtOnce };
        What::Spell(Action::Ready { shard, ready: Ready::Never }, Box::new(end))
    }

    fn stall(&mut self) -> What {
        let target = self.target();
        let end = Action::Stall { target: target.clone(), stall: false };
        What::Spell(Action::Stall { target, stall: true }, Box::new(end))
    }

    fn rest_fault(&mut self) -> RestFault {
        let what = match self.rng.u8(..6) {
            0 => RestFaultKind::Status {
                status: [500, 502, 503][self.rng.usize(..3)],
                body: "<html>".to_owned(),
                headers: Vec::new(),
            },
            1 => RestFaultKind::RateLimit {
                scope: [Scope::User, Scope::Shared, Scope::Global][self.rng.usize(..3)],
                retry_after_ms: self.rng.u64(1..20_000),
            },
            2 => RestFaultKind::Hang,
            3 => RestFaultKind::Drop(self.cut()),
            4 => RestFaultKind::DropAfter(self.cut()),
            _ => RestFaultKind::DelayMs(self.rng.u64(1..20_000)),
        };
        RestFault { times: Some(self.rng.u32(1..8)), ..RestFault::always(what) }
    }

    fn guild(&mut self, seconds: f64) -> (Option<Duration>, What) {
        let what = [GuildTrouble::Fails, GuildTrouble::Left, GuildTrouble::Joined];
        let what = what[self.rng.usize(..3)];
        let lasts = (what == GuildTrouble::Fails).then(|| Duration::from_secs_f64(seconds));
        (lasts, What::Guild(what, self.rng.usize(..1_000)))
    }

    fn outage(&mut self) -> What {
        let host = [REST_HOST, GATEWAY_HOST, RESUME_HOST][self.rng.usize(..3)];
        let how = [Outage::Refused, Outage::Nameless, Outage::Deaf][self.rng.usize(..3)];
        What::Outage(host, how)
    }
}
