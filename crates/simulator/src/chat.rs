//! What people and bots do in channels: messages, edits, reactions, and the traffic of a world
//! that goes on by itself. Everything here ends in events to the sessions they concern.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::gateway::dispatch::{Event, Scope};
use crate::intents;
use crate::state::State;
use crate::world::message::{Form, Message, Place, Reaction};
use crate::world::snowflake::Snowflake;
use crate::world::traffic::{self, Happening};

/// Most direct channels that are remembered.
const MAX_DIRECTS: usize = 10_000;

impl State {
    /// Where a channel is, if the bot can see it.
    pub(crate) fn place(&self, channel: Snowflake) -> Option<Place> {
        if let Some(user) = self.directs.get(&channel) {
            return Some(Place::Direct { user: *user });
        }
        let (guild, index) = self.world.channel_number(channel)?;
        self.guild_number(self.world.guild_id(guild))?;
        Some(Place::Guild { guild, index })
    }

    /// The direct channel with a user, made when there is none.
    pub(crate) fn direct_channel(&mut self, user: Snowflake) -> Snowflake {
        if let Some((channel, _)) = self.directs.iter().find(|(_, other)| **other == user) {
            return *channel;
        }
        if self.directs.len() >= MAX_DIRECTS {
            self.directs.pop_first();
        }
        let channel = self.next_id();
        self.directs.insert(channel, user);
        channel
    }

    /// Where events of a place go.
    pub(crate) fn scope(&self, place: Place) -> Scope {
        match place {
            Place::Guild { guild, .. } => Scope::Guild(self.world.guild_id(guild)),
            Place::Direct { .. } => Scope::Direct,
        }
    }

    /// A message as a value, as REST has it.
    pub(crate) fn message_value(&self, message: &Message) -> Value {
        let live = message.place.guild().map(|guild| self.live.guild(guild)).unwrap_or_default();
        serde_json::from_str(&message.json(&self.world, &live, Form::Rest)).unwrap_or_default()
    }

    /// Keeps a new message and tells everyone. A `number` is told where the message carries it.
    pub(crate) fn publish(&mut self, message: Message, number: Option<u64>) -> Arc<Message> {
        let message = Arc::new(message);
        if let Place::Guild { guild, index } = message.place {
            self.live.edit(guild).last_message.insert(index, message.id);
        }
        self.messages.add(message.clone());
        self.announce("MESSAGE_CREATE", &message, number);
        message
    }

    /// Dispatches an event that has the whole message in it.
    pub(crate) fn announce(&mut self, t: &'static str, message: &Message, number: Option<u64>) {
        let live = message.place.guild().map(|guild| self.live.guild(guild)).unwrap_or_default();
        let text = |form| message.json(&self.world, &live, form);
        // Ephemeral messages go the way of direct ones, without guild.
        let scope = if message.is_ephemeral() { Scope::Direct } else { self.scope(message.place) };
        let mut event = Event::new(t, scope, text(Form::Event));
        if !message.is_open_to(self.world.bot) && self.has_blind_session(scope) {
            event.blank = Some(text(Form::BlankEvent).into());
        }
        event.number = number;
        self.dispatch(&event);
    }

    /// Changes a message and tells everyone.
    pub(crate) fn revise(
        &mut self,
        channel: Snowflake,
        id: Snowflake,
        change: impl FnOnce(&mut Message),
    ) -> Option<Arc<Message>> {
        let now = self.clock.unix_ms();
        let message = self.messages.get_mut(channel, id)?;
        change(message);
        message.edited_ms = Some(now);
        let message = self.messages.get(channel, id)?.clone();
        self.announce("MESSAGE_UPDATE", &message, None);
        Some(message)
    }

