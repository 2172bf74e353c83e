//! Application commands: a store, and no more.
//!
//! <https://docs.discord.com/developers/interactions/application-commands>

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::call::{Body, Call};
use super::reply::{ApiError, Reply, Result};
use super::route::Route;
use crate::state::State;
use crate::world::snowflake::Snowflake;

/// Most commands of one scope: 100 slash commands and 15 of each context menu kind.
const MAX_COMMANDS: usize = 130;

/// Fields of a command that a bot cannot choose.
const OURS: [&str; 4] = ["id", "application_id", "version", "guild_id"];

/// Commands, global and of guilds.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    all: BTreeMap<Option<Snowflake>, BTreeMap<Snowflake, Value>>,
}

impl Commands {
    /// Finds a command by name, in a guild first.
    pub(super) fn find(&self, guild: Option<Snowflake>, name: &str) -> Option<&Value> {
        let scopes = [guild, None];
        scopes
            .iter()
            .find_map(|scope| self.all.get(scope)?.values().find(|command| command["name"] == name))
    }
}

impl State {
    pub(super) fn command_route(&mut self, route: &Route, call: &Call) -> Result {
        let (Route::Commands { application, guild } | Route::Command { application, guild, .. }) =
            route
        else {
            return Err(ApiError::not_found());
        };
        if *application != self.world.application {
            return Err(ApiError::unknown_application());
        }
        if let Some(id) = guild {
            self.guild_number(*id).ok_or_else(ApiError::unknown_guild)?;
        }
        let guild = *guild;
        match (route, call.method.as_str()) {
            (Route::Commands { .. }, "GET") => {
                let commands = self.rest.commands.all.get(&guild);
                let commands: Vec<&Value> =
                    commands.into_iter().flat_map(BTreeMap::values).collect();
                Ok(Reply::ok(&commands))
            }
            (Route::Commands { .. }, "PUT") => {
                let Body::Json(Value::Array(wanted)) = &call.body else {
                    return Err(ApiError::form("", "BASE_TYPE_LIST", "Must be a list."));
                };
                if wanted.len() > MAX_COMMANDS {
                    let text = "Maximum number of application commands reached";
                    return Err(ApiError::new(400, 30_032, text));
                }
                let mut commands = BTreeMap::new();
                for (index, wanted) in wanted.iter().enumerate() {
                    let command = self.stored_command(guild, wanted, &format!("{index}."))?;
                    commands.insert(command.0, command.1);
                }
                let reply = Reply::ok(&commands.values().collect::<Vec<_>>());
                self.rest.commands.all.insert(guild, commands);
                Ok(reply)
            }
            (Route::Commands { .. }, "POST") => {
                let wanted = Value::Object(call.object()?.clone());
                let (id, command) = self.stored_command(guild, &wanted, "")?;
                let commands = self.rest.commands.all.entry(guild).or_default();
                if commands.len() >= MAX_COMMANDS && !commands.contains_key(&id) {
                    let text = "Maximum number of application commands reached";
                    return Err(ApiError::new(400, 30_032, text));
                }
                let status = if commands.contains_key(&id) { 200 } else { 201 };
                commands.insert(id, command.clone());
                Ok(Reply::json(status, command.to_string()))
            }
            (Route::Command { command, .. }, method) => {
                let commands = self.rest.commands.all.entry(guild).or_default();
                let found = commands.get_mut(command).ok_or_else(ApiError::unknown_command)?;
                match method {
                    "GET" => Ok(Reply::ok(found)),
                    "PATCH" => {
                        for (name, value) in call.object()? {
                            found[name] = value.clone();
                        }
                        Ok(Reply::ok(found))
                    }
                    "DELETE" => {
                        commands.remove(command);
                        Ok(Reply::empty())
                    }
                    _ => Err(ApiError::method_not_allowed()),
                }
            }
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    /// The stored form of a command; one of the same name keeps its id.
    fn stored_command(
        &mut self,
        guild: Option<Snowflake>,
        wanted: &Value,
        field: &str,
    ) -> std::result::Result<(Snowflake, Value), ApiError> {
        let empty = Map::new();
        let wanted = wanted.as_object().unwrap_or(&empty);
        let kind = wanted.get("type").and_then(Value::as_u64).unwrap_or(1);
        let name = wanted.get("name").and_then(Value::as_str).unwrap_or_default();
        if !(1..=32).contains(&name.chars().count()) {
            let text = "Must be between 1 and 32 in length.";
            return Err(ApiError::form(&format!("{field}name"), "BASE_TYPE_BAD_LENGTH", text));
        }
        let description = wanted.get("description").and_then(Value::as_str).unwrap_or_default();
        if kind == 1 && !(1..=100).contains(&description.chars().count()) {
            let text = "Must be between 1 and 100 in length.";
            let field = format!("{field}description");
            return Err(ApiError::form(&field, "BASE_TYPE_BAD_LENGTH", text));
        }
        let same = |command: &&Value| command["name"] == name && command["type"] == kind;
        let known = self.rest.commands.all.get(&guild);
        let known = known.and_then(|commands| commands.values().find(same));
        let id = known.and_then(|command| serde_json::from_value(command["id"].clone()).ok());
        let id = id.unwrap_or_else(|| self.next_id());
        let mut command = json!({
            "id": id, "application_id": self.world.application, "version": self.next_id(),
            "default_member_permissions": null, "type": kind, "name": name,
            "name_localizations": null, "description": description,
            "description_localizations": null, "dm_permission": true, "contexts": null,
            "integration_types": [0], "nsfw": false, "options": [],
        });
        for (name, value) in wanted.iter().filter(|(name, _)| !OURS.contains(&name.as_str())) {
            command[name] = value.clone();
        }
        if let Some(guild) = guild {
            command["guild_id"] = json!(guild);
        }
        Ok((id, command))
    }
}
