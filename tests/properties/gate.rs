//! The identify gate with any fleet before it.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use shardwright::identify::{Gate, GateEvent, SessionStartLimit};

/// Discord's window: one identify per bucket.
const WINDOW: Duration = Duration::from_secs(5);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Shards of these fleets.
const SHARDS: u32 = 12;

#[derive(Debug, Clone)]
enum Step {
    Enter(u32),
    /// The place in line may be an old one.
    Arm {
        shard_id: u32,
        behind: u64,
    },
    Leave(u32),
    Answered,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let shard = 0..SHARDS;
    prop_oneof![
        3 => shard.clone().prop_map(Step::Enter),
        4 => (shard.clone(), prop_oneof![9 => Just(0_u64), 1 => 1..3_u64])
            .prop_map(|(shard_id, behind)| Step::Arm { shard_id, behind }),
        1 => shard.prop_map(Step::Leave),
        2 => Just(Step::Answered),
        3 => (0..8_000_u64).prop_map(Step::Wait),
    ]
}

/// What everybody may rely on.
struct Fleet {
    gate: Gate,
    now: Instant,
    max_concurrency: u32,
    reserve: u32,
    /// Session starts left, by our own count.
    left: u32,
    resets_at: Instant,
    /// Who stands in line, in order: shard, ticket, armed, told.
    line: Vec<(u32, u64, bool, bool)>,
    tickets: HashMap<u32, u64>,
    /// When each bucket last identified.
    last: HashMap<u32, Instant>,
}

impl Fleet {
    fn new(max_concurrency: u32, remaining: u32, reserve: u32) -> Self {
        let now = Instant::now();
        let limit = SessionStartLimit {
            total: 1_000,
            remaining,
            resets_at: now + DAY,
            max_concurrency: NonZeroU32::new(max_concurrency).expect("not zero"),
        };
        Self {
            gate: Gate::new(limit, reserve),
            now,
            max_concurrency,
            reserve,
            left: remaining,
            resets_at: now + DAY,
            line: Vec::new(),
            tickets: HashMap::new(),
            last: HashMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Enter(shard_id) => {
                let ticket = self.tickets.entry(shard_id).or_insert(10);
                *ticket += 1;
                let ticket = *ticket;
                self.line.retain(|(id, ..)| *id != shard_id);
                self.line.push((shard_id, ticket, false, false));
                self.gate.enter(shard_id, ticket);
            }
            Step::Arm { shard_id, behind } => {
                let ticket = self.tickets.get(&shard_id).copied().unwrap_or(10) - behind;
                for (id, its, armed, _) in &mut self.line {
                    *armed |= (*id, *its) == (shard_id, ticket);
                }
                self.gate.arm(shard_id, ticket);
            }
            Step::Leave(shard_id) => {
                self.line.retain(|(id, ..)| *id != shard_id);
                self.gate.leave(shard_id);
            }
            Step::Answered => self.gate.answered(),
            Step::Wait(ms) => self.now += Duration::from_millis(ms),
        }
        self.poll();
    }

    /// Hears all the gate has to say.
    fn poll(&mut self) {
        if self.now >= self.resets_at {
            (self.left, self.resets_at) = (1_000, self.now + DAY);
        }
        let mut said = 0;
        while let Some(event) = self.gate.poll(self.now) {
            said += 1;
            assert!(said <= 3 * SHARDS, "it never falls silent");
            match event {
                GateEvent::Near { shard_id, ticket } => {
                    let place = self.place(shard_id, ticket);
                    assert!(!std::mem::replace(&mut self.line[place].3, true), "told twice");
                    let ahead = self.bucket_of(shard_id).filter(|(at, _)| *at < place).count();
                    assert!(ahead < 2, "{ahead} stand before a shard whose turn is near");
                }
                GateEvent::Granted { shard_id, ticket } => self.granted(shard_id, ticket),
                GateEvent::Slowed { window, .. } => assert!(window > WINDOW),
                GateEvent::Exhausted { remaining, until } => {
                    assert!(self.left <= self.reserve && !self.line.is_empty());
                    assert_eq!((remaining, until), (self.left, self.resets_at));
                }
            }
        }
        assert_eq!(self.gate.limit().remaining, self.left);
        let due = self.gate.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now), "a timeout that is over");
        let waits = |armed: bool| self.line.iter().any(|(_, _, is_armed, _)| *is_armed || !armed);
        assert_eq!(due.is_some(), waits(self.left > self.reserve), "somebody waits for it");
    }

    fn granted(&mut self, shard_id: u32, ticket: u64) {
        let place = self.place(shard_id, ticket);
        assert!(self.line[place].2, "granted before it could identify");
        let is_first = self.bucket_of(shard_id).find(|(_, armed)| *armed).map(|(at, _)| at);
        assert_eq!(is_first, Some(place), "somebody who could identify stood before it");
        let before = self.last.insert(shard_id % self.max_concurrency, self.now);
        assert!(before.is_none_or(|at| self.now - at >= WINDOW), "two identifies in a window");
        assert!(self.left > self.reserve, "the reserve was touched");
        self.left -= 1;
        self.line.remove(place);
    }

    /// Where a shard stands in the whole line.
    fn place(&self, shard_id: u32, ticket: u64) -> usize {
        let mut line = self.line.iter();
        let place = line.position(|(id, its, ..)| (*id, *its) == (shard_id, ticket));
        place.expect("it stands in line with this ticket")
    }

    /// Places of a shard's bucket, and whether each can identify.
    fn bucket_of(&self, shard_id: u32) -> impl Iterator<Item = (usize, bool)> {
        let key = shard_id % self.max_concurrency;
        let line = self.line.iter().enumerate();
        let in_bucket = line.filter(move |(_, (id, ..))| id % self.max_concurrency == key);
        in_bucket.map(|(at, (_, _, armed, _))| (at, *armed))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Scenarios 21, 27 and 29: one identify per bucket and window, in order, with the right ticket,
    /// within the budget; and nobody is forgotten.
    #[test]
    fn the_gate_keeps_its_rules(
        max_concurrency in prop_oneof![Just(1_u32), 1..17_u32],
        remaining in prop_oneof![4 => 0..12_u32, 1 => Just(1_000_u32)],
        reserve in 0..4_u32,
        steps in vec(step(), 0..150),
    ) {
        let mut fleet = Fleet::new(max_concurrency, remaining, reserve);
        for step in &steps {
            fleet.step(step);
        }
        for shard_id in 0..SHARDS {
            fleet.step(&Step::Arm { shard_id, behind: 0 });
        }
        while let Some(due) = fleet.gate.poll_timeout() {
            fleet.now = due;
            fleet.poll();
        }
        prop_assert!(fleet.line.is_empty(), "forgotten: {:?}", fleet.line);
    }
}
