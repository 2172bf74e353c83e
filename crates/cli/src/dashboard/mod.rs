//! `shardwright dashboard`: a page that shows a bot's whole fleet and drives it.
//!
//! It reads the backplane and the store, as `shardwright top` does, and takes no part in the bot: the engine has no
//! web server for it. What takes a cluster (restarting workers) it asks of the one in its directory.

mod access;
mod action;
mod api;
mod hub;
mod log;
mod page;
mod past;
mod patch;
mod playground;
mod series;
mod state;
mod stream;
mod watch;
mod work;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::extract::{DefaultBodyLimit, Form, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use axum::{Json, Router};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use shardwright::Config;
use shardwright::client::Observer;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use self::access::{Access, Refusal};
pub(crate) use self::access::{OPERATE, VIEW};
use self::hub::Hub;
use self::playground::Playground;
use self::series::Rates;
use self::watch::Messages;
use self::work::Work;
use crate::interrupt::interrupted;
use crate::view::Place;

/// Where it listens, unless it is told otherwise.
pub(crate) const ADDRESS: &str = "127.0.0.1:7711";

/// Browsers that watch at the same time.
const MAX_STREAMS: usize = 200;

/// Shows a bot's whole fleet in the browser, and drives it.
///
/// Needs DISCORD_TOKEN and, unless `shardwright cluster` runs the workers, SHARDWRIGHT_BACKPLANE, as they have them;
/// with SHARDWRIGHT_STORE it shows history and incidents too. Off this machine it demands a token, which stands in
/// SHARDWRIGHT_DASHBOARD_TOKEN; one in SHARDWRIGHT_DASHBOARD_VIEW_TOKEN may look and do nothing.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = ADDRESS)]
    listen: SocketAddr,
}

/// What the dashboard knows, and its ways to the bot.
#[derive(Debug)]
pub(crate) struct Dashboard {
    observer: Observer,
    access: Access,
    hub: Hub,
    rates: Mutex<Rates>,
    messages: Messages,
    work: Work,
    /// Of a cluster.
    directory: Option<PathBuf>,
    playground: Option<Playground>,
    /// Room for browsers that watch.
    streams: Arc<Semaphore>,
    /// Not to be shown to anybody.
    token: String,
}

/// Serves it until Ctrl-C.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let place = Place { directory: std::path::absolute(arguments.place.directory)? };
    let env = |name: &str| match name {
        OPERATE | VIEW | playground::API_URL => std::env::var(name).ok(),
        name => place.env(name),
    };
    place.config()?;
    let interrupted = interrupted()?;
    let server = Server::open(arguments.listen, env, Some(place.directory.clone())).await?;
    println!("The dashboard is at {}", server.url());
    tokio::select! {
        result = server.serve() => result,
        () = interrupted => Ok(()),
    }
}

/// A dashboard that listens.
#[derive(Debug)]
pub(crate) struct Server {
    dashboard: Arc<Dashboard>,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Opens it. `env` has the variables as the workers have them.
    ///
    /// # Errors
    /// When the bot could not be seen, others could get in, or the address is taken.
    pub(crate) async fn open(
        address: SocketAddr,
        env: impl Fn(&str) -> Option<String> + Copy,
        directory: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let access = Access::new(address, env)?;
        // Of which shards the bot has, the workers tell.
        let config = Config::from_json(r#"{"intents": 0}"#, |name| match name {
            "SHARDWRIGHT_SHARDS" | "SHARDWRIGHT_SESSIONS" | "SHARDWRIGHT_LOG" => None,
            name => env(name),
        })?;
        let observer = Observer::new(&config)?;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the dashboard cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let dashboard = Dashboard {
            observer,
            access,
            // Tells this life of the program from others.
            hub: Hub::new(format!("{:x}-{:x}", std::process::id(), now_ms()), watch::nothing()),
            rates: Mutex::default(),
            messages: Messages::default(),
            work: Work::default(),
            directory,
            playground: Playground::new(&config, env),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            token: env("DISCORD_TOKEN").unwrap_or_default(),
        };
        Ok(Self { dashboard: Arc::new(dashboard), listener, address })
    }

    /// Where to find it.
    pub(crate) fn url(&self) -> String {
        let Self { address, .. } = self;
        if address.ip().is_unspecified() {
            return format!(
                "http://localhost:{} and every other address of this machine",
                address.port()
            );
        }
        format!("http://{address}")
    }

    /// Serves it, for ever.
    ///
    /// # Errors
    /// When it cannot listen any more.
    pub(crate) async fn serve(self) -> anyhow::Result<()> {
        let Self { dashboard, listener, .. } = self;
        let heard = Arc::clone(&dashboard);
        let connected = dashboard.observer.clone();
        let connected = connected.stay_connected(move |said| heard.messages.note(said));
        let looks = Arc::clone(&dashboard);
        let looks = async move {
            match &looks.playground {
                Some(playground) => playground.look().await,
                None => std::future::pending().await,
            }
        };
        let routes = router(Arc::clone(&dashboard));
        tokio::select! {
            served = axum::serve(listener, routes).into_future() => Ok(served?),
            () = connected => Ok(()),
            () = watch::watch(dashboard) => Ok(()),
            () = looks => Ok(()),
        }
    }
}

