//! A fair share of all shards: taken, kept, given up and lost.
//!
//! One task asks the backplane a few times in each TTL, and has the client's life start and stop shards
//! ([`Order`]). A shard is given up in order: it stops so that its session lives on, the host gets a moment for
//! what is in the queue, the session is stored, and only then somebody else may have it. A lease that ended
//! before that is lost: the shard stops where it stands, and what the host has not got comes from whoever has
//! it next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::{Leases, ranges};
use crate::backplane::leases::{Answer, Held, Standing, Wants};
use crate::client::crew::Crew;
use crate::client::keeper::Resumed;
use crate::client::post::Post;
use crate::client::shared::{Shared, lock};
use crate::client::stage::Stage;
use crate::client::startup::Plan;
use crate::config::{Sessions, Shards};
use crate::queue::{Lease, Moment, NO_SHARD, Progress};
use crate::sessions::{FRESH, TakenFile, session_tag};
use crate::shard::driver::Mail;
use crate::shard::{GuildIndex, Session, ShardState, StopMode};

/// Who is the first of all waits for others that start at the same moment, so that nothing has to move at once.
const FIRST_WAITS: Duration = Duration::from_secs(1);

/// Time between two attempts while the backplane is away.
const RETRY: Duration = Duration::from_secs(1);

/// How long after the end of a lease of another process its shard is asked for.
const SOON_AFTER: Duration = Duration::from_millis(5);

/// Time between two looks at shards that are given up.
const STEP: Duration = Duration::from_millis(20);

/// How long a host may take with what is in the queue of a shard that is given up.
const DRAIN: Duration = Duration::from_secs(2);

/// The same when the client stops: its host may be waiting for just that.
const DRAIN_AT_END: Duration = Duration::from_millis(500);

/// Patience with a shard that does not stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The longest that is waited after a nudge, so that not all ask at the same moment.
const NUDGE_SPREAD_MS: u64 = 50;

/// What the life of the client is to do.
#[derive(Debug)]
pub(in crate::client) enum Order {
    /// Start a shard.
    Launch {
        /// Which.
        shard_id: u32,
        /// The right to run it.
        lease: Arc<Lease>,
        /// The session to go on with, and what is known of its guilds.
        known: Option<(Session, Arc<GuildIndex>)>,
    },
    /// Stop one, so that its session lives on.
    Stop {
        /// Which.
        shard_id: u32,
    },
    /// Forget one that has stopped.
    Remove {
        /// Which.
        shard_id: u32,
        /// With which token: it may run again by now.
        token: u64,
    },
}

/// What holds the leases of one client.
struct Holder {
    shared: Arc<Shared>,
    plan: Plan,
    taken: Option<TakenFile>,
    orders: mpsc::UnboundedSender<Order>,
    /// Shards that run.
    held: BTreeMap<u32, Arc<Lease>>,
    /// Those that stop.
    leaving: BTreeMap<u32, Leaving>,
    /// Sessions of shards that were lost: nobody else may have gone on with them.
    kept: BTreeMap<u32, Kept>,
    /// The host was told that the backplane is away.
    is_away: bool,
}

/// A shard that stops.
struct Leaving {
    lease: Arc<Lease>,
    since: Instant,
    /// It is somebody else's already, or may be.
    is_lost: bool,
    /// Nothing of it is handed out any more; it can be given back.
    is_closed: bool,
}

/// The session of a shard that was lost.
struct Kept {
    token: u64,
    at: Instant,
    session: Session,
    guilds: Arc<GuildIndex>,
}

