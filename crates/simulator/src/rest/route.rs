//! Which route a path is, and what calls of it count against.

use std::time::Duration;

use hyper::Method;

use super::ratelimit::{Bucket, Limit};
use super::reply::ApiError;
use crate::world::snowflake::Snowflake;

/// A route with its ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Gateway,
    GatewayBot,
    Me,
    MyGuilds,
    LeaveGuild(Snowflake),
    CreateDm,
    User(Snowflake),
    Application,
    OAuthApplication,
    Commands { application: Snowflake, guild: Option<Snowflake> },
    Command { application: Snowflake, guild: Option<Snowflake>, command: Snowflake },
    Channel(Snowflake),
    Messages(Snowflake),
    Message { channel: Snowflake, message: Snowflake },
    BulkDelete(Snowflake),
    Reactions { channel: Snowflake, message: Snowflake, emoji: Option<String> },
    Reaction { channel: Snowflake, message: Snowflake, emoji: String, user: Option<Snowflake> },
    Typing(Snowflake),
    Guild(Snowflake),
    GuildChannels(Snowflake),
    Members(Snowflake),
    MemberSearch(Snowflake),
    Member { guild: Snowflake, user: Option<Snowflake> },
    Roles(Snowflake),
    Role { guild: Snowflake, role: Snowflake },
    Emojis(Snowflake),
    Sounds(Snowflake),
    Callback { interaction: Snowflake, token: String },
    Webhook { application: Snowflake, token: String },
    WebhookMessage { application: Snowflake, token: String, message: Option<Snowflake> },
}

/// An id in a path; `@me` and `@original` are `None` where the route takes them.
fn id(text: &str, field: &str) -> Result<Snowflake, ApiError> {
    text.parse().map_err(|_| {
        let message = format!("Value \"{text}\" is not snowflake.");
        ApiError::form(field, "NUMBER_TYPE_COERCE", &message)
    })
}

fn id_or(text: &str, alias: &str, field: &str) -> Result<Option<Snowflake>, ApiError> {
    if text == alias { Ok(None) } else { id(text, field).map(Some) }
}

