//! Where the engine's log goes: one sink per client, no global subscriber.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event as TracingEvent, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry;

use crate::config::{LogConfig, LogLevel, LogSink};
use crate::queue::{Event, EventKind, EventQueue};

/// Takes one line: level (1 error … 5 trace), target and text.
pub(crate) type Sink = Box<dyn Fn(i32, &str, &str) + Send + Sync>;

/// The subscriber for the threads of one client. `callback` is used where the config says so.
pub(crate) fn subscriber(config: LogConfig, queue: &Arc<EventQueue>, callback: Sink) -> Dispatch {
    let level = match config.level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Only what the engine says: a dependency at trace level could show bytes of an identify.
    let filter = Targets::new().with_target("shardwright", level);
    match config.to {
        LogSink::None => Dispatch::none(),
        LogSink::Stderr => {
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal());
            Dispatch::new(registry().with(layer.with_filter(filter)))
        }
        LogSink::Events => {
            let queue = Arc::downgrade(queue);
            let sink = move |level: i32, target: &str, text: &str| {
                if let Some(queue) = queue.upgrade() {
                    let mut event = Event::new(EventKind::Log, target, text.as_bytes());
                    event.status = level;
                    queue.push_own(event);
                }
            };
            Dispatch::new(registry().with(Lines(Box::new(sink)).with_filter(filter)))
        }
        LogSink::Callback => Dispatch::new(registry().with(Lines(callback).with_filter(filter))),
    }
}

/// A layer that makes lines of events.
struct Lines(Sink);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &TracingEvent<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = match *event.metadata().level() {
            Level::ERROR => 1,
            Level::WARN => 2,
            Level::INFO => 3,
            Level::DEBUG => 4,
            Level::TRACE => 5,
        };
        let text = format!("{}{}", line.message, line.fields);
        (self.0)(level, event.metadata().target(), &text);
    }
}

/// A line in the making: the message, and ` key=value` for each field.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::config::QueueConfig;

    #[test]
    fn lines_carry_level_target_message_and_fields() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let sink: Sink = Box::new(move |level, target, text| {
            kept.lock().expect("not poisoned").push((level, target.to_owned(), text.to_owned()));
        });
        let queue = Arc::new(EventQueue::new(&QueueConfig::default()).expect("a descriptor"));
        let config = LogConfig { to: LogSink::Callback, level: LogLevel::Debug };
        tracing::dispatcher::with_default(&subscriber(config, &queue, sink), || {
            tracing::warn!(target: "shardwright::x", shard = 3, "it {}", "broke");
            tracing::trace!(target: "shardwright::x", "too quiet");
            tracing::error!(target: "hyper::client", "not ours");
        });
        let expected = (2, "shardwright::x".to_owned(), "it broke shard=3".to_owned());
        assert_eq!(*lines.lock().expect("not poisoned"), [expected]);
    }
}
