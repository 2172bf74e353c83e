//! Guilds with their channels, members and roles.

use hyper::Method;
use serde_json::{Value, json};

use super::call::Call;
use super::reply::{ApiError, Reply, Result};
use super::route::Route;
use crate::gateway::dispatch::{Event, Scope};
use crate::intents;
use crate::state::State;
use crate::world::member::Member;
use crate::world::snowflake::Snowflake;

/// Most members in one answer.
const MAX_MEMBERS: usize = 1_000;

impl State {
    pub(super) fn guild_route(&mut self, route: &Route, call: &Call) -> Result {
        let (Route::Guild(id)
        | Route::GuildChannels(id)
        | Route::Members(id)
        | Route::MemberSearch(id)
        | Route::Member { guild: id, .. }
        | Route::Roles(id)
        | Route::Role { guild: id, .. }
        | Route::Emojis(id)
        | Route::Sounds(id)) = route
        else {
            return Err(ApiError::not_found());
        };
        let guild = self.guild_number(*id).ok_or_else(ApiError::unknown_guild)?;
        let live = self.live.guild(guild);
        if let (Route::Member { user, .. }, &Method::PATCH) = (route, &call.method) {
            return self.edit_member(guild, user.unwrap_or(self.world.bot), call);
        }
        if call.method != Method::GET {
            return Err(ApiError::method_not_allowed());
        }
        match route {
            Route::Guild(_) => {
                let mut object = json!(self.world.guild(guild));
                let counts = call.parameter("with_counts").unwrap_or_default();
                if matches!(counts.to_ascii_lowercase().as_str(), "true" | "1") {
                    object["approximate_member_count"] = json!(self.world.members_per_guild);
                    object["approximate_presence_count"] = json!(self.world.members_per_guild / 3);
                }
                Ok(Reply::ok(&object))
            }
            Route::GuildChannels(_) => {
                let channels: Vec<_> = (0..self.world.channels_per_guild)
                    .map(|index| self.world.channel(guild, index, &live))
                    .collect();
                Ok(Reply::ok(&channels))
            }
            Route::Members(_) => self.list_members(guild, call),
            Route::MemberSearch(_) => {
                let query = call.parameter("query").filter(|query| !query.is_empty());
                let query = query.ok_or_else(|| {
                    ApiError::form("query", "BASE_TYPE_REQUIRED", "This field is required")
                })?;
                let limit = limit(call, 1, MAX_MEMBERS)?;
                let found = self.search_members(guild, &query, limit);
                Ok(Reply::ok(&self.members(guild, found)))
            }
            Route::Member { user, .. } => {
                let user = user.unwrap_or(self.world.bot);
                let index = self.world.member_index(guild, user);
                let index = index.ok_or_else(ApiError::unknown_member)?;
                Ok(Reply::ok(&self.world.member(guild, index, &live)))
            }
            Route::Roles(_) => {
                let roles: Vec<_> =
                    (0..self.world.roles_per_guild).map(|i| self.world.role(guild, i)).collect();
                Ok(Reply::ok(&roles))
            }
            Route::Role { role, .. } => (0..self.world.roles_per_guild)
                .find(|index| self.world.role_id(guild, *index) == *role)
                .map(|index| Reply::ok(&self.world.role(guild, index)))
                .ok_or_else(ApiError::unknown_role),
            Route::Emojis(_) => Ok(Reply::ok(&self.world.emojis(guild))),
            _ => Ok(Reply::ok(&json!({"items": self.world.sounds(guild)}))),
        }
    }

    fn members(&self, guild: u32, indexes: Vec<u32>) -> Vec<Member> {
        let live = self.live.guild(guild);
        indexes.into_iter().map(|index| self.world.member(guild, index, &live)).collect()
    }

    /// <https://docs.discord.com/developers/resources/guild#list-guild-members>
    fn list_members(&self, guild: u32, call: &Call) -> Result {
        if self.options.privileged_intents & intents::GUILD_MEMBERS == 0 {
            return Err(ApiError::missing_access());
        }
        let limit = limit(call, 1, MAX_MEMBERS)?;
        let after = call.parameter("after").and_then(|after| after.parse().ok());
        let after = after.unwrap_or(Snowflake(0));
        let mut ids: Vec<(Snowflake, u32)> = (0..self.world.members_per_guild)
            .map(|index| (self.world.member_id(guild, index), index))
            .filter(|(id, _)| *id > after)
            .collect();
        ids.sort_unstable();
        let page = ids.into_iter().take(limit).map(|(_, index)| index).collect();
        Ok(Reply::ok(&self.members(guild, page)))
    }

    /// <https://docs.discord.com/developers/resources/guild#modify-guild-member>
    fn edit_member(&mut self, guild: u32, user: Snowflake, call: &Call) -> Result {
        let index = self.world.member_index(guild, user).ok_or_else(ApiError::unknown_member)?;
        let body = call.object()?;
        let nick = match body.get("nick") {
            None => None,
            Some(Value::Null) => Some(None),
            Some(Value::String(nick)) if nick.chars().count() <= 32 => {
                Some(Some(nick.clone()).filter(|nick| !nick.is_empty()))
            }
            Some(_) => {
                let message = "Must be 32 or fewer in length.";
                return Err(ApiError::form("nick", "BASE_TYPE_BAD_LENGTH", message));
            }
        };
        let roles: Option<Vec<Snowflake>> = match body.get("roles") {
            None | Some(Value::Null) => None,
            Some(roles) => Some(serde_json::from_value(roles.clone()).map_err(|_| {
                ApiError::form("roles", "BASE_TYPE_LIST", "Must be a list of snowflakes.")
            })?),
        };
        let edit = self.live.edit(guild).members.entry(index).or_default();
        if nick.is_some() {
            edit.nick = nick;
        }
        if roles.is_some() {
            edit.roles = roles;
        }
        let member = self.world.member(guild, index, &self.live.guild(guild));
        let mut d = json!(member);
        d["guild_id"] = json!(self.world.guild_id(guild));
        let scope = Scope::Guild(self.world.guild_id(guild));
        let mut event = Event::new("GUILD_MEMBER_UPDATE", scope, d.to_string());
        // https://docs.discord.com/developers/events/gateway#caveats
        event.ignore_intents = user == self.world.bot;
        self.dispatch(&event);
        Ok(Reply::ok(&member))
    }
}

/// The `limit` of a list, within bounds.
pub(super) fn limit(
    call: &Call,
    default: usize,
    most: usize,
) -> std::result::Result<usize, ApiError> {
    let Some(text) = call.parameter("limit") else { return Ok(default) };
    match text.parse::<usize>() {
        Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
        _ => {
            let message = format!("int value should be between 1 and {most}.");
            Err(ApiError::form("limit", "NUMBER_TYPE_RANGE", &message))
        }
    }
}
