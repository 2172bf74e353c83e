//! Guilds that fail, recover, come and go.

use serde_json::{Value, json};

use super::act::invalid;
use super::{Action, ControlError, Result};
use crate::gateway::dispatch::{Body, Event, Scope};
use crate::intents;
use crate::options::MAX_GUILDS;
use crate::state::State;
use crate::world::snowflake::Snowflake;

impl State {
    fn known_guild(&self, id: Snowflake) -> Result<u32> {
        self.guild_number(id).ok_or(ControlError::UnknownGuild(id))
    }

    pub(super) fn change_guild(&mut self, action: &Action) -> Result<Value> {
        match action {
            Action::Withhold { guilds } => {
                for id in guilds {
                    let guild = self.known_guild(*id)?;
                    self.live.withheld.insert(guild);
                }
            }
            Action::Release { guilds } => {
                let released: Vec<u32> = if guilds.is_empty() {
                    self.live.withheld.iter().copied().collect()
                } else {
                    guilds.iter().map(|id| self.known_guild(*id)).collect::<Result<_>>()?
                };
                for guild in released {
                    if self.live.withheld.remove(&guild) {
                        self.introduce(guild);
                    }
                }
            }
            Action::GuildDown { guild } => {
                let number = self.known_guild(*guild)?;
                if self.live.down.insert(number) {
                    let d = json!({"unavailable": true, "id": guild});
                    let scope = Scope::Guild(*guild);
                    self.dispatch(&Event::new("GUILD_DELETE", scope, d.to_string()));
                }
            }
            Action::GuildUp { guild } => {
                let number = self.known_guild(*guild)?;
                if self.live.down.remove(&number) {
                    self.introduce(number);
                }
            }
            Action::LeaveGuild { guild } => {
                let number = self.known_guild(*guild)?;
                self.leave_guild(number);
            }
            _ => {
                let number = self.world.first_guilds + self.live.joined;
                if number >= MAX_GUILDS {
                    return Err(invalid("the world has no room for another guild"));
                }
                self.live.joined += 1;
                self.introduce(number);
                self.refresh_open_guilds();
                return Ok(json!({"guild": self.world.guild_id(number)}));
            }
        }
        self.refresh_open_guilds();
        Ok(Value::Null)
    }

    /// Sends a guild's `GUILD_CREATE` to the sessions of its shard.
    fn introduce(&mut self, guild: u32) {
        let id = self.world.guild_id(guild);
        for key in self.gateway.sessions.on_shard(|total| id.shard(total)) {
            let session = self.gateway.sessions.get(key);
            let wanted =
                session.is_some_and(|session| session.viewer.intents & intents::GUILDS != 0);
            if wanted {
                self.append(key, "GUILD_CREATE".into(), Body::GuildCreate(guild), None);
            }
        }
    }

    /// Removes the bot from a guild.
    pub(crate) fn leave_guild(&mut self, guild: u32) {
        let id = self.world.guild_id(guild);
        self.live.left.insert(guild);
        self.live.down.remove(&guild);
        self.live.withheld.remove(&guild);
        self.refresh_open_guilds();
        let d = json!({"id": id});
        self.dispatch(&Event::new("GUILD_DELETE", Scope::Guild(id), d.to_string()));
    }
}