impl Dashboard {
    /// Has the bot do something: what it replies.
    ///
    /// # Errors
    /// Says why it was not done.
    async fn command(&self, command: &Value) -> Result<Value, String> {
        let reply = self.observer.command(&command.to_string()).await;
        let (status, data) = reply.map_err(|error| error.to_string())?;
        let data: Value = serde_json::from_slice(&data).unwrap_or_default();
        if status == 0 {
            return Ok(data);
        }
        Err(data["error"].as_str().map_or_else(|| format!("it failed ({status})"), str::to_owned))
    }
}

/// All routes, for those who may.
fn router(dashboard: Arc<Dashboard>) -> Router {
    let guarded = api::routes()
        .layer(from_fn_with_state(Arc::clone(&dashboard), guard))
        .layer(DefaultBodyLimit::max(stream::MAX_COMMAND_BYTES));
    Router::new()
        .route("/login", post(log_in).layer(DefaultBodyLimit::max(4 << 10)))
        .merge(guarded)
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is nothing here") })
        .layer(from_fn(harden))
        .with_state(dashboard)
}

/// Lets in who may, and says what they may do.
async fn guard(
    State(dashboard): State<Arc<Dashboard>>,
    mut request: Request,
    next: Next,
) -> Response {
    let (method, uri) = (request.method(), request.uri());
    match dashboard.access.role(method, uri, request.headers()) {
        Ok(role) => {
            request.extensions_mut().insert(role);
            next.run(request).await
        }
        Err(refusal) => refuse(&refusal, *method == Method::GET && uri.path() == "/"),
    }
}

/// Says no: to people with a page that asks for the token.
fn refuse(refusal: &Refusal, is_page: bool) -> Response {
    let (status, text) = match refusal {
        Refusal::Unknown if is_page => return page::login(""),
        Refusal::Unknown => (
            StatusCode::UNAUTHORIZED,
            "the dashboard's token is missing or wrong: send it as `Authorization: Bearer …`, or log in",
        ),
        Refusal::Foreign(why) => (StatusCode::FORBIDDEN, *why),
        Refusal::TooMany => {
            (StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens; try again in a minute")
        }
    };
    (status, Json(json!({"error": text}))).into_response()
}

#[derive(Deserialize)]
struct Login {
    token: String,
}

/// Logs a browser in.
async fn log_in(
    State(dashboard): State<Arc<Dashboard>>,
    uri: Uri,
    headers: HeaderMap,
    Form(login): Form<Login>,
) -> Response {
    // A form of another page has its origin in it. What a form cannot send is not asked of this one.
    if let Err(refusal @ Refusal::Foreign(_)) = dashboard.access.role(&Method::GET, &uri, &headers)
    {
        return refuse(&refusal, false);
    }
    match dashboard.access.log_in(&login.token) {
        Ok(cookie) => ([(SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        Err(Refusal::TooMany) => page::login("Too many wrong tokens. Try again in a minute."),
        Err(_) => page::login("That is not the token."),
    }
}

/// Headers of every answer.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, page::POLICY),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
