//! Real C programs against the simulator: plain, under ASan and UBSan, and under valgrind.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use shardwright_sim::{
    Cut, Options, RestRecord, Rule, Seen, Server, Simulator, Target, ViolationRecord,
};
use tokio::time::timeout;

use crate::build::{compile, library_dir, run};

/// Patience with a host, which may be slow under valgrind.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a C program is run.
#[derive(Debug, Clone, Copy)]
enum Watch {
    Plain,
    Sanitizers,
    Valgrind,
}

impl Watch {
    /// Builds a program for this way to run.
    fn build(self, source: &str, name: &str) -> PathBuf {
        let flags: &[&str] = match self {
            Self::Plain | Self::Valgrind => &["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O1"],
            Self::Sanitizers => &[
                "-std=c11",
                "-D_POSIX_C_SOURCE=200809L",
                "-O1",
                "-fsanitize=address,undefined",
                "-fno-sanitize-recover=all",
            ],
        };
        compile("gcc", source, &format!("{name}-{self:?}"), flags)
    }

    /// The command that runs it.
    fn command(self, program: &Path) -> Command {
        if !matches!(self, Self::Valgrind) {
            let mut command = Command::new(program);
            command.env("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0");
            return command;
        }
        let mut command = Command::new("valgrind");
        command.args([
            "--quiet",
            "--error-exitcode=99",
            "--leak-check=full",
            "--show-leak-kinds=definite",
            "--child-silent-after-fork=yes",
        ]);
        command.env("VALGRIND_OPTS", "--errors-for-leak-kinds=definite").arg(program);
        command
    }
}

/// A simulated Discord with four shards that start together, and the runtime it lives in.
struct World {
    runtime: tokio::runtime::Runtime,
    simulator: Simulator,
    server: Server,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let simulator = Simulator::new(Options {
            guilds: 8,
            members_per_guild: 10,
            recommended_shards: 4,
            max_concurrency: 4,
            identify_window_ms: 0,
            session_starts: shardwright_sim::SessionStarts { total: 100_000, ..Default::default() },
            heartbeat_interval_ms: 5_000,
            ..Options::default()
        })
        .expect("sensible options");
        let server = runtime.block_on(simulator.bind()).expect("a free port");
        Self { runtime, simulator, server }
    }

    /// Waits until the simulator has seen this.
    fn wait_until(&self, reached: impl FnMut(&Seen) -> bool) {
        let wait = async { timeout(PATIENCE, self.simulator.wait_until(reached)).await };
        self.runtime.block_on(wait).expect("the host does its part");
    }

    /// Points a host at it.
    fn host(&self, command: &mut Command) {
        command.env("DISCORD_TOKEN", self.simulator.options().token);
        command.env("SHARDWRIGHT_API_URL", self.server.api_url());
        command.env_remove("SHARDWRIGHT_SHARDS");
    }
}

/// Whether this is a program of this directory that is built once for all its cases.
fn abuse(watch: Watch) -> &'static Path {
    static PROGRAMS: [OnceLock<PathBuf>; 3] = [const { OnceLock::new() }; 3];
    PROGRAMS[watch as usize].get_or_init(|| watch.build("tests/abi/abuse.c", "abuse"))
}

/// Runs one case of `abuse.c`.
fn run_case(case: &str, watch: Watch) {
    let world = World::new();
    let mut command = watch.command(abuse(watch));
    world.host(command.arg(case));
    if case == "forked" {
        // What only the stacks of the parent's threads hold is lost to the child, which has none of them.
        command.env("VALGRIND_OPTS", "--errors-for-leak-kinds=none");
        for (variable, name) in
            [("SHARDWRIGHT_SESSIONS", "sessions"), ("SHARDWRIGHT_STORE", "store")]
        {
            let file = abuse(watch).with_extension(name);
            let _ = std::fs::remove_file(&file);
            command.env(variable, format!("sqlite:{}", file.display()));
        }
    }
    run(&mut command);
}

macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        $(mod $case {
            use super::{Watch, run_case};

            #[test]
            fn plain() {
                run_case(stringify!($case), Watch::Plain);
            }

            #[test]
            fn sanitizers() {
                run_case(stringify!($case), Watch::Sanitizers);
            }

            #[test]
            fn valgrind() {
                run_case(stringify!($case), Watch::Valgrind);
            }
        })*
    };
}

cases!(
    arguments, handles, order, events, threads, wake, signals, logs, churn, two, vanished, stress,
);

/// Too many for the tools that look at each of them; `churn` is for those.
#[test]
fn a_hundred_thousand_clients_leave_nothing() {
    run_case("cycles", Watch::Plain);
}

/// Runs one of the other C files of this directory.
fn run_program(name: &str, watch: Watch, arguments: &[&Path]) {
    let world = World::new();
    let program = watch.build(&format!("tests/abi/{name}.c"), name);
    let mut command = watch.command(&program);
    world.host(command.args(arguments));
    run(&mut command);
}

