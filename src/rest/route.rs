//! Which limit a request belongs to, as far as its path tells: the route.
//!
//! A route is the method, the path with its variable parts left out, and the resource that Discord
//! counts by (channel, guild or webhook). It is also what logs and errors call a request: paths hold
//! the tokens of webhooks and interactions, routes do not.
//!
//! Source: <https://discord.com/developers/docs/topics/rate-limits>.

use std::fmt;

use http::Method;

use super::lane::LaneId;

/// How tokens of interactions begin: `interaction:` in Base64. Their follow-ups go to webhook routes,
/// and only the token tells them from other webhooks. One that is not recognized is merely counted
/// where it need not be.
const INTERACTION_TOKEN: &str = "aW50ZXJhY3Rpb246";

/// The longest part of a path that can be a word of the API.
const MAX_WORD_BYTES: usize = 32;

/// A route.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Route {
    /// The method.
    pub(super) method: Method,
    /// The path with its variable parts left out: `/channels/{id}/messages`.
    pub(super) template: Box<str>,
    /// What Discord counts by, besides the route itself: `channels/1`. Secret, for it can hold the
    /// token of a webhook.
    pub(super) resource: Box<str>,
    /// Who it is counted for.
    pub(super) lane: LaneId,
}

impl Route {
    /// The route of a path that begins with a slash and has no query.
    pub(super) fn new(method: Method, path: &str) -> Self {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let mut template = String::with_capacity(path.len());
        for index in 0..parts.len() {
            template.push('/');
            template.push_str(word(&parts, index));
        }
        let (lane, length) = match parts[..] {
            ["channels" | "guilds", id, ..] if is_id(id) => (LaneId::Bot, 2),
            ["webhooks", _, token, ..] if token.starts_with(INTERACTION_TOKEN) => {
                (LaneId::Interaction, 3)
            }
            ["webhooks", _, _, ..] => (LaneId::Webhook, 3),
            ["webhooks", _] => (LaneId::Bot, 2),
            // Discord does not list it, but each of them is answered once and within 3 s: none may
            // have to wait for another.
            ["interactions", _, _, ..] => (LaneId::Interaction, 3),
            _ => (LaneId::Bot, 0),
        };
        let resource = parts[..length].join("/");
        Self { method, template: template.into(), resource: resource.into(), lane }
    }

    /// Whether requests carry the bot's token. Those to a webhook or an interaction carry that in
    /// their path, and Discord asks for no other.
    pub(super) fn needs_authorization(&self) -> bool {
        self.lane == LaneId::Bot
    }

    /// Whether doing it twice is the same as doing it once, so that it may be sent again when nobody
    /// knows what became of it. As HTTP defines the methods: RFC 9110 section 9.2.2.
    pub(super) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }
}

/// What stands in a template for one part of a path. Everything that could be an id, a name or a
/// secret is replaced.
fn word<'a>(parts: &[&'a str], index: usize) -> &'a str {
    let part = parts[index];
    let before = index.checked_sub(1).map(|index| parts[index]);
    let is_letter =
        |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    match (parts[0], index, before) {
        ("webhooks" | "interactions", 1, _) => "{id}",
        ("webhooks" | "interactions", 2, _) => "{token}",
        (_, _, Some("reactions" | "invites" | "templates" | "activity-instances")) => "{name}",
        ("oauth2", 0, _) => part,
        _ if is_id(part) => "{id}",
        _ if part.len() <= MAX_WORD_BYTES && part.bytes().all(is_letter) => part,
        _ => "{name}",
    }
}

/// Whether this is a snowflake.
fn is_id(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.template)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_routes() {
        use LaneId::{Bot, Interaction, Webhook};
        for (path, template, resource, lane) in [
            ("/users/@me", "/users/@me", "", Bot),
            ("/users/80351110224678912", "/users/{id}", "", Bot),
            ("/gateway/bot", "/gateway/bot", "", Bot),
            ("/oauth2/applications/@me", "/oauth2/applications/@me", "", Bot),
            ("/channels/1", "/channels/{id}", "channels/1", Bot),
            ("/channels/1/messages", "/channels/{id}/messages", "channels/1", Bot),
            (
                "/channels/1/messages/2/reactions/%F0%9F%94%A5/@me",
                "/channels/{id}/messages/{id}/reactions/{name}/@me",
                "channels/1",
                Bot,
            ),
            (
                "/channels/1/messages/2/reactions/wave:3/4",
                "/channels/{id}/messages/{id}/reactions/{name}/{id}",
                "channels/1",
                Bot,
            ),
            (
                "/guilds/1/members/2/roles/3",
                "/guilds/{id}/members/{id}/roles/{id}",
                "guilds/1",
                Bot,
            ),
            ("/guilds/1/widget.json", "/guilds/{id}/widget.json", "guilds/1", Bot),
            ("/guilds/templates/abc", "/guilds/templates/{name}", "", Bot),
            ("/guilds/1/templates/abc", "/guilds/{id}/templates/{name}", "guilds/1", Bot),
            ("/invites/discord-api", "/invites/{name}", "", Bot),
            (
                "/applications/1/guilds/2/commands",
                "/applications/{id}/guilds/{id}/commands",
                "",
                Bot,
            ),
            (
                "/applications/1/activity-instances/i-12-gc-9",
                "/applications/{id}/activity-instances/{name}",
                "",
                Bot,
            ),
            ("/webhooks/1", "/webhooks/{id}", "webhooks/1", Bot),
            ("/webhooks/1/secret", "/webhooks/{id}/{token}", "webhooks/1/secret", Webhook),
            (
                "/webhooks/1/secret/messages/@original",
                "/webhooks/{id}/{token}/messages/@original",
                "webhooks/1/secret",
                Webhook,
            ),
            (
                "/webhooks/1/aW50ZXJhY3Rpb246MTIz/messages/@original",
                "/webhooks/{id}/{token}/messages/@original",
                "webhooks/1/aW50ZXJhY3Rpb246MTIz",
                Interaction,
            ),
            (
                "/interactions/1/secret/callback",
                "/interactions/{id}/{token}/callback",
                "interactions/1/secret",
                Interaction,
            ),
            ("/new-things/MTk4NjIyNDgz.Cl2FMQ/x", "/new-things/{name}/x", "", Bot),
        ] {
            let route = Route::new(Method::GET, path);
            assert_eq!(&*route.template, template, "{path}");
            assert_eq!(&*route.resource, resource, "{path}");
            assert_eq!(route.lane, lane, "{path}");
        }
    }

    /// Promise 7: neither text form of a route has a token in it.
    #[test]
    fn routes_show_no_secrets() {
        for path in
            ["/webhooks/x/secret", "/interactions/1/secret/callback", "/webhooks/1/secret/slack"]
        {
            let route = Route::new(Method::POST, path);
            assert!(!format!("{route} {route:?}").contains("secret"), "{route}");
            assert!(!route.needs_authorization());
        }
        assert_eq!(Route::new(Method::POST, "/channels/1").to_string(), "POST /channels/{id}");
        assert!(Route::new(Method::POST, "/channels/1").needs_authorization());
    }
}
