//! The API over HTTP. `openapi.json` describes it.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Role;
use super::action::Action;
use super::playground::Trouble;
use super::{Dashboard, log, page, stream, work};

/// Incidents, starts and jobs of one answer.
const MAX_LISTED: usize = 1_000;

/// What describes the API.
const OPENAPI: &str = include_str!("openapi.json");

/// An answer, or a status and why.
pub(crate) type Answer = Result<Value, (StatusCode, String)>;

/// All routes.
pub(crate) fn routes() -> Router<Arc<Dashboard>> {
    Router::new()
        .route("/", get(index))
        .route("/page/{*name}", get(file))
        .route("/api/v1/openapi.json", get(openapi))
        .route("/api/v1/state", get(state))
        .route("/api/v1/stream", get(stream::open))
        .route("/api/v1/cost", post(post_cost))
        .route("/api/v1/actions", post(post_action))
        .route("/api/v1/shards/{shard}", get(shard))
        .route("/api/v1/history", get(history))
        .route("/api/v1/incidents", get(incidents))
        .route("/api/v1/starts", get(starts))
        .route("/api/v1/log", get(log))
        .route("/api/v1/jobs/{queue}", get(jobs))
        .route("/api/v1/playground", get(playground))
        .route("/api/v1/playground/messages", get(messages))
        .route("/api/v1/playground/message", post(say))
        .route("/api/v1/playground/break", post(upset))
}

// -- the page ---------------------------------------------------------------------------------

async fn index(headers: HeaderMap) -> Response {
    page::file("index.html", &headers)
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    page::file(&name, &headers)
}

// -- how it is --------------------------------------------------------------------------------

async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn state(
    State(dashboard): State<Arc<Dashboard>>,
    Extension(role): Extension<Role>,
) -> Response {
    let (state, seq) = dashboard.hub.state();
    let text = snapshot("snapshot", &dashboard, role, &state, seq);
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

/// The whole state as browsers get it.
pub(crate) fn snapshot(
    kind: &str,
    dashboard: &Dashboard,
    role: Role,
    state: &str,
    seq: u64,
) -> String {
    let head = json!({"type": kind, "stream": dashboard.hub.stream(), "seq": seq, "role": role});
    let head = head.to_string();
    // Before its last brace: the state is text already.
    format!("{},\"state\":{state}}}", &head[..head.len() - 1])
}

async fn shard(State(dashboard): State<Arc<Dashboard>>, Path(shard): Path<u32>) -> Response {
    let rates = dashboard.rates.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let found = rates.of_shard(shard);
    answer(
        found
            .ok_or_else(|| (StatusCode::NOT_FOUND, format!("nobody has run shard {shard} lately"))),
    )
}

// -- how it was -------------------------------------------------------------------------------

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    minutes: Option<i64>,
}

async fn history(State(dashboard): State<Arc<Dashboard>>, Query(span): Query<Span>) -> Response {
    answer(dashboard.history(span.minutes.unwrap_or(180)).await.map_err(unavailable))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    before: Option<String>,
    limit: Option<usize>,
}

async fn incidents(
    State(dashboard): State<Arc<Dashboard>>,
    Query(query): Query<Before>,
) -> Response {
    let limit = query.limit.unwrap_or(100).clamp(1, MAX_LISTED);
    answer(dashboard.incidents(query.before.as_deref(), limit).await.map_err(unavailable))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    limit: Option<usize>,
}

async fn starts(State(dashboard): State<Arc<Dashboard>>, Query(query): Query<Limit>) -> Response {
    let limit = query.limit.unwrap_or(100).clamp(1, MAX_LISTED);
    answer(dashboard.starts(limit).await.map_err(unavailable))
}