/// The library stays when a host closes it while its threads run.
#[test]
fn the_library_may_be_closed_too_early() {
    let library = library_dir().join("libshardwright.so");
    run_program("dlclose", Watch::Plain, &[&library]);
    run_program("dlclose", Watch::Valgrind, &[&library]);
}

/// A panic inside is a status, or a shard that starts anew.
#[test]
fn panics_stay_inside() {
    for watch in [Watch::Plain, Watch::Sanitizers, Watch::Valgrind] {
        run_program("panics", watch, &[]);
    }
}

/// Not under ASan: a child inherits the locks of its allocator as other threads held them.
mod forked {
    use super::{Watch, run_case};

    #[test]
    fn plain() {
        run_case("forked", Watch::Plain);
    }

    #[test]
    fn valgrind() {
        run_case("forked", Watch::Valgrind);
    }
}

/// A bot in a process of its own, and its lines.
struct Bot {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Bot {
    fn start(world: &World, mut command: Command) -> Self {
        world.host(&mut command);
        Self::start_on(&mut command)
    }

    /// Starts one that knows where to connect.
    fn start_on(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for a line with all of these in it.
    fn wait_for(&self, parts: &[&str]) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line with {parts:?} among {seen:#?}");
    }

    /// Sends a signal, and expects the bot to end well.
    fn end(mut self, signal: &str) {
        run(Command::new("kill").arg(signal).arg(self.child.id().to_string()));
        let status = self.child.wait().expect("it was started");
        assert!(status.success(), "the bot ended with {status}");
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Which of the troubles below the sessions do not outlive.
const LOSES_SESSIONS: usize = 5;

/// The example of the README answers, while its sockets are dropped, closed and corrupted.
fn ping_bot_survives(watch: Watch) {
    let world = World::new();
    let simulator = &world.simulator;
    let program = watch.build("examples/c/ping_bot.c", "ping_bot");
    let bot = Bot::start(&world, watch.command(&program));
    world.wait_until(|seen| seen.counts.readies == 4);
    let troubles: [fn(&Simulator); 6] = [
        |_| {},
        |simulator| {
            simulator.drop_sockets(Target::All, Cut::Reset);
        },
        |simulator| {
            simulator.close(Target::All, Some(4000), "Unknown error.");
        },
        |simulator| {
            simulator.corrupt_next(Target::All, 1);
        },
        |simulator| {
            simulator.drop_sockets(Target::All, Cut::Fin);
        },
        |simulator| {
            simulator.close(Target::All, Some(4009), "Session timed out.");
        },
    ];
    for (round, trouble) in troubles.iter().enumerate() {
        trouble(simulator);
        if round == LOSES_SESSIONS {
            // What is said while there is no session never comes.
            world.wait_until(|seen| seen.counts.readies == 8);
        }
        for shard in 0..4 {
            let guild = simulator.guilds_of_shard(shard, 4)[0];
            let channel = simulator.text_channels(guild)[round];
            simulator.post_message(channel, None, "!ping").expect("a channel");
            bot.wait_for(&[&format!("channel {}", channel.0)]);
            bot.wait_for(&["answered with status 200"]);
            let answers = simulator.messages(channel);
            let pongs = answers.iter().filter(|message| message["content"] == "Pong!").count();
            assert_eq!(pongs, 1, "round {round}, shard {shard}");
        }
    }
    bot.end("-INT");
    world.wait_until(|seen| seen.open_connections().count() == 0);
    assert!(simulator.violations().is_empty(), "{:?}", simulator.violations());
}

/// The shortest bot of the README.
#[test]
fn first_bot_answers() {
    let world = World::new();
    let simulator = &world.simulator;
    let program = Watch::Sanitizers.build("examples/c/first_bot.c", "first_bot");
    let _bot = Bot::start(&world, Watch::Sanitizers.command(&program));
    world.wait_until(|seen| seen.counts.readies == 4);
    for shard in 0..4 {
        let channel = simulator.text_channels(simulator.guilds_of_shard(shard, 4)[0])[0];
        simulator.post_message(channel, None, "not for the bot").expect("a channel");
        simulator.post_message(channel, None, "!ping").expect("a channel");
        let path = format!("/channels/{}/messages", channel.0);
        world.wait_until(|seen| {
            let mut calls = seen.rest.iter().filter(|call| call.path.ends_with(&path));
            calls.any(|call| call.body["content"] == "Pong!")
        });
    }
    assert!(simulator.violations().is_empty(), "{:?}", simulator.violations());
}

#[test]
fn ping_bot_survives_plain() {
    ping_bot_survives(Watch::Plain);
}

#[test]
fn ping_bot_survives_under_sanitizers() {
    ping_bot_survives(Watch::Sanitizers);
}

#[test]
fn ping_bot_survives_under_valgrind() {
    ping_bot_survives(Watch::Valgrind);
}

/// The event-loop example: what is typed becomes the presence, and the end of input ends it.
fn event_loop_runs(watch: Watch) {
    use std::io::Write;

    let world = World::new();
    let simulator = &world.simulator;
    let program = watch.build("examples/c/event_loop.c", "event_loop");
    let mut bot = Bot::start(&world, watch.command(&program));
    world.wait_until(|seen| seen.counts.readies == 4);
    bot.wait_for(&["GUILD_CREATE"]);
    let mut stdin = bot.child.stdin.take().expect("piped");
    stdin.write_all(b"minding the shop\n").expect("the bot reads");
    world.wait_until(|seen| {
        let told = seen.commands.iter().filter(|command| command.op == 3);
        told.filter(|c| c.d["activities"][0]["state"] == "minding the shop").count() == 4
    });
    drop(stdin);
    let status = bot.child.wait().expect("it was started");
    assert!(status.success(), "the bot ended with {status}");
    assert!(simulator.violations().is_empty(), "{:?}", simulator.violations());
}

#[test]
fn event_loop_runs_plain() {
    event_loop_runs(Watch::Plain);
}

#[test]
fn event_loop_runs_under_sanitizers() {
    event_loop_runs(Watch::Sanitizers);
}

#[test]
fn event_loop_runs_under_valgrind() {
    event_loop_runs(Watch::Valgrind);
}

/// Three processes of one bot count their guilds: each is asked, and all are in the table.
fn guilds_are_counted(watch: Watch) {
    let world = World::new();
    let simulator = &world.simulator;
    let program = watch.build("examples/c/count_guilds.c", "count_guilds");
    let directory = program.with_extension("directory");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir(&directory).expect("the target directory is writable");
    // Without SHARDWRIGHT_BACKPLANE it makes a file where it is run.
    let start = |shards: &str| {
        let mut command = watch.command(&program);
        world.host(command.current_dir(&directory));
        Bot::start_on(command.env("SHARDWRIGHT_SHARDS", shards))
    };
    let bots = ["0-1/4", "2/4", "3/4"].map(start);
    world.wait_until(|seen| seen.counts.readies == 4);
    // The others say how they are doing every three seconds; until then the table is not complete.
    let mut rounds = 0;
    let (asked, total) = loop {
        rounds += 1;
        let guild = simulator.guilds_of_shard(2, 4)[0];
        simulator
            .post_message(simulator.text_channels(guild)[0], None, "!guilds")
            .expect("a channel");
        // What the processes answer, and the last line of the table, in either order.
        let mut lines = [bots[1].wait_for(&[" process"]), bots[1].wait_for(&[" process"])];
        lines.sort_by_key(|line| !line.contains(" say "));
        let [asked, total] = lines;
        let words: Vec<&str> = total.split_whitespace().collect();
        if asked == "8 guilds, say 3 processes" && words[2..6] == ["4", "of", "4", "8"] {
            break (asked, total);
        }
        // Its message, too: one after the other, however fast the processes answer.
        world.wait_until(|seen| {
            let posted =
                |call: &&RestRecord| call.path.ends_with("/messages") && call.status == 200;
            seen.rest.iter().filter(posted).count() == rounds
        });
    };
    assert!(total.starts_with("3 processes "), "{total}");
    world.wait_until(|seen| {
        let mut calls = seen.rest.iter().filter(|call| call.path.ends_with("/messages"));
        calls.any(|call| call.body["content"] == asked.as_str())
    });
    for bot in bots {
        bot.end("-INT");
    }
    // Processes know nothing of each other's REST requests; who is told so waits and asks again.
    let is_grave = |violation: &ViolationRecord| violation.rule != Rule::RestLimitExceeded;
    let grave: Vec<_> = simulator.violations().into_iter().filter(is_grave).collect();
    assert!(grave.is_empty(), "{grave:?}");
    let _ = std::fs::remove_dir_all(&directory);
}

#[test]
fn guilds_are_counted_plain() {
    guilds_are_counted(Watch::Plain);
}

#[test]
fn guilds_are_counted_under_sanitizers() {
    guilds_are_counted(Watch::Sanitizers);
}

#[test]
fn guilds_are_counted_under_valgrind() {
    guilds_are_counted(Watch::Valgrind);
}

/// A wrong token ends the bot with a message that says what to do.
#[test]
fn a_wrong_token_is_explained() {
    let world = World::new();
    let program = Watch::Plain.build("examples/c/ping_bot.c", "ping_bot");
    let mut command = Command::new(program);
    world.host(&mut command);
    let output = command.env("DISCORD_TOKEN", "wrong").output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("refused: Discord refused the bot token"), "{text}");
}