    /// Deletes messages of a channel and tells everyone. Returns those that were there.
    pub(crate) fn delete_messages(
        &mut self,
        channel: Snowflake,
        ids: &[Snowflake],
        bulk: bool,
    ) -> usize {
        let mut gone = Vec::new();
        let mut place = self.place(channel);
        for id in ids {
            if let Some(message) = self.messages.remove(channel, *id) {
                place = Some(message.place);
                gone.push(*id);
            }
        }
        let Some(place) = place.filter(|_| !gone.is_empty()) else { return 0 };
        let scope = self.scope(place);
        let guild_id = place.guild().map(|guild| self.world.guild_id(guild));
        let mut d = if bulk {
            json!({"ids": gone, "channel_id": channel})
        } else {
            json!({"id": gone[0], "channel_id": channel})
        };
        if let Some(guild_id) = guild_id {
            d["guild_id"] = json!(guild_id);
        }
        let t = if bulk { "MESSAGE_DELETE_BULK" } else { "MESSAGE_DELETE" };
        self.dispatch(&Event::new(t, scope, d.to_string()));
        gone.len()
    }

    /// Adds a reaction and tells everyone, unless it was there. `None` for an unknown message.
    pub(crate) fn add_reaction(
        &mut self,
        channel: Snowflake,
        id: Snowflake,
        user: Snowflake,
        emoji: &Value,
    ) -> Option<()> {
        let message = self.messages.get_mut(channel, id)?;
        let found = message.reactions.iter_mut().find(|reaction| reaction.emoji == *emoji);
        let added = match found {
            Some(reaction) if reaction.users.contains(&user) => false,
            Some(reaction) => {
                reaction.users.push(user);
                true
            }
            None => {
                let reaction = Reaction { emoji: emoji.clone(), users: vec![user] };
                message.reactions.push(reaction);
                true
            }
        };
        let (place, author) = (message.place, message.author);
        if added {
            let mut d = self.reaction_event(place, channel, id, user, emoji);
            d["message_author_id"] = json!(author);
            if let Some(guild) = place.guild()
                && let Some(index) = self.world.member_index(guild, user)
            {
                d["member"] = json!(self.world.member(guild, index, &self.live.guild(guild)));
            }
            let event = Event::new("MESSAGE_REACTION_ADD", self.scope(place), d.to_string());
            self.dispatch(&event);
        }
        Some(())
    }

    /// Takes reactions off a message and tells everyone: one user's, one emoji's, or all.
    pub(crate) fn remove_reactions(
        &mut self,
        channel: Snowflake,
        id: Snowflake,
        emoji: Option<&Value>,
        user: Option<Snowflake>,
    ) -> Option<()> {
        let message = self.messages.get_mut(channel, id)?;
        let place = message.place;
        let t = match (emoji, user) {
            (Some(emoji), Some(user)) => {
                for reaction in &mut message.reactions {
                    if reaction.emoji == *emoji {
                        reaction.users.retain(|other| *other != user);
                    }
                }
                message.reactions.retain(|reaction| !reaction.users.is_empty());
                "MESSAGE_REACTION_REMOVE"
            }
            (Some(emoji), None) => {
                message.reactions.retain(|reaction| reaction.emoji != *emoji);
                "MESSAGE_REACTION_REMOVE_EMOJI"
            }
            (None, _) => {
                message.reactions.clear();
                "MESSAGE_REACTION_REMOVE_ALL"
            }
        };
        let nobody = Snowflake(0);
        let mut d = self.reaction_event(
            place,
            channel,
            id,
            user.unwrap_or(nobody),
            emoji.unwrap_or(&Value::Null),
        );
        if let Value::Object(d) = &mut d
            && user.is_none()
        {
            for key in ["user_id", "type", "burst"] {
                d.remove(key);
            }
            if emoji.is_none() {
                d.remove("emoji");
            }
        }
        self.dispatch(&Event::new(t, self.scope(place), d.to_string()));
        Some(())
    }

    fn reaction_event(
        &self,
        place: Place,
        channel: Snowflake,
        message: Snowflake,
        user: Snowflake,
        emoji: &Value,
    ) -> Value {
        let mut d = json!({
            "user_id": user, "type": 0, "message_id": message, "emoji": emoji,
            "channel_id": channel, "burst": false,
        });
        if let Some(guild) = place.guild() {
            d["guild_id"] = json!(self.world.guild_id(guild));
        }
        d
    }

