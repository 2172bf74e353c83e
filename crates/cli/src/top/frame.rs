//! One frame of `shardwright top`: from what is known of a bot to lines of text.

use std::cmp::Reverse;

use super::line::{Line, Look, Table};
use crate::plan::thousands;
use crate::view::{Jobs, Shard, View, Worker};

/// Room for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// At least [`MIN_COLUMNS`] are used.
    pub(super) columns: usize,
    /// Nothing bounds what is printed once.
    pub(super) rows: Option<usize>,
}

/// What a narrower terminal is treated as.
const MIN_COLUMNS: usize = 20;

/// What a lower terminal is treated as.
const MIN_ROWS: usize = 10;

/// Shards of one group of the grid, with a gap after it.
const GROUP: usize = 10;

/// Up to so many shards are a table when nothing bounds it, rather than a grid.
const TABLE: usize = 32;

/// A line for each of so many shards that are not ready, below the grid, when nothing bounds it.
const TROUBLES: usize = 20;

/// One frame; lines with `\n` between them.
pub(super) fn frame(
    view: &View,
    trouble: Option<&str>,
    now_ms: i64,
    size: Size,
    has_colours: bool,
) -> String {
    let columns = size.columns.max(MIN_COLUMNS);
    let rows = size.rows.map(|rows| rows.max(MIN_ROWS));
    let shards = view.shards();
    let mut lines = head(view, &shards, now_ms);
    if let Some(trouble) = trouble {
        lines.insert(0, Line::new(Look::Bad, format!("! {trouble}")));
    }
    if !view.workers.is_empty() {
        lines.push(Line::default());
        // A third of the screen is theirs.
        lines.extend(bounded(workers(view, now_ms), rows.map(|rows| (rows / 3).max(3)), "workers"));
        lines.push(Line::default());
        let left = rows.map(|rows| rows.saturating_sub(lines.len()).max(3));
        lines.extend(shard_lines(&shards, columns, left));
    }
    lines.truncate(rows.unwrap_or(usize::MAX));
    let text: Vec<String> = lines.iter().map(|line| line.text(columns, has_colours)).collect();
    text.join("\n")
}

/// A shard, with who runs it.
type Cell<'a> = Vec<(&'a Worker, &'a Shard)>;

