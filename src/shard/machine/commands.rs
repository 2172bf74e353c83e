//! What the host wants sent.

use std::collections::VecDeque;
use std::time::Instant;

use super::Machine;
use super::input::Command;
use super::output::{Outcome, Output};
use super::phase::Phase;
use crate::shard::timers::Timer;

/// A command, and since when it is here.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) command: Command,
    pub(super) since: Instant,
}

impl Machine {
    /// The host wants something sent.
    pub(super) fn command(&mut self, command: Command, now: Instant) {
        if command.presence.is_some() {
            self.presence.clone_from(&command.presence);
            self.settle_held_presence();
        }
        if self.phase == Phase::Fatal {
            self.settle(command.id, Outcome::Fatal);
            return;
        }
        self.held.push_back(Waiting { command, since: now });
        self.send_held(now);
    }

    /// Sends what waits, as far as the limiter allows, in a session only. A presence has a limit of
    /// its own and lets others pass while it waits; there is never more than one.
    pub(super) fn send_held(&mut self, now: Instant) {
        self.timers.stop(Timer::Outbound);
        if self.phase != Phase::Ready {
            return;
        }
        let mut next = 0;
        while let Some(waiting) = self.held.get(next) {
            let is_presence = waiting.command.presence.is_some();
            let presence_at = self.limiter.next_presence_at(now);
            if is_presence && presence_at > now {
                self.timers.set(Timer::Outbound, presence_at);
                next += 1;
                continue;
            }
            if !self.limiter.try_command(now) {
                let command_at = self.limiter.next_command_at(now);
                let due = if next > 0 { presence_at.min(command_at) } else { command_at };
                self.timers.set(Timer::Outbound, due);
                return;
            }
            if is_presence {
                self.limiter.record_presence(now);
            }
            if let Some(waiting) = self.held.remove(next) {
                self.push(Output::Send(waiting.command.payload.clone()));
                self.unflushed.push_back(waiting);
            }
        }
    }

    /// Drops presence updates that wait: a newer one, or an identify, says it for them.
    pub(super) fn settle_held_presence(&mut self) {
        let is_presence = |waiting: &Waiting| waiting.command.presence.is_some();
        let (presence, other) = self.held.drain(..).partition(is_presence);
        self.held = other;
        let presence: VecDeque<Waiting> = presence;
        for waiting in presence {
            self.settle(waiting.command.id, Outcome::Sent);
        }
    }

    /// Says that a command is done.
    pub(super) fn settle(&mut self, command_id: u64, outcome: Outcome) {
        self.push(Output::Settled { command_id, outcome });
    }

    /// Says that all commands are done.
    pub(super) fn settle_all(&mut self, outcome: Outcome) {
        while let Some(waiting) = self.held.pop_front() {
            self.settle(waiting.command.id, outcome);
        }
    }
}
