//! What a client needed for the events of a recording, measured by itself: processor time of the whole
//! process and time on the wall, from the first event to the last, and the peak of its memory. With
//! `BENCH_TIMES` it writes there when it got each of them, in nanoseconds since 1970.

use std::time::{Instant, SystemTime};
use std::{env, fs, process};

use anyhow::Context;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Counts events, and ends the process with a line of JSON at the last.
pub struct Meter {
    client: &'static str,
    events: u64,
    left: u64,
    began: Option<(f64, Instant)>,
    times: Option<Vec<u128>>,
}

impl Meter {
    /// A meter for as many events as the environment says.
    pub fn new(client: &'static str) -> anyhow::Result<Self> {
        let events = variable("BENCH_EVENTS")?.parse()?;
        let times = env::var_os("BENCH_TIMES").map(|_| Vec::with_capacity(events as usize));
        Ok(Self { client, events, left: events, began: None, times })
    }

    /// To be called for every dispatch.
    pub fn dispatch(&mut self, t: &[u8]) {
        if t != b"READY" && t != b"GUILD_CREATE" {
            self.event();
        }
    }

    /// To be called for every numbered event.
    pub fn event(&mut self) {
        if self.began.is_none() {
            self.began = Some((cpu_s(), Instant::now()));
        }
        if let Some(times) = &mut self.times {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            times.push(since.map_or(0, |since| since.as_nanos()));
        }
        self.left -= 1;
        if self.left == 0 {
            self.finish();
        }
    }

    fn finish(&self) -> ! {
        let (Some((cpu, wall)), client, events) = (self.began, self.client, self.events) else {
            process::exit(1)
        };
        println!(
            "{{\"client\":\"{client}\",\"events\":{events},\"cpu_s\":{:.6},\"wall_s\":{:.6},\"peak_kib\":{}}}",
            cpu_s() - cpu,
            wall.elapsed().as_secs_f64(),
            peak_kib()
        );
        if let (Some(times), Some(path)) = (&self.times, env::var_os("BENCH_TIMES")) {
            let text: String = times.iter().map(|at| format!("{at}\n")).collect();
            fs::write(path, text).expect("a file that can be written");
        }
        process::exit(0)
    }
}

/// A variable of the environment, which benches/bench.py sets.
pub fn variable(name: &str) -> anyhow::Result<String> {
    env::var(name).with_context(|| format!("{name} is not set"))
}

fn cpu_s() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own");
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    micros as f64 / 1e6
}

/// Not from getrusage: there it begins with the memory of whoever started the process.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}
