//! The values that take more than a look.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::bounds::{MAX_STANDBY_BYTES, MAX_WORKER_NAME_CHARS};
use super::error::invalid;
use super::shards::Shards;
use super::typed::TypedProperties;
use super::{Delivery, PostgresUrl, Sessions, StoreUrl, WhenFull};
use crate::backplane::Address;
use crate::error::Error;
use crate::protocol::{self, MAX_OUTGOING_BYTES};

/// Discord's REST API.
pub(super) const DISCORD_API_URL: &str = "https://discord.com/api/v10";

/// The directory of a file that is made when it is not there.
///
/// # Errors
/// `InvalidConfig` when there is no such directory.
pub(crate) fn directory(key: &str, file: &Path) -> Result<(), Error> {
    let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty());
    if directory.is_none_or(Path::is_dir) {
        return Ok(());
    }
    let file = file.display().to_string();
    Err(invalid(key, format!("is {file:?}, whose directory does not exist; make it first")))
}

/// `sqlite:PATH` or `backplane`.
pub(super) fn sessions(text: &str, backplane: Option<&Address>) -> Result<Sessions, Error> {
    if text == "backplane" && backplane.is_none() {
        return Err(invalid("sessions", "is \"backplane\", but there is no `backplane`"));
    }
    if text == "backplane" {
        return Ok(Sessions::Backplane);
    }
    let path = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = path.ok_or_else(|| {
        invalid("sessions", format!("is {text:?}; expected \"sqlite:PATH\" or \"backplane\""))
    })?;
    if matches!(backplane, Some(Address::Sqlite(other)) if *other == path) {
        let text = "is the file of `backplane`; take another one, or say \"backplane\"";
        return Err(invalid("sessions", text));
    }
    Ok(Sessions::File(path))
}

/// A name that fits into a line of a table.
pub(super) fn worker_name(name: String) -> Result<String, Error> {
    let length = name.chars().count();
    if !(1..=MAX_WORKER_NAME_CHARS).contains(&length) || name.chars().any(char::is_control) {
        let why = format!("is not 1 to {MAX_WORKER_NAME_CHARS} characters of one line");
        return Err(invalid("worker_name", why));
    }
    Ok(name)
}

/// What a client needs that takes over from others.
pub(super) fn standby(
    name: String,
    backplane: Option<&Address>,
    shards: &Shards,
) -> Result<String, Error> {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=MAX_STANDBY_BYTES).contains(&name.len()) || !name.bytes().all(is_good) {
        let why = format!("is not 1 to {MAX_STANDBY_BYTES} of a-z, 0-9 and -");
        return Err(invalid("standby", why));
    }
    if backplane.is_none() {
        let why =
            "is set, but there is no `backplane` over which the client could be told to take over";
        return Err(invalid("standby", why));
    }
    if matches!(shards, Shards::Lease { .. }) {
        let why = "is for shards that the config names, and these are leased: stop all processes, and start \
                   them with {\"lease\":true,\"total\":N}";
        return Err(invalid("standby", why));
    }
    Ok(name)
}

/// What leases need.
pub(super) fn lease(backplane: Option<&Address>, sessions: Option<&Sessions>) -> Result<(), Error> {
    if backplane.is_none() {
        let why = "is \"lease\", but there is no `backplane` to claim shards from: set it to \
                   \"sqlite:PATH\" for one machine, or \"redis://host\"";
        return Err(invalid("shards", why));
    }
    if matches!(sessions, Some(Sessions::File(_))) {
        let why = "is a file, but with leases any process goes on with any session: leave it out, or \
                   say \"backplane\"";
        return Err(invalid("sessions", why));
    }
    Ok(())
}

/// `sqlite:PATH` or `postgres://…`. The URL may hold a password, so no error repeats it.
pub(super) fn store(text: &str) -> Result<StoreUrl, Error> {
    if let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
        return Ok(StoreUrl::Sqlite(PathBuf::from(path)));
    }
    if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
        let why = "is neither \"sqlite:PATH\" nor \"postgres://user:password@host:5432/database\"";
        return Err(invalid("store", why));
    }
    let url = PostgresUrl::parse(text).map_err(|why| invalid("store", why))?;
    Ok(StoreUrl::Postgres(Box::new(url)))
}

/// Whether what is asked for can be kept.
pub(super) fn delivery(delivery: Delivery, stored: bool, when_full: WhenFull) -> Result<(), Error> {
    if delivery == Delivery::AtMostOnce {
        return Ok(());
    }
    if !stored {
        let why = "is \"at_least_once\", which needs `sessions`: a file that survives the process";
        return Err(invalid("delivery", why));
    }
    if when_full == WhenFull::DropOldest {
        let why = "is \"at_least_once\", but `queue.when_full` is \"drop_oldest\"; use \"block\"";
        return Err(invalid("delivery", why));
    }
    Ok(())
}

/// A presence that fits an identify.
pub(super) fn presence(object: Value) -> Result<Box<RawValue>, Error> {
    let d = protocol::presence(object).map_err(|why| invalid("presence", why))?;
    fits_identify("presence", d)
}

/// What Discord is told about this program.
pub(super) fn properties(typed: &TypedProperties) -> Result<Box<RawValue>, Error> {
    let json = to_raw_value(typed).map_err(|error| invalid("properties", error.to_string()))?;
    fits_identify("properties", json)
}

/// A part of an identify that leaves room for the rest of it.
fn fits_identify(key: &str, json: Box<RawValue>) -> Result<Box<RawValue>, Error> {
    if json.get().len() > MAX_OUTGOING_BYTES - 512 {
        return Err(invalid(key, "is too long to fit the 4096 bytes of an identify"));
    }
    Ok(json)
}

/// An `http` or `https` URL without query, as REST paths are appended to it.
pub(super) fn api_url(url: &str) -> Result<String, Error> {
    let wrong = |why: &str| {
        invalid("api_url", format!("is {url:?}, {why}; expected for example {DISCORD_API_URL}"))
    };
    let uri: http::Uri = url.parse().map_err(|_| wrong("which is no URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(wrong("which has no http(s):// and host"));
    }
    if uri.query().is_some() {
        return Err(wrong("which has a query"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// An address and a port. No name: what that stands for can change, and be more than was meant.
pub(super) fn metrics_address(text: &str) -> Result<SocketAddr, Error> {
    text.parse().map_err(|_| {
        let why = format!("is {text:?}; expected an address such as 127.0.0.1:9464 or [::]:9464");
        invalid("metrics_address", why)
    })
}