    /// Tells everyone that someone types.
    pub(crate) fn start_typing(&mut self, channel: Snowflake, user: Snowflake) -> Option<()> {
        let place = self.place(channel)?;
        let object = self.world.user(user)?;
        let guild = place.guild();
        let member = guild.and_then(|guild| {
            let index = self.world.member_index(guild, user)?;
            Some(self.world.member(guild, index, &self.live.guild(guild)))
        });
        let guild_id = guild.map(|guild| self.world.guild_id(guild));
        let d = traffic::typing(&object, member, channel, guild_id, self.clock.unix_ms());
        self.dispatch(&Event::new("TYPING_START", self.scope(place), d.to_string()));
        Some(())
    }

    /// Lets the next thing in the world happen.
    pub(crate) fn next_happening(&mut self) {
        let scene = traffic::next_scene(&self.world, &self.open_guilds, &mut self.traffic_rng);
        let Some(scene) = scene else { return };
        let number = self.next_number();
        let guild_id = self.world.guild_id(scene.guild);
        let unix_ms = self.clock.unix_ms();
        let t = scene.what.t();
        if scene.what == Happening::Message {
            let id = self.next_id();
            let message = scene.message(&self.world, number, id, unix_ms);
            if self.is_wanted(t, guild_id) {
                self.publish(message, Some(number));
            } else {
                // Kept for those who read the channel, without the cost of an event.
                self.live.edit(scene.guild).last_message.insert(scene.channel, id);
                self.messages.add(Arc::new(message));
            }
            return;
        }
        if !self.is_wanted(t, guild_id) {
            return;
        }
        let channel = self.world.channel_id(scene.guild, scene.channel);
        let newest = self.messages.of(channel).next_back();
        let reacted = newest.map(|message| (message.id, message.author));
        let live = self.live.guild(scene.guild);
        let d = scene.event(&self.world, &live, number, unix_ms, reacted);
        let mut event = Event::new(t, Scope::Guild(guild_id), d);
        event.number = Some(number);
        self.dispatch(&event);
    }

    /// Fills in whom a text mentions: `<@id>` and `<@&id>`, as far as `allowed` lets it.
    /// <https://docs.discord.com/developers/resources/message#allowed-mentions-object>
    pub(crate) fn find_mentions(&self, message: &mut Message, allowed: Option<&Value>) {
        let parse = |kind: &str| match allowed {
            None => true,
            Some(allowed) => {
                allowed["parse"].as_array().is_some_and(|all| all.iter().any(|one| one == kind))
            }
        };
        let listed = |kind: &str, id: Snowflake| {
            allowed.is_some_and(|allowed| {
                let ids = allowed[kind].as_array();
                ids.is_some_and(|ids| ids.iter().any(|one| *one == json!(id)))
            })
        };
        message.mention_everyone = parse("everyone")
            && (message.content.contains("@everyone") || message.content.contains("@here"));
        message.mentions.clear();
        message.mention_roles.clear();
        for piece in message.content.split("<@").skip(1) {
            let Some((id, _)) = piece.split_once('>') else { continue };
            if let Some(role) = id.strip_prefix('&') {
                let Ok(id) = role.parse::<Snowflake>() else { continue };
                let known = !message.mention_roles.contains(&id);
                if known && (parse("roles") || listed("roles", id)) {
                    message.mention_roles.push(id);
                }
            } else {
                let Ok(id) = id.trim_start_matches('!').parse::<Snowflake>() else { continue };
                let known = !message.mentions.contains(&id) && self.world.user(id).is_some();
                if known && (parse("users") || listed("users", id)) {
                    message.mentions.push(id);
                }
            }
        }
        if let Some(replied) = &message.referenced {
            let ping = allowed.is_none_or(|allowed| allowed["replied_user"] != json!(false));
            if ping && !message.mentions.contains(&replied.author) {
                message.mentions.push(replied.author);
            }
        }
    }

    /// Whether a session of this shard may see what members write.
    pub(crate) fn sees_content(&self) -> bool {
        self.options.privileged_intents & intents::MESSAGE_CONTENT != 0
    }
}
