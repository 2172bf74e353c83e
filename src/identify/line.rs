//! The gate with a clock: one task that lets the shards of a client through.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::gate::{Claim, Gate, GateEvent, SEAT_BITS, SHARD_OF_SEAT, SessionStartLimit};

/// What `/gateway/bot` said longer ago than this is asked again when a shard gets in line: other
/// processes identify too.
const LIMIT_GOOD_FOR: Duration = Duration::from_secs(60);

/// What a shard says to the gate.
#[derive(Debug, Clone, Copy)]
enum Request {
    Enter { seat: u32, ticket: u64 },
    Arm { seat: u32, ticket: u64 },
    Leave { seat: u32 },
    Answered,
}

/// A shard's way to the gate. Requests are a few per connection attempt of each shard, so the
/// channel behind it needs no bound of its own.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    requests: mpsc::UnboundedSender<Request>,
    /// The set of shards it is for.
    set: u8,
}

impl Line {
    /// The way of another set of shards to the same gate.
    pub(crate) fn of_set(&self, set: u8) -> Self {
        Self { requests: self.requests.clone(), set }
    }

    /// What the gate takes for the shard's id.
    fn seat(&self, shard_id: u32) -> u32 {
        u32::from(self.set) << SEAT_BITS | shard_id
    }

    /// Gets in line.
    pub(crate) fn enter(&self, shard_id: u32, ticket: u64) {
        self.send(Request::Enter { seat: self.seat(shard_id), ticket });
    }

    /// Says that the turn can be used.
    pub(crate) fn arm(&self, shard_id: u32, ticket: u64) {
        self.send(Request::Arm { seat: self.seat(shard_id), ticket });
    }

    /// Leaves the line.
    pub(crate) fn leave(&self, shard_id: u32) {
        self.send(Request::Leave { seat: self.seat(shard_id) });
    }

    /// Says that an identify led to READY.
    pub(crate) fn answered(&self) {
        self.send(Request::Answered);
    }

    /// A gate that is gone means that the client stops; then nobody waits for it either.
    fn send(&self, request: Request) {
        let _ = self.requests.send(request);
    }
}

/// The set and the id of a shard that the gate speaks of.
pub(crate) fn shard_of_seat(seat: u32) -> (u8, u32) {
    ((seat >> SEAT_BITS) as u8, seat & SHARD_OF_SEAT)
}

/// What comes of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// There are no other processes, as far as the client knows.
    Alone,
    /// The shard identifies now, and the others know it. All together have used so many session starts
    /// today, the last of them without READY.
    Granted { used_today: u32, unanswered: u32 },
    /// Not before then.
    NotBefore(Instant),
    /// So many identifies of all together led to no READY: the claim asked for too short a window.
    TooHasty { unanswered: u32 },
    /// The day's session starts are used up to the reserve.
    Spent,
}

/// What Discord said of the limit, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    /// Session starts left.
    pub(crate) remaining: u32,
    /// When that was asked.
    pub(crate) at: Instant,
}

/// What the gate's task needs of its client.
pub(crate) trait Desk: Send + Sync + 'static {
    /// Asks the other processes of the bot. `said` is what Discord said of the current day, if it did.
    fn admit(&self, claim: Claim, said: Option<Said>) -> impl Future<Output = Admission> + Send;

    /// Tells a shard, or the client. An identify is granted before the shard hears of it, so that
    /// there is time to write it down.
    fn tell(&self, event: GateEvent) -> impl Future<Output = ()> + Send;

    /// An identify led to READY.
    fn answered(&self) -> impl Future<Output = ()> + Send;

    /// Sees the limit after every change.
    fn observe(&self, limit: SessionStartLimit);

    /// Asks Discord for the limit; `None` when it does not answer.
    fn ask(&self) -> impl Future<Output = Option<SessionStartLimit>> + Send;
}

/// The line before a gate, and the task that has to run for it: it ends when the last [`Line`] is
/// gone. `is_asked` says whether the gate knows what Discord says now; otherwise nobody gets through before
/// Discord was asked. `said` is the last that Discord said of this day.
pub(crate) fn open(
    mut gate: Gate,
    is_asked: bool,
    mut said: Option<Said>,
    desk: impl Desk,
) -> (Line, impl Future<Output = ()> + Send) {
    let (sender, mut requests) = mpsc::unbounded_channel();
    let task = async move {
        let mut asked_at = is_asked.then(Instant::now);
        let mut question = None;
        loop {
            if asked_at.is_none() && gate.has_line() {
                let at = Instant::now();
                asked_at = Some(at);
                if let Some(limit) = desk.ask().await {
                    said = Some(Said { remaining: limit.remaining, at });
                    gate.learn(limit);
                }
            }
            while let Some(event) = gate.poll(Instant::now().into_std()) {
                if let GateEvent::Granted { shard_id: seat, ticket } = event {
                    let now = Instant::now();
                    let claim = gate.claim(seat, now.into_std());
                    // What was said of yesterday is no news.
                    let today = said.filter(|said| said.at.elapsed() < claim.day_began_ago);
                    match desk.admit(claim, today).await {
                        Admission::Alone => {}
                        Admission::Granted { used_today, unanswered } => {
                            gate.share(used_today, unanswered);
                        }
                        Admission::NotBefore(then) => {
                            gate.defer(seat, ticket, then.into_std());
                            continue;
                        }
                        Admission::TooHasty { unanswered } => {
                            gate.defer(seat, ticket, now.into_std());
                            gate.share(0, unanswered);
                            continue;
                        }
                        Admission::Spent => {
                            gate.defer(seat, ticket, now.into_std());
                            gate.spent();
                            continue;
                        }
                    }
                }
                desk.tell(event).await;
            }
            if asked_at.is_some() {
                desk.observe(gate.limit());
            }
            let timeout = gate.poll_timeout().map(Instant::from_std);
            let is_old = asked_at.is_some_and(|at| at.elapsed() > LIMIT_GOOD_FOR);
            if is_old && gate.has_line() {
                asked_at = Some(Instant::now());
                question = Some(Box::pin(desk.ask()));
            }
            let request = tokio::select! {
                biased;
                request = requests.recv() => request,
                () = until(timeout) => continue,
                limit = answer(&mut question) => {
                    question = None;
                    if let Some(limit) = limit {
                        said = asked_at.map(|at| Said { remaining: limit.remaining, at });
                        gate.learn(limit);
                    }
                    continue;
                }
            };
            match request {
                Some(Request::Enter { seat, ticket }) => gate.enter(seat, ticket),
                Some(Request::Arm { seat, ticket }) => gate.arm(seat, ticket),
                Some(Request::Leave { seat }) => gate.leave(seat),
                Some(Request::Answered) => {
                    gate.answered();
                    desk.answered().await;
                }
                None => return,
            }
        }
    };
    (Line { requests: sender, set: 0 }, task)
}

/// The answer to a question, if one was asked.
async fn answer<T>(question: &mut Option<impl Future<Output = T> + Unpin>) -> T {
    match question {
        Some(question) => question.await,
        None => std::future::pending().await,
    }
}

/// Sleeps until then, or for ever.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