impl Route {
    /// The route of a path below the version.
    pub(crate) fn parse(path: &str) -> Result<Self, ApiError> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        Ok(match parts.as_slice() {
            ["gateway"] => Self::Gateway,
            ["gateway", "bot"] => Self::GatewayBot,
            ["users", "@me"] => Self::Me,
            ["users", "@me", "guilds"] => Self::MyGuilds,
            ["users", "@me", "guilds", guild] => Self::LeaveGuild(id(guild, "guild_id")?),
            ["users", "@me", "channels"] => Self::CreateDm,
            ["users", user] => Self::User(id(user, "user_id")?),
            ["applications", "@me"] => Self::Application,
            ["oauth2", "applications", "@me"] => Self::OAuthApplication,
            ["applications", application, rest @ ..] => Self::of_application(application, rest)?,
            ["channels", channel, rest @ ..] => Self::of_channel(id(channel, "channel_id")?, rest)?,
            ["guilds", guild, rest @ ..] => Self::of_guild(id(guild, "guild_id")?, rest)?,
            ["interactions", interaction, token, "callback"] => Self::Callback {
                interaction: id(interaction, "interaction_id")?,
                token: (*token).to_owned(),
            },
            ["webhooks", application, token] => Self::Webhook {
                application: id(application, "webhook_id")?,
                token: (*token).to_owned(),
            },
            ["webhooks", application, token, "messages", message] => Self::WebhookMessage {
                application: id(application, "webhook_id")?,
                token: (*token).to_owned(),
                message: id_or(message, "@original", "message_id")?,
            },
            _ => return Err(ApiError::not_found()),
        })
    }

    fn of_application(application: &str, rest: &[&str]) -> Result<Self, ApiError> {
        let application = id(application, "application_id")?;
        let (guild, rest) = match rest {
            ["guilds", guild, rest @ ..] => (Some(id(guild, "guild_id")?), rest),
            rest => (None, rest),
        };
        match rest {
            ["commands"] => Ok(Self::Commands { application, guild }),
            ["commands", command] => {
                Ok(Self::Command { application, guild, command: id(command, "command_id")? })
            }
            _ => Err(ApiError::not_found()),
        }
    }

    fn of_channel(channel: Snowflake, rest: &[&str]) -> Result<Self, ApiError> {
        Ok(match rest {
            [] => Self::Channel(channel),
            ["typing"] => Self::Typing(channel),
            ["messages"] => Self::Messages(channel),
            ["messages", "bulk-delete"] => Self::BulkDelete(channel),
            ["messages", message] => Self::Message { channel, message: id(message, "message_id")? },
            ["messages", message, "reactions"] => {
                Self::Reactions { channel, message: id(message, "message_id")?, emoji: None }
            }
            ["messages", message, "reactions", emoji] => {
                let emoji = Some(super::call::percent_decode(emoji));
                Self::Reactions { channel, message: id(message, "message_id")?, emoji }
            }
            ["messages", message, "reactions", emoji, user] => Self::Reaction {
                channel,
                message: id(message, "message_id")?,
                emoji: super::call::percent_decode(emoji),
                user: id_or(user, "@me", "user_id")?,
            },
            _ => return Err(ApiError::not_found()),
        })
    }

    fn of_guild(guild: Snowflake, rest: &[&str]) -> Result<Self, ApiError> {
        Ok(match rest {
            [] => Self::Guild(guild),
            ["channels"] => Self::GuildChannels(guild),
            ["members"] => Self::Members(guild),
            ["members", "search"] => Self::MemberSearch(guild),
            ["members", user] => Self::Member { guild, user: id_or(user, "@me", "user_id")? },
            ["roles"] => Self::Roles(guild),
            ["roles", role] => Self::Role { guild, role: id(role, "role_id")? },
            ["emojis"] => Self::Emojis(guild),
            ["soundboard-sounds"] => Self::Sounds(guild),
            _ => return Err(ApiError::not_found()),
        })
    }

    /// Whether the bot's token is needed.
    pub(crate) fn needs_token(&self) -> bool {
        !matches!(
            self,
            Self::Gateway
                | Self::Callback { .. }
                | Self::Webhook { .. }
                | Self::WebhookMessage { .. }
        )
    }

    /// What a call counts against. The numbers are like those that bots have seen; clients must
    /// learn them from the headers anyway.
    pub(crate) fn bucket(&self, method: &Method) -> Bucket {
        let major = self.major();
        let global = !matches!(
            self,
            Self::Callback { .. } | Self::Webhook { .. } | Self::WebhookMessage { .. }
        );
        let (route, requests, window_ms) = match self {
            Self::Gateway => ("GET /gateway", 50, 1_000),
            Self::GatewayBot => ("GET /gateway/bot", 2, 5_000),
            Self::Me => ("/users/@me", 50, 1_000),
            Self::MyGuilds | Self::LeaveGuild(_) => ("/users/@me/guilds", 10, 10_000),
            Self::CreateDm => ("POST /users/@me/channels", 10, 10_000),
            Self::User(_) => ("GET /users/{user}", 30, 30_000),
            Self::Application | Self::OAuthApplication => ("/applications/@me", 10, 10_000),
            Self::Commands { .. } | Self::Command { .. } => {
                ("/applications/{application}/commands", 20, 20_000)
            }
            Self::Channel(_) => ("/channels/{channel}", 50, 1_000),
            Self::Messages(_) if method == Method::POST => {
                ("POST /channels/{channel}/messages", 5, 5_000)
            }
            Self::Messages(_) => ("GET /channels/{channel}/messages", 5, 5_000),
            Self::Message { .. } if method == Method::DELETE => {
                ("DELETE /channels/{channel}/messages/{message}", 5, 1_000)
            }
            Self::Message { .. } if method == Method::PATCH => {
                ("PATCH /channels/{channel}/messages/{message}", 5, 5_000)
            }
            Self::Message { .. } => ("GET /channels/{channel}/messages/{message}", 50, 1_000),
            Self::BulkDelete(_) => ("POST /channels/{channel}/messages/bulk-delete", 1, 1_000),
            Self::Reactions { .. } | Self::Reaction { .. } if method == Method::GET => {
                ("GET /channels/{channel}/messages/{message}/reactions/{emoji}", 50, 1_000)
            }
            Self::Reactions { .. } | Self::Reaction { .. } => {
                ("/channels/{channel}/messages/{message}/reactions", 1, 250)
            }
            Self::Typing(_) => ("POST /channels/{channel}/typing", 5, 5_000),
            Self::Guild(_) => ("/guilds/{guild}", 10, 5_000),
            Self::GuildChannels(_) => ("/guilds/{guild}/channels", 10, 5_000),
            Self::Members(_) => ("GET /guilds/{guild}/members", 10, 10_000),
            Self::MemberSearch(_) => ("GET /guilds/{guild}/members/search", 10, 10_000),
            Self::Member { .. } => ("/guilds/{guild}/members/{user}", 5, 1_000),
            Self::Roles(_) | Self::Role { .. } => ("/guilds/{guild}/roles", 10, 5_000),
            Self::Emojis(_) => ("/guilds/{guild}/emojis", 10, 5_000),
            Self::Sounds(_) => ("/guilds/{guild}/soundboard-sounds", 10, 5_000),
            Self::Callback { .. } => ("POST /interactions/{interaction}/callback", 50, 1_000),
            Self::Webhook { .. } | Self::WebhookMessage { .. } => ("/webhooks/{webhook}", 5, 2_000),
        };
        let limit = Limit { requests, window: Duration::from_millis(window_ms) };
        Bucket { route, major, limit, global }
    }

    /// The top-level resource that limits are counted for.
    fn major(&self) -> String {
        match self {
            Self::Channel(channel)
            | Self::Messages(channel)
            | Self::Message { channel, .. }
            | Self::BulkDelete(channel)
            | Self::Reactions { channel, .. }
            | Self::Reaction { channel, .. }
            | Self::Typing(channel) => channel.to_string(),
            Self::Guild(guild)
            | Self::GuildChannels(guild)
            | Self::Members(guild)
            | Self::MemberSearch(guild)
            | Self::Member { guild, .. }
            | Self::Roles(guild)
            | Self::Role { guild, .. }
            | Self::Emojis(guild)
            | Self::Sounds(guild) => guild.to_string(),
            Self::Callback { token, .. }
            | Self::Webhook { token, .. }
            | Self::WebhookMessage { token, .. } => token.clone(),
            Self::Gateway
            | Self::GatewayBot
            | Self::Me
            | Self::MyGuilds
            | Self::LeaveGuild(_)
            | Self::CreateDm
            | Self::User(_)
            | Self::Application
            | Self::OAuthApplication
            | Self::Commands { .. }
            | Self::Command { .. } => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_routes() {
        let parse = |path| Route::parse(path);
        assert_eq!(parse("/gateway/bot"), Ok(Route::GatewayBot));
        assert_eq!(parse("/channels/7/messages"), Ok(Route::Messages(Snowflake(7))));
        assert_eq!(
            parse("/channels/7/messages/8/reactions/%F0%9F%94%A5/@me"),
            Ok(Route::Reaction {
                channel: Snowflake(7),
                message: Snowflake(8),
                emoji: "🔥".to_owned(),
                user: None,
            })
        );
        assert_eq!(
            parse("/applications/1/guilds/2/commands/3"),
            Ok(Route::Command {
                application: Snowflake(1),
                guild: Some(Snowflake(2)),
                command: Snowflake(3),
            })
        );
        assert_eq!(
            parse("/webhooks/1/tok/messages/@original"),
            Ok(Route::WebhookMessage {
                application: Snowflake(1),
                token: "tok".to_owned(),
                message: None,
            })
        );
        assert_eq!(parse("/nowhere").unwrap_err().status, 404);
        assert_eq!(parse("/guilds/abc").unwrap_err().code, 50_035);
    }

    #[test]
    fn channels_have_buckets_of_their_own() {
        let bucket = |path| Route::parse(path).unwrap().bucket(&Method::POST);
        let (one, two) = (bucket("/channels/1/messages"), bucket("/channels/2/messages"));
        assert_eq!(one.route, two.route);
        assert_ne!(one.major, two.major);
    }
}