/// What all comes to.
fn head(view: &View, shards: &[Cell<'_>], now_ms: i64) -> Vec<Line> {
    if view.workers.is_empty() {
        let text = "No worker of this bot is there: none runs with this backplane, or none with this token.";
        return vec![Line::new(Look::Bold, text)];
    }
    let active = view.active().count();
    let standby = match view.workers.len() - active {
        0 => String::new(),
        some => format!(" and {} on standby", thousands(some as u64)),
    };
    let mut first = Line::new(
        Look::Bold,
        format!("{}{standby}, {}: ", counted(active, "worker"), counted(shards.len(), "shard")),
    );
    let mut kinds: Vec<(Kind, usize)> = Vec::new();
    for kind in shards.iter().map(|cell| Kind::of(cell)) {
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    kinds.sort_by_key(|(kind, _)| *kind);
    for (index, (kind, count)) in kinds.iter().enumerate() {
        first.push(Look::Plain, if index == 0 { "" } else { ", " });
        first.push(kind.look(), &format!("{} {}", thousands(*count as u64), kind.told()));
    }
    first.push(Look::Dim, &format!("   {} UTC", time_of_day(now_ms)));
    let total = &view.total;
    let guilds = match total.unavailable {
        0 => counted(total.guilds as usize, "guild"),
        some => {
            format!("{} ({} unavailable)", counted(total.guilds as usize, "guild"), thousands(some))
        }
    };
    let latency = view.latency_ms().map_or_else(
        || "latency not known yet".to_owned(),
        |(mean, highest)| format!("latency {mean} ms, at most {highest}"),
    );
    let second = format!(
        "{guilds}, {}; {} events/s; {latency}; {} in queues",
        counted(total.members as usize, "member"),
        rate(total.events_per_second),
        counted(view.queue_events() as usize, "event"),
    );
    let mut lines = vec![first, Line::new(Look::Plain, second)];
    if !view.jobs.is_empty() {
        lines.push(jobs(view));
    }
    lines
}

/// The queues of jobs, the fullest first.
fn jobs(view: &View) -> Line {
    let mut queues: Vec<(&String, &Jobs)> = view.jobs.iter().collect();
    queues.sort_by_key(|(name, jobs)| (Reverse(jobs.waiting), name.as_str()));
    let mut line = Line::new(Look::Plain, "jobs: ");
    for (index, (name, Jobs { waiting, running, dead })) in queues.into_iter().enumerate() {
        line.push(Look::Plain, if index == 0 { "" } else { "; " });
        line.push(
            Look::Plain,
            &format!("{name} {} waiting, {} running", thousands(*waiting), thousands(*running)),
        );
        if *dead > 0 {
            line.push(Look::Bad, &format!(", {} dead", thousands(*dead)));
        }
    }
    line
}

/// The table of workers.
fn workers(view: &View, now_ms: i64) -> Vec<Line> {
    let heads = [
        "worker",
        "host",
        ">pid",
        ">up",
        "shards",
        ">ready",
        ">guilds",
        ">events/s",
        ">latency",
        ">queue",
    ];
    let mut table = Table::new(&heads);
    for worker in &view.workers {
        let (ready, all) = (worker.ready(), worker.shards.len());
        let look = if ready == all && worker.stage == "running" { Look::Plain } else { Look::Busy };
        table.push(
            look,
            vec![
                worker.name().to_owned(),
                worker.host.clone(),
                worker.pid.to_string(),
                age(now_ms.saturating_sub(worker.started_at_ms)),
                shortened(&shards_of(worker), 24),
                format!("{ready}/{all}"),
                thousands(worker.guilds),
                rate(worker.events_per_second),
                worker.latency_ms().map_or("-".to_owned(), |(mean, _)| format!("{mean} ms")),
                thousands(worker.queue.events),
            ],
        );
    }
    table.lines()
}

/// The shards of a worker. Those of one on standby are of another number.
fn shards_of(worker: &Worker) -> String {
    let ranges = worker.ranges();
    match worker.shard_total {
        Some(total) if worker.is_standby() => format!("{ranges}/{total} standby"),
        _ => ranges,
    }
}

/// All shards: as a table where that fits, else as a grid.
fn shard_lines(shards: &[Cell<'_>], columns: usize, rows: Option<usize>) -> Vec<Line> {
    if shards.len() < rows.unwrap_or(TABLE + 1) {
        return table(shards);
    }
    let mut lines = grid(shards, columns, rows);
    let troubles: Vec<Line> =
        shards.iter().enumerate().filter_map(|(id, cell)| trouble(id, cell)).collect();
    let left = rows.map_or(TROUBLES + 1, |rows| rows.saturating_sub(lines.len() + 1));
    if !troubles.is_empty() && left > 1 {
        lines.push(Line::default());
        lines.extend(bounded(troubles, Some(left), "shards that are not ready"));
    }
    lines
}

/// A line for each shard.
fn table(shards: &[Cell<'_>]) -> Vec<Line> {
    let heads = [
        ">shard",
        "state",
        ">guilds",
        ">members",
        ">events",
        ">latency",
        ">identifies",
        ">resumes",
        ">reconnects",
        "worker",
        "last error",
    ];
    let mut table = Table::new(&heads);
    for (id, cell) in shards.iter().enumerate() {
        let kind = Kind::of(cell);
        let Some((worker, shard)) = shown(cell) else {
            let mut cells = vec![String::new(); heads.len()];
            cells[..2].clone_from_slice(&[id.to_string(), kind.told().to_owned()]);
            table.push(kind.look(), cells);
            continue;
        };
        let look = if kind == Kind::Ready { Look::Plain } else { kind.look() };
        table.push(
            look,
            vec![
                id.to_string(),
                kind.told().to_owned(),
                thousands(shard.guilds),
                thousands(shard.members),
                thousands(shard.events),
                shard.latency_ms.map_or("-".to_owned(), |ms| format!("{ms} ms")),
                thousands(shard.identifies),
                thousands(shard.resumes),
                thousands(shard.reconnects),
                worker.name().to_owned(),
                shard.last_error.clone().filter(|_| kind != Kind::Ready).unwrap_or_default(),
            ],
        );
    }
    table.lines()
}

/// One character for each shard, with the first shard of each row before it. Where there are too many rows,
/// those in which all is well are drawn together.
fn grid(shards: &[Cell<'_>], columns: usize, rows: Option<usize>) -> Vec<Line> {
    let kinds: Vec<Kind> = shards.iter().map(|cell| Kind::of(cell)).collect();
    let label = shards.len().saturating_sub(1).to_string().len();
    let groups = (columns.saturating_sub(label + 1) / (GROUP + 1)).clamp(1, 10);
    let row: Vec<(usize, &[Kind])> = kinds
        .chunks(groups * GROUP)
        .enumerate()
        .map(|(row, kinds)| (row * groups * GROUP, kinds))
        .collect();
    // The legend, and a line for what does not fit.
    let room = rows.map_or(usize::MAX, |rows| rows.saturating_sub(2).max(1));
    let is_tight = row.len() > room;
    let mut lines: Vec<Line> = Vec::new();
    let mut rest = row.as_slice();
    while let Some(&(first, kinds)) = rest.first() {
        let is_well = |kinds: &[Kind]| kinds.iter().all(|kind| *kind == Kind::Ready);
        let well = rest.iter().take_while(|(_, kinds)| is_well(kinds)).count();
        let mut line = Line::new(Look::Dim, format!("{first:>label$}"));
        if is_tight && well > 1 {
            let (last, kinds) = rest[well - 1];
            line.push(Look::Plain, &format!(" to {}: all ready", last + kinds.len() - 1));
            rest = &rest[well..];
        } else {
            for (index, kind) in kinds.iter().enumerate() {
                line.push(Look::Plain, if index % GROUP == 0 { " " } else { "" });
                line.push(kind.look(), kind.letter());
            }
            rest = &rest[1..];
        }
        lines.push(line);
    }
    let mut lines = bounded(lines, Some(room), "rows");
    let mut seen = kinds;
    seen.sort_unstable();
    seen.dedup();
    let mut legend = Line::default();
    for (index, kind) in seen.iter().enumerate() {
        legend.push(Look::Dim, if index == 0 { "" } else { "   " });
        legend.push(kind.look(), kind.letter());
        legend.push(Look::Dim, &format!(" {}", kind.told()));
    }
    lines.push(legend);
    lines
}

/// Why a shard is not ready.
fn trouble(id: usize, cell: &Cell<'_>) -> Option<Line> {
    let kind = Kind::of(cell);
    if kind == Kind::Ready {
        return None;
    }
    let (who, why) = match shown(cell) {
        Some((worker, shard)) => (format!(" in {}", worker.name()), shard.last_error.as_deref()),
        None => (String::new(), None),
    };
    let mut line = Line::new(kind.look(), format!("shard {id} {}{who}", kind.told()));
    if let Some(why) = why {
        line.push(Look::Plain, &format!(": {why}"));
    }
    Some(line)
}

/// What is shown of a shard: its newest worker's word.
fn shown<'a>(cell: &Cell<'a>) -> Option<(&'a Worker, &'a Shard)> {
    cell.iter().copied().max_by_key(|(worker, _)| worker.started_at_ms)
}

/// How a shard stands, the good ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Ready,
    Resuming,
    Identifying,
    Connecting,
    Queued,
    Idle,
    Disconnected,
    Stopped,
    Fatal,
    /// Of a later version.
    Other,
    /// More than one worker runs it.
    Twice,
    /// No worker runs it.
    Nowhere,
}

impl Kind {
    fn of(cell: &Cell<'_>) -> Self {
        match cell.as_slice() {
            [] => Self::Nowhere,
            [(_, shard)] => match shard.state.as_str() {
                "ready" => Self::Ready,
                "resuming" => Self::Resuming,
                "identifying" => Self::Identifying,
                "connecting" => Self::Connecting,
                "queued" => Self::Queued,
                "idle" => Self::Idle,
                "disconnected" => Self::Disconnected,
                "stopped" => Self::Stopped,
                "fatal" => Self::Fatal,
                _ => Self::Other,
            },
            _ => Self::Twice,
        }
    }

    /// In words.
    fn told(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Resuming => "resuming",
            Self::Identifying => "identifying",
            Self::Connecting => "connecting",
            Self::Queued => "queued",
            Self::Idle => "idle",
            Self::Disconnected => "disconnected",
            Self::Stopped => "stopped",
            Self::Fatal => "fatal",
            Self::Other => "in another state",
            Self::Twice => "in two workers",
            Self::Nowhere => "nowhere",
        }
    }

    /// In the grid.
    fn letter(self) -> &'static str {
        match self {
            Self::Ready => ".",
            Self::Resuming => "r",
            Self::Identifying => "i",
            Self::Connecting => "c",
            Self::Queued => "q",
            Self::Idle => "_",
            Self::Disconnected => "D",
            Self::Stopped => "S",
            Self::Fatal => "F",
            Self::Other => "?",
            Self::Twice => "2",
            Self::Nowhere => "-",
        }
    }

    fn look(self) -> Look {
        match self {
            Self::Ready => Look::Good,
            Self::Resuming | Self::Identifying | Self::Connecting | Self::Queued | Self::Idle => {
                Look::Busy
            }
            Self::Disconnected
            | Self::Stopped
            | Self::Fatal
            | Self::Other
            | Self::Twice
            | Self::Nowhere => Look::Bad,
        }
    }
}

/// As many lines as there is room for, the last of which says how many are not there.
fn bounded(mut lines: Vec<Line>, room: Option<usize>, what: &str) -> Vec<Line> {
    if let Some(room) = room.filter(|room| lines.len() > *room) {
        let more = lines.len() - room.saturating_sub(1);
        lines.truncate(room.saturating_sub(1));
        lines.push(Line::new(Look::Dim, format!("… and {more} more {what}")));
    }
    lines
}

/// A number and what is counted.
fn counted(number: usize, what: &str) -> String {
    format!("{} {what}{}", thousands(number as u64), if number == 1 { "" } else { "s" })
}

/// Events per second.
#[allow(clippy::cast_sign_loss, reason = "a rate is none below 0")]
fn rate(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { thousands(rate.max(0.0).round() as u64) }
}

/// A text of at most so many characters.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// How long something has been there.
fn age(ms: i64) -> String {
    match ms.max(0) / 1_000 {
        s if s < 120 => format!("{s} s"),
        s if s < 2 * 60 * 60 => format!("{} min", s / 60),
        s if s < 2 * 24 * 60 * 60 => format!("{} h", s / 60 / 60),
        s => format!("{} d", s / 60 / 60 / 24),
    }
}

fn time_of_day(ms: i64) -> String {
    let s = ms.div_euclid(1_000).rem_euclid(24 * 60 * 60);
    format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What the moments of these frames are.
    const NOW_MS: i64 = 1_790_000_000_000;

    /// A worker with these shards, of which some are in another state than ready.
    fn worker(name: &str, shards: std::ops::Range<u32>, other: &[(u32, &str)]) -> Value {
        let shard = |id: u32| {
            let state = other.iter().find(|(of, _)| *of == id).map_or("ready", |(_, state)| state);
            let error = (state != "ready").then_some("closed with 4009 (session timed out)");
            json!({
                "shard": id, "state": state, "guilds": 1_000, "members": 50_000, "latency_ms": 40 + id % 3,
                "events": 12_345, "identifies": 0, "resumes": 1, "reconnects": 0, "last_error": error,
            })
        };
        let count = u64::from(shards.end - shards.start);
        json!({
            "worker": "9f86d081884c7d65", "name": name, "host": "host-1", "pid": 4_711, "version": "0.1.0",
            "started_at_ms": NOW_MS - 7_200_000, "stage": "running", "shard_total": null, "topics": [], "states": {},
            "shards": shards.map(shard).collect::<Vec<_>>(), "queue": {"events": 3, "taken": 9},
            "guilds": 1_000 * count, "unavailable": 0, "members": 50_000 * count, "events_per_second": 77.25,
        })
    }

    fn bot(shard_total: u32, workers: &[Value]) -> View {
        let sum = |key: &str| workers.iter().filter_map(|worker| worker[key].as_u64()).sum::<u64>();
        let total = json!({
            "workers": workers.len(), "shards": 0, "shard_total": shard_total, "states": {},
            "guilds": sum("guilds"), "unavailable": 2, "members": sum("members"),
            "events_per_second": 77.25 * workers.len() as f64,
        });
        let stats = json!({"total": total, "workers": workers});
        View::read(&stats.to_string()).expect("a view")
    }

    fn drawn(view: &View, columns: usize, rows: Option<usize>) -> String {
        frame(view, None, NOW_MS, Size { columns, rows }, false)
    }

    #[test]
    fn one_shard_is_a_table() {
        let view = bot(1, &[worker("bot-0", 0..1, &[])]);
        let expected = "\
1 worker, 1 shard: 1 ready   14:13:20 UTC
1,000 guilds (2 unavailable), 50,000 members; 77.2 events/s; latency 40 ms, at most 40; 3 events in queues

worker  host     pid   up  shards  ready  guilds  events/s  latency  queue
bot-0   host-1  4711  2 h  0         1/1   1,000      77.2    40 ms      3

shard  state  guilds  members  events  latency  identifies  resumes  reconnects  worker  last error
    0  ready   1,000   50,000  12,345    40 ms           0        1           0  bot-0";
        assert_eq!(drawn(&view, 120, None), expected);
        assert_eq!(drawn(&view, 120, Some(24)), expected);
    }

    #[test]
    fn who_waits_to_take_over_is_shown_and_not_counted() {
        let mut standby = worker("bot-0", 0..2, &[]);
        standby["stage"] = json!("standby");
        standby["shard_total"] = json!(2);
        let text = drawn(&bot(1, &[worker("bot-0", 0..1, &[]), standby]), 120, None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "1 worker and 1 on standby, 1 shard: 1 ready   14:13:20 UTC");
        let rows: Vec<&str> = lines.iter().filter(|it| it.starts_with("bot-0")).copied().collect();
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().any(|row| row.contains("0-1/2 standby")), "{text}");
        assert_eq!(lines.last().map(|row| row.trim_start().starts_with("0  ready")), Some(true));
    }

    #[test]
    fn many_shards_are_a_grid() {
        let others = [(33, "queued"), (34, "resuming"), (79, "fatal")];
        let workers = vec![worker("bot-1", 40..80, &others), worker("bot-0", 0..41, &others)];
        let text = drawn(&bot(84, &workers), 120, None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "2 workers, 84 shards: 76 ready, 1 resuming, 1 queued, 1 fatal, 1 in two workers, 4 nowhere   14:13:20 UTC"
        );
        assert_eq!(
            lines[4],
            "bot-0   host-1  4711  2 h  0-40    39/41  41,000      77.2    40 ms      3"
        );
        assert_eq!(
            lines[7..],
            [
                " 0 .......... .......... .......... ...qr..... 2......... .......... .......... .........F ----",
                ". ready   r resuming   q queued   F fatal   2 in two workers   - nowhere",
                "",
                "shard 33 queued in bot-0: closed with 4009 (session timed out)",
                "shard 34 resuming in bot-0: closed with 4009 (session timed out)",
                "shard 40 in two workers in bot-1",
                "shard 79 fatal in bot-1: closed with 4009 (session timed out)",
                "shard 80 nowhere",
                "shard 81 nowhere",
                "shard 82 nowhere",
                "shard 83 nowhere",
            ]
        );
    }

    #[test]
    fn two_thousand_shards_fit_on_a_small_screen() {
        let other = [(1_111, "disconnected")];
        let workers: Vec<Value> =
            (0..20).map(|n| worker(&format!("bot-{n}"), 100 * n..100 * (n + 1), &other)).collect();
        let view = bot(2_000, &workers);
        let text = drawn(&view, 80, Some(24));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() <= 24 && lines.iter().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(
            lines[0],
            "20 workers, 2,000 shards: 1,999 ready, 1 disconnected   14:13:20 UTC"
        );
        assert_eq!(
            lines[10..],
            [
                "… and 14 more workers",
                "",
                "   0 to 1079: all ready",
                "1080 .......... .......... .......... .D........ .......... ..........",
                "1140 to 1999: all ready",
                ". ready   D disconnected",
                "",
                "shard 1111 disconnected in bot-11: closed with 4009 (session timed out)",
            ]
        );
        // With room, every shard is there.
        let text = drawn(&view, 80, Some(100));
        assert_eq!(text.lines().filter(|line| line.contains("..........")).count(), 34, "{text}");
    }

    #[test]
    fn every_size_has_a_frame() {
        let other = [(3, "queued"), (7, "fatal")];
        for shards in [1, 9, 100, 2_000] {
            let view = bot(shards + 1, &[worker("bot-\u{7}", 0..shards, &other)]);
            for (columns, rows) in [(0, 0), (1, 1), (20, 10), (37, 11), (80, 24), (300, 100)] {
                let text =
                    frame(&view, Some("away"), NOW_MS, Size { columns, rows: Some(rows) }, false);
                let lines: Vec<&str> = text.lines().collect();
                assert!(
                    lines.len() <= rows.max(MIN_ROWS),
                    "{shards} shards, {columns}x{rows}: {text}"
                );
                let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
                assert!(
                    widest <= columns.max(MIN_COLUMNS),
                    "{shards} shards, {columns}x{rows}: {text}"
                );
                assert_eq!(lines[0], "! away");
                assert!(!text.contains('\u{7}'));
            }
        }
    }

    #[test]
    fn jobs_are_there_with_the_fullest_queue_first() {
        let mut view = bot(1, &[worker("bot-0", 0..1, &[])]);
        let jobs = |waiting, dead| Jobs { waiting, running: 4, dead };
        view.jobs = [("mail", jobs(12, 0)), ("pictures", jobs(3_000, 1))]
            .map(|(name, jobs)| (name.to_owned(), jobs))
            .into();
        let text = drawn(&view, 120, None);
        let line = text.lines().nth(2);
        assert_eq!(
            line,
            Some("jobs: pictures 3,000 waiting, 4 running, 1 dead; mail 12 waiting, 4 running"),
            "{text}"
        );
    }

    #[test]
    fn colours_add_nothing() {
        let view = bot(84, &[worker("bot-0", 0..84, &[(3, "fatal")])]);
        let size = Size { columns: 100, rows: Some(30) };
        let coloured = frame(&view, None, NOW_MS, size, true);
        assert!(coloured.contains("\x1b[1;31mF\x1b[0m"), "{coloured:?}");
        let plain = console::strip_ansi_codes(&coloured);
        let plain: Vec<&str> = plain.lines().map(str::trim_end).collect();
        assert_eq!(plain.join("\n"), frame(&view, None, NOW_MS, size, false));
    }

    #[test]
    fn a_bot_without_workers_is_told_so() {
        let text = drawn(&bot(0, &[]), 120, Some(24));
        assert!(
            text.starts_with("No worker of this bot is there") && text.lines().count() == 1,
            "{text}"
        );
    }
}
