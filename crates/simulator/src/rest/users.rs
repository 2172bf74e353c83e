//! The bot itself, its application, other users, and where the gateway is.

use hyper::Method;
use serde_json::{Value, json};

use super::call::Call;
use super::reply::{ApiError, Reply, Result};
use super::route::Route;
use crate::state::State;
use crate::world::channel::channel_type;
use crate::world::snowflake::Snowflake;

/// Most guilds in one answer.
const MAX_GUILDS: usize = 200;

impl State {
    pub(super) fn user_route(&mut self, route: &Route, call: &Call) -> Result {
        let method = &call.method;
        match route {
            Route::Gateway if method == Method::GET => {
                Ok(Reply::ok(&json!({"url": self.gateway_url(call.host.as_deref())})))
            }
            Route::GatewayBot if method == Method::GET => {
                let now = self.clock.now();
                let concurrency = self.options.max_concurrency;
                Ok(Reply::ok(&json!({
                    "url": self.gateway_url(call.host.as_deref()),
                    "shards": self.options.recommended_shards,
                    "session_start_limit": self.gateway.starts.object(now, concurrency),
                })))
            }
            Route::Me if method == Method::GET => Ok(Reply::ok(&self.world.current_user())),
            Route::MyGuilds if method == Method::GET => Ok(self.my_guilds(call)),
            Route::LeaveGuild(guild) if method == Method::DELETE => {
                let guild = self.guild_number(*guild).ok_or_else(ApiError::unknown_guild)?;
                self.leave_guild(guild);
                Ok(Reply::empty())
            }
            Route::CreateDm if method == Method::POST => self.create_dm(call),
            Route::User(user) if method == Method::GET => {
                let user = self.world.user(*user).ok_or_else(ApiError::unknown_user)?;
                Ok(Reply::ok(&user))
            }
            Route::Application | Route::OAuthApplication if method == Method::GET => {
                Ok(Reply::ok(&self.application()))
            }
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    /// <https://docs.discord.com/developers/resources/application#application-object>
    fn application(&self) -> Value {
        let flags = self.application_flags();
        let owner = self.world.user_by_number(0);
        let name = &self.options.bot_name;
        json!({
            "id": self.world.application, "name": name, "icon": null, "description": "",
            "summary": "", "type": null, "bot_public": true, "bot_require_code_grant": false,
            "verify_key": "0".repeat(64), "flags": flags, "flags_new": flags.to_string(),
            "owner": owner, "team": null, "bot": self.world.bot_user(), "hook": true,
            "is_monetized": false, "integration_types_config": {"0": {}}, "redirect_uris": [],
            "interactions_endpoint_url": null, "role_connections_verification_url": null,
            "approximate_guild_count": self.guilds().count(), "tags": [],
            "approximate_user_install_count": 0, "approximate_user_authorization_count": 0,
        })
    }

    /// <https://docs.discord.com/developers/resources/user#get-current-user-guilds>
    fn my_guilds(&self, call: &Call) -> Reply {
        let number = |name: &str| call.parameter(name).and_then(|value| value.parse::<u64>().ok());
        let limit = number("limit").map_or(MAX_GUILDS, |limit| (limit as usize).min(MAX_GUILDS));
        let after = number("after").unwrap_or(0);
        let before = number("before").unwrap_or(u64::MAX);
        let mut ids: Vec<(Snowflake, u32)> =
            self.guilds().map(|guild| (self.world.guild_id(guild), guild)).collect();
        ids.sort_unstable();
        let guilds: Vec<Value> = ids
            .into_iter()
            .filter(|(id, _)| id.0 > after && id.0 < before)
            .take(limit)
            .map(|(_, guild)| {
                let object = json!(self.world.guild(guild));
                json!({
                    "id": object["id"], "name": object["name"], "icon": object["icon"],
                    "banner": null, "owner": false, "permissions": "2248473465835073",
                    "features": object["features"],
                    "approximate_member_count": self.world.members_per_guild,
                    "approximate_presence_count": self.world.members_per_guild / 3,
                })
            })
            .collect();
        Reply::ok(&guilds)
    }

    /// <https://docs.discord.com/developers/resources/user#create-dm>
    fn create_dm(&mut self, call: &Call) -> Result {
        let recipient = call.object()?.get("recipient_id").cloned().unwrap_or_default();
        let user: Snowflake = serde_json::from_value(recipient).map_err(|_| {
            ApiError::form("recipient_id", "BASE_TYPE_REQUIRED", "This field is required")
        })?;
        if user == self.world.bot || self.world.user(user).is_none() {
            return Err(ApiError::new(400, 50_033, "Invalid Recipient(s)"));
        }
        let channel = self.direct_channel(user);
        Ok(Reply::ok(&self.direct_object(channel, user)))
    }

    /// A direct channel.
    pub(super) fn direct_object(&self, channel: Snowflake, user: Snowflake) -> Value {
        let last = self.messages.of(channel).next_back().map(|message| message.id);
        json!({
            "id": channel, "type": channel_type::DM, "last_message_id": last, "flags": 0,
            "recipients": [self.world.user(user)],
        })
    }
}