impl Shared {
    /// Says that this process shares all shards, and agrees with the others on their number. `None` when that
    /// cannot be, which the host was told.
    pub(in crate::client) async fn join(&self, mut plan: Plan) -> Option<Plan> {
        let (Some(post), Some(leases)) = (&self.post, self.shared_leases()) else {
            return Some(plan);
        };
        let give_up_at = Instant::now() + leases.ttl + RETRY;
        let is_free_to_choose = self.config.shards == Shards::Lease { total: None };
        let mut told = false;
        let mut tell = |text: String| {
            if !std::mem::replace(&mut told, true) {
                warn!("{text}");
                self.say(NO_SHARD, ShardState::Idle, ShardState::Idle, text);
            }
        };
        loop {
            let ask = leases.ask(post, plan.total.get(), Vec::new(), Wants::Share { takes: false });
            match post.hold(&ask).await {
                Ok(Answer::Standing(Standing { workers, .. })) => {
                    post.nudge().await;
                    if workers <= 1 {
                        sleep(FIRST_WAITS).await;
                    }
                    return Some(plan);
                }
                Ok(Answer::OtherTotal(total)) => {
                    let total = std::num::NonZeroU32::new(total).unwrap_or(plan.total);
                    if is_free_to_choose {
                        plan.total = total;
                        continue;
                    }
                    let text = format!(
                        "the processes that share this bot's shards have {total} of them, and the \
                         configuration of this one says {}",
                        plan.total
                    );
                    if Instant::now() >= give_up_at {
                        let text = format!("{text}: stop those first, or leave out `total`");
                        self.refuse(NO_SHARD, &text, None);
                        return None;
                    }
                    tell(format!("{text}; waiting for them to end"));
                    sleep(RETRY).await;
                }
                Err(trouble) => {
                    tell(format!("{trouble}; no shard starts before it says which are free"));
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Holds a share of the shards, until the client stops.
    pub(in crate::client) async fn hold_share(
        self: Arc<Self>,
        plan: Plan,
        taken: Option<TakenFile>,
        orders: mpsc::UnboundedSender<Order>,
    ) {
        let holder = Holder {
            shared: self,
            plan,
            taken,
            orders,
            held: BTreeMap::new(),
            leaving: BTreeMap::new(),
            kept: BTreeMap::new(),
            is_away: false,
        };
        holder.run().await;
    }

    /// Does what was ordered.
    pub(in crate::client) fn obey(&self, order: Order, crew: &mut Crew) {
        let mut stage = self.stage_mut();
        let Stage::Running { fleet, .. } = &mut *stage else { return };
        match order {
            Order::Launch { shard_id, lease, known } => {
                let presence = fleet.presence();
                let member = crew.launch_leased(shard_id, lease, known, presence);
                fleet.members.insert(shard_id, member);
                self.unready_again(shard_id);
            }
            Order::Stop { shard_id } => {
                if let Some(member) = fleet.members.get_mut(&shard_id) {
                    member.leaving = true;
                }
                fleet.tell(shard_id, Mail::Stop(StopMode::Resumable));
                self.unready_again(shard_id);
            }
            Order::Remove { shard_id, token } => {
                let is_it = |lease: &Arc<Lease>| lease.token() == token;
                let lease = fleet.members.get(&shard_id).and_then(|member| member.lease.as_ref());
                if lease.is_some_and(is_it) {
                    fleet.remove(shard_id);
                    // It may have been ready a last time on its way out.
                    self.unready_again(shard_id);
                    if let Some(keeper) = &self.keeper {
                        keeper.leave(shard_id);
                    }
                }
            }
        }
        if let Some(post) = &self.post {
            post.hurry();
        }
    }

    /// The client has stopped: the host gets a moment for what is in the queue, and what it does not take
    /// then comes from whoever has the shards next.
    pub(in crate::client) async fn close_leases(&self, mode: StopMode) {
        if self.shared_leases().is_none() {
            return;
        }
        let all = || {
            let stage = self.stage();
            let members = stage.fleet().into_iter().flat_map(|fleet| fleet.members.values());
            members
                .filter_map(|it| Some((it.lease.clone()?, it.progress.clone()?)))
                .collect::<Vec<_>>()
        };
        let give_up_at = Instant::now() + DRAIN_AT_END;
        let is_settled = || all().iter().all(|(_, progress)| progress.is_settled());
        while mode == StopMode::Resumable && !is_settled() && Instant::now() < give_up_at {
            sleep(STEP).await;
        }
        // One that closes for good has no next holder: its host gets all.
        if mode != StopMode::Close {
            for (lease, progress) in all() {
                lease.end();
                progress.freeze();
            }
        }
    }
}

impl Holder {
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let (Some(post), Some(leases)) = (&shared.post, shared.shared_leases()) else { return };
        let mut connections = post.connections();
        let mut next = Instant::now();
        loop {
            if Instant::now() >= next {
                let every = leases.renew_every();
                let wait = match self.renew(post, leases).await {
                    Some(next_end) if !next_end.is_zero() => every.min(next_end + SOON_AFTER),
                    Some(_) => every,
                    None => every.min(RETRY),
                };
                next = Instant::now() + wait;
            }
            self.drop_ended();
            self.let_go(post).await;
            let now = Moment::now();
            let ends = self.held.values().map(|lease| Instant::now() + lease.time_left(now)).min();
            let step = (!self.leaving.is_empty()).then(|| Instant::now() + STEP);
            let until = [Some(next), ends, step].into_iter().flatten().min().unwrap_or(next);
            tokio::select! {
                biased;
                () = leases.nudged.notified() => {
                    let spread = Duration::from_millis(fastrand::u64(0..NUDGE_SPREAD_MS));
                    next = next.min(Instant::now() + spread);
                }
                Ok(()) = connections.changed() => {
                    next = Instant::now();
                    shared.write_sessions_anew();
                }
                () = sleep_until(until) => {}
            }
        }
    }

    /// Leases of shards that run, and of those that stop and are not lost.
    fn ours(&self) -> impl Iterator<Item = (u32, &Arc<Lease>)> {
        let held = self.held.iter().map(|(shard_id, lease)| (*shard_id, lease));
        let leaving = self.leaving.iter().filter(|(_, it)| !it.is_lost);
        held.chain(leaving.map(|(shard_id, it)| (*shard_id, &it.lease)))
    }

    /// Asks the backplane; if it answered, when the next lease of another process ends.
    async fn renew(&mut self, post: &Post, leases: &Leases) -> Option<Duration> {
        let asked_at = Moment::now();
        let known: BTreeMap<u32, Arc<Lease>> =
            self.ours().map(|(shard_id, lease)| (shard_id, Arc::clone(lease))).collect();
        let held = known.iter().map(|(&shard_id, lease)| Held { shard_id, token: lease.token() });
        let ask =
            leases.ask(post, self.plan.total.get(), held.collect(), Wants::Share { takes: true });
        let standing = match post.hold(&ask).await {
            Ok(Answer::Standing(standing)) => standing,
            Ok(Answer::OtherTotal(total)) => {
                self.refuse(total);
                return Some(Duration::ZERO);
            }
            Err(trouble) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    warn!("{trouble}; leased shards run for {} s without it", leases.ttl.as_secs());
                }
                return None;
            }
        };
        self.is_away = false;
        let mut granted = Vec::new();
        for held in &standing.held {
            match known.get(&held.shard_id).filter(|lease| lease.token() == held.token) {
                Some(lease) => lease.renew(asked_at, leases.good_for()),
                None => granted.push(*held),
            }
        }
        for (shard_id, lease) in known {
            let held = Held { shard_id, token: lease.token() };
            if !standing.held.contains(&held) {
                self.lose(shard_id, "another process has it now");
            }
        }
        let has_news = {
            let mut view = lock(&leases.view);
            let before = (view.share, view.workers);
            (view.share, view.workers) = (Some(standing.share), standing.workers);
            before != (view.share, view.workers) || !granted.is_empty()
        };
        if !granted.is_empty() {
            self.take_over(granted, asked_at, post, leases).await;
        }
        self.give_up(&standing);
        if has_news {
            self.shared.look_complete();
        }
        Some(standing.next_end)
    }

    /// Starts the shards that were granted, with the sessions that there are for them.
    async fn take_over(
        &mut self,
        granted: Vec<Held>,
        asked_at: Moment,
        post: &Post,
        leases: &Leases,
    ) {
        let Some(keeper) = &self.shared.keeper else { return };
        let tokens: Vec<(u32, u64)> = granted.iter().map(|it| (it.shard_id, it.token)).collect();
        let Some(found) = keeper.take_over(&self.plan, self.taken.as_ref(), &tokens).await else {
            // What cannot be read is for somebody who can; or for this one, a little later.
            let _ = post.release(self.plan.total.get(), &granted, false).await;
            return;
        };
        let mut resumes = 0_u32;
        for Resumed { shard_id, token, token_before, known } in found {
            let lease = Arc::new(Lease::new(token, asked_at, leases.good_for()));
            let kept = self.kept.remove(&shard_id).filter(|kept| kept.at.elapsed() < FRESH);
            // What is in the store may be older than what this process had, unless another one had it since.
            let is_newest =
                |kept: &Kept| token_before == kept.token || (token_before == 0 && known.is_none());
            let kept = kept.filter(is_newest).map(|kept| (kept.session, kept.guilds));
            let known = kept.or(known);
            resumes += u32::from(known.is_some());
            let how = if known.is_some() { "goes on with its session" } else { "begins a session" };
            let reason = format!("lease taken; {how}");
            self.shared.say(shard_id, ShardState::Idle, ShardState::Idle, reason);
            self.held.insert(shard_id, Arc::clone(&lease));
            self.leaving.remove(&shard_id);
            let _ = self.orders.send(Order::Launch { shard_id, lease, known });
        }
        let shards = ranges(granted.iter().map(|held| held.shard_id));
        info!("leases of shards {shards} taken; {resumes} go on with sessions");
    }

    /// Gives up what is too much, a part at a time.
    fn give_up(&mut self, standing: &Standing) {
        let surplus = self.held.len().saturating_sub(standing.share as usize);
        if surplus == 0 || !self.leaving.is_empty() {
            return;
        }
        let count = surplus.min((self.held.len() / 4).max(1));
        // The last ones: those that were taken first run longest.
        let shards: Vec<u32> = self.held.keys().rev().take(count).copied().collect();
        let (workers, total) = (standing.workers, self.plan.total);
        info!(
            "giving up shards {}: {workers} processes share {total}",
            ranges(shards.iter().rev().copied())
        );
        for shard_id in shards {
            let Some(lease) = self.held.remove(&shard_id) else { continue };
            let state = self.state_of(shard_id);
            let reason = format!("lease given up: {workers} processes share {total} shards now");
            self.shared.say(shard_id, state, state, reason);
            self.stop(shard_id, lease, false);
        }
    }

    /// Leases that have ended by themselves.
    fn drop_ended(&mut self) {
        let now = Moment::now();
        let ended = self.ours().filter(|(_, lease)| lease.is_over(now));
        let ended: Vec<u32> = ended.map(|(shard_id, _)| shard_id).collect();
        for shard_id in ended {
            self.lose(shard_id, "it could not be renewed in time");
        }
    }

    /// A shard is not ours any more.
    fn lose(&mut self, shard_id: u32, why: &str) {
        let (lease, was_held) = match self.held.remove(&shard_id) {
            Some(lease) => (lease, true),
            None => match self.leaving.get(&shard_id) {
                Some(leaving) if !leaving.is_lost => (Arc::clone(&leaving.lease), false),
                _ => return,
            },
        };
        lease.end();
        if let Some(leaving) = self.leaving.get_mut(&shard_id) {
            leaving.is_lost = true;
        }
        let kept = self.keep(shard_id, lease.token());
        self.kept.extend(kept.map(|kept| (shard_id, kept)));
        if !was_held {
            return;
        }
        if let Some(leases) = self.shared.shared_leases() {
            lock(&leases.view).lost += 1;
        }
        warn!(shard = shard_id, "lease lost: {why}");
        let state = self.state_of(shard_id);
        let reason = format!("lease lost: {why}; the shard stops, and whoever has it next goes on");
        self.shared.say(shard_id, state, state, reason);
        self.stop(shard_id, lease, true);
    }

    /// The session of a shard as it stands, with nothing done with any more.
    fn keep(&self, shard_id: u32, token: u64) -> Option<Kept> {
        let stage = self.shared.stage();
        let member = stage.fleet()?.members.get(&shard_id)?;
        let progress = member.progress.as_ref()?;
        progress.freeze();
        let mut session = member.status.get().session?;
        session.seq = progress.done(session_tag(&session.id), session.seq)?;
        Some(Kept { token, at: Instant::now(), session, guilds: Arc::clone(&member.guilds) })
    }

    /// Has a shard stop.
    fn stop(&mut self, shard_id: u32, lease: Arc<Lease>, is_lost: bool) {
        let leaving = Leaving { lease, since: Instant::now(), is_lost, is_closed: false };
        self.leaving.insert(shard_id, leaving);
        let _ = self.orders.send(Order::Stop { shard_id });
    }

    /// Sees those off that have stopped.
    async fn let_go(&mut self, post: &Post) {
        let mut gone = Vec::new();
        let mut closed = Vec::new();
        for (&shard_id, leaving) in &mut self.leaving {
            let (has_stopped, progress) = self.shared.standing_of(shard_id);
            let age = leaving.since.elapsed();
            if !has_stopped && age < STOP_PATIENCE {
                continue;
            }
            if leaving.is_lost {
                gone.push(shard_id);
                continue;
            }
            let is_settled = progress.as_ref().is_none_or(|progress| progress.is_settled());
            if leaving.is_closed || is_settled || age >= DRAIN {
                // From here on nothing of it is handed out, so that what is stored stays true.
                leaving.lease.end();
                if let Some(progress) = progress {
                    progress.freeze();
                }
                leaving.is_closed = true;
                closed.push(Held { shard_id, token: leaving.lease.token() });
            }
        }
        if !closed.is_empty() {
            self.shared.store_sessions().await;
            if post.release(self.plan.total.get(), &closed, false).await.is_ok() {
                post.nudge().await;
                gone.extend(closed.iter().map(|held| held.shard_id));
            }
        }
        if gone.is_empty() {
            return;
        }
        for shard_id in gone {
            let Some(leaving) = self.leaving.remove(&shard_id) else { continue };
            let token = leaving.lease.token();
            let _ = self.orders.send(Order::Remove { shard_id, token });
        }
        // There may be more to give up.
        if let Some(leases) = self.shared.shared_leases() {
            leases.nudge();
        }
    }

    /// The others have another number of shards: this process had lost all of its own before.
    fn refuse(&mut self, total: u32) {
        let shards: Vec<u32> = self.held.keys().copied().collect();
        for shard_id in shards {
            self.lose(shard_id, "the other processes share another number of shards");
        }
        let own = self.plan.total;
        let text = format!(
            "the processes that share this bot's shards have {total} of them by now, and this one has \
             {own}: start it anew"
        );
        self.shared.refuse_once(&text);
    }

    /// Where a shard stands.
    fn state_of(&self, shard_id: u32) -> ShardState {
        let stage = self.shared.stage();
        let member = stage.fleet().and_then(|fleet| fleet.members.get(&shard_id));
        member.map_or(ShardState::Idle, |member| member.status.get().state)
    }
}

impl Shared {
    /// The backplane was away, and may have forgotten everything.
    pub(super) fn write_sessions_anew(&self) {
        if let Some(keeper) = self.keeper.as_ref().filter(|_| self.sessions_are_shared()) {
            keeper.write_anew();
        }
    }

    /// Whether the backplane keeps the sessions.
    fn sessions_are_shared(&self) -> bool {
        self.config.sessions == Some(Sessions::Backplane)
    }

    /// Whether a shard has stopped, and how far the host has come with it. One that is not there yet has not.
    fn standing_of(&self, shard_id: u32) -> (bool, Option<Arc<Progress>>) {
        let stage = self.stage();
        let Some(member) = stage.fleet().and_then(|fleet| fleet.members.get(&shard_id)) else {
            return (false, None);
        };
        let has_stopped = member.leaving && member.status.get().state == ShardState::Stopped;
        (has_stopped, member.progress.clone())
    }
}
