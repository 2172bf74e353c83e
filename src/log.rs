//! Where the engine's log goes: one sink per client, no global subscriber.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event as TracingEvent, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry;

use crate::config::{LogConfig, LogFormat, LogLevel, LogSink};
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
    let lines = |sink| {
        let layer = Lines { sink, format: config.format };
        Dispatch::new(registry().with(layer.with_filter(filter.clone())))
    };
    match config.to {
        LogSink::None => Dispatch::none(),
        LogSink::Stderr if config.format == LogFormat::Json => lines(Box::new(|_, _, line| {
            // One write, so that lines of several threads do not mix. A closed stderr is no reason to
            // end.
            let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
        })),
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
            lines(Box::new(sink))
        }
        LogSink::Callback => lines(callback),
    }
}

/// A layer that makes lines of events.
struct Lines {
    sink: Sink,
    format: LogFormat,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &TracingEvent<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = *event.metadata().level();
        let target = event.metadata().target();
        let text = match self.format {
            LogFormat::Text => line.into_text(),
            LogFormat::Json => line.into_json(level, target),
        };
        let level = match level {
            Level::ERROR => 1,
            Level::WARN => 2,
            Level::INFO => 3,
            Level::DEBUG => 4,
            Level::TRACE => 5,
        };
        (self.sink)(level, target, &text);
    }
}

/// A line in the making: the message, and the fields in their order.
#[derive(Default)]
struct Line {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Line {
    /// The message, and ` key=value` for each field.
    fn into_text(self) -> String {
        let mut text = self.message;
        for (name, value) in self.fields {
            // Writing to a string cannot fail.
            let _ = match value {
                Value::String(value) if value.contains(char::is_whitespace) => {
                    write!(text, " {name}={value:?}")
                }
                Value::String(value) => write!(text, " {name}={value}"),
                value => write!(text, " {name}={value}"),
            };
        }
        text
    }

    /// One object: time, level, target and message, and the fields beside them.
    fn into_json(self, level: Level, target: &str) -> String {
        let mut timestamp = String::new();
        let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
        let mut object = serde_json::Map::new();
        object.extend(self.fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let own = [
            ("timestamp", timestamp),
            ("level", level.as_str().to_lowercase()),
            ("target", target.to_owned()),
            ("message", self.message),
        ];
        object.extend(own.map(|(name, text)| (name.to_owned(), Value::String(text))));
        Value::Object(object).to_string()
    }
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.fields.push((field.name(), text.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::config::QueueConfig;

    /// The lines that a callback gets of three events: one of ours, one too quiet, one not ours.
    fn lines(format: LogFormat) -> Vec<(i32, String, String)> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let sink: Sink = Box::new(move |level, target, text| {
            kept.lock().expect("not poisoned").push((level, target.to_owned(), text.to_owned()));
        });
        let queue = Arc::new(EventQueue::new(&QueueConfig::default()).expect("a descriptor"));
        let config = LogConfig { to: LogSink::Callback, level: LogLevel::Debug, format };
        tracing::dispatcher::with_default(&subscriber(config, &queue, sink), || {
            tracing::warn!(target: "shardwright::x", shard = 3, to = %"a", why = "b c", "it {}", "broke \"so\"");
            tracing::trace!(target: "shardwright::x", "too quiet");
            tracing::error!(target: "hyper::client", "not ours");
        });
        lines.lock().expect("not poisoned").clone()
    }

    #[test]
    fn lines_carry_level_target_message_and_fields() {
        let text = "it broke \"so\" shard=3 to=a why=\"b c\"".to_owned();
        assert_eq!(lines(LogFormat::Text), [(2, "shardwright::x".to_owned(), text)]);
    }

    #[test]
    fn a_json_line_is_one_object_with_all_of_it() {
        let lines = lines(LogFormat::Json);
        let [(2, _, text)] = &lines[..] else { panic!("{lines:?}") };
        assert!(!text.contains('\n'));
        let mut line: Value = serde_json::from_str(text).expect("JSON");
        let timestamp = line["timestamp"].take();
        let timestamp = timestamp.as_str().expect("a string");
        assert!(timestamp.len() >= 20 && timestamp.ends_with('Z'), "{timestamp}");
        let expected = serde_json::json!({
            "timestamp": null, "level": "warn", "target": "shardwright::x",
            "message": "it broke \"so\"", "shard": 3, "to": "a", "why": "b c",
        });
        assert_eq!(line, expected);
    }
}