async fn log(
    State(dashboard): State<Arc<Dashboard>>,
    Query(query): Query<log::Wanted>,
) -> Response {
    answer(log::tail(&dashboard, query).await.map_err(|error| (StatusCode::NOT_FOUND, error)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobsWanted {
    state: Option<String>,
    after: Option<i64>,
    limit: Option<usize>,
}

async fn jobs(
    State(dashboard): State<Arc<Dashboard>>,
    Path(queue): Path<String>,
    Query(query): Query<JobsWanted>,
) -> Response {
    let command = json!({
        "type": "job_list", "queue": queue, "state": query.state.as_deref().unwrap_or("dead"),
        "after": query.after.unwrap_or(0), "limit": query.limit.unwrap_or(100).clamp(1, MAX_LISTED),
    });
    answer(dashboard.command(&command).await.map_err(|error| (StatusCode::BAD_REQUEST, error)))
}

// -- what is done -----------------------------------------------------------------------------

async fn post_cost(State(dashboard): State<Arc<Dashboard>>, body: String) -> Response {
    answer(cost(&dashboard, &body))
}

async fn post_action(
    State(dashboard): State<Arc<Dashboard>>,
    Extension(role): Extension<Role>,
    body: String,
) -> Response {
    match act(&dashboard, role, &body) {
        Ok(id) => (StatusCode::ACCEPTED, Json(id)).into_response(),
        error => answer(error),
    }
}

/// What an action will cost.
pub(crate) fn cost(dashboard: &Dashboard, action: &str) -> Answer {
    let action = Action::read(action).map_err(|error| (StatusCode::BAD_REQUEST, error))?;
    let cost = dashboard.hub.look(|state| action.cost(state));
    Ok(json!({"cost": cost.map_err(|error| (StatusCode::CONFLICT, error))?}))
}

/// Begins an action: what it is called in the state.
pub(crate) fn act(dashboard: &Arc<Dashboard>, role: Role, action: &str) -> Answer {
    let action = Action::read(action).map_err(|error| (StatusCode::BAD_REQUEST, error))?;
    operator(role)?;
    let id = work::begin(dashboard, action).map_err(|error| (StatusCode::CONFLICT, error))?;
    Ok(json!({"action": id.to_string()}))
}

/// Whether somebody may do something.
fn operator(role: Role) -> Result<(), (StatusCode, String)> {
    let text = "this token may only look; log in with the one for operators";
    if role == Role::Operate { Ok(()) } else { Err((StatusCode::FORBIDDEN, text.to_owned())) }
}

// -- the playground ---------------------------------------------------------------------------

impl Dashboard {
    fn playground(&self) -> Result<&super::playground::Playground, (StatusCode, String)> {
        let playground = self.playground.as_ref().filter(|it| it.is_there());
        let text = "the bot talks to Discord, and not to a simulator that could be played with";
        playground.ok_or_else(|| (StatusCode::NOT_FOUND, text.to_owned()))
    }

    fn shard_total(&self) -> Option<u32> {
        let total = self.hub.look(|state| state["bot"]["shard_total"].as_u64());
        total.and_then(|total| u32::try_from(total).ok())
    }
}

async fn playground(State(dashboard): State<Arc<Dashboard>>) -> Response {
    let found = async {
        let guilds = dashboard.playground()?.guilds(dashboard.shard_total()).await;
        guilds.map_err(unavailable)
    };
    answer(found.await)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Channel {
    channel: String,
}

async fn messages(
    State(dashboard): State<Arc<Dashboard>>,
    Query(query): Query<Channel>,
) -> Response {
    let found =
        async { dashboard.playground()?.messages(&query.channel).await.map_err(unavailable) };
    answer(found.await)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Say {
    channel: String,
    content: String,
}

async fn say(
    State(dashboard): State<Arc<Dashboard>>,
    Extension(role): Extension<Role>,
    Json(say): Json<Say>,
) -> Response {
    let said = async {
        operator(role)?;
        dashboard.playground()?.say(&say.channel, &say.content).await.map_err(unavailable)
    };
    answer(said.await)
}

async fn upset(
    State(dashboard): State<Arc<Dashboard>>,
    Extension(role): Extension<Role>,
    Json(trouble): Json<Trouble>,
) -> Response {
    let done = async {
        operator(role)?;
        let total = dashboard.shard_total();
        dashboard.playground()?.upset(&trouble, total).await.map_err(unavailable)
    };
    answer(done.await)
}

// -- answers ----------------------------------------------------------------------------------

fn unavailable(error: String) -> (StatusCode, String) {
    (StatusCode::BAD_GATEWAY, error)
}

fn answer(result: Answer) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err((status, error)) => (status, Json(json!({"error": error}))).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_has_every_route() {
        let described: Value = serde_json::from_str(OPENAPI).expect("JSON");
        let paths = described["paths"].as_object().expect("paths");
        let source = include_str!("api.rs");
        let routes = source.split(".route(\"").skip(1).filter_map(|rest| {
            let (path, rest) = rest.split_once("\", ")?;
            Some((path, rest.split('(').next()?))
        });
        let routes: Vec<_> = routes.filter(|(path, _)| path.starts_with("/api/")).collect();
        assert!(routes.len() > 10, "{routes:?}");
        for (path, method) in &routes {
            assert!(paths[*path][*method].is_object(), "{method} {path} is not described");
        }
        assert_eq!(paths.len(), routes.len(), "what is described and does not exist");
    }
}
