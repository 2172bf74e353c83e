//! Users: <https://docs.discord.com/developers/resources/user#user-object>.
//!
//! Fields stand in the order Discord's gateway sends them, which is the reverse of the alphabet.

use serde::Serialize;

use super::World;
use super::snowflake::{Kind, Snowflake, decode, mix, world_id};
use super::words;

/// A user as messages and members carry it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct User {
    pub(crate) username: String,
    public_flags: u32,
    primary_guild: (),
    pub(crate) id: Snowflake,
    pub(crate) global_name: Option<String>,
    display_name_styles: (),
    discriminator: &'static str,
    collectibles: (),
    clan: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bot: Option<bool>,
    avatar_decoration_data: (),
    avatar: Option<String>,
}

/// The bot's own user, as READY and `/users/@me` have it.
#[derive(Debug, Serialize)]
pub(crate) struct CurrentUser {
    verified: bool,
    #[serde(flatten)]
    user: User,
    mfa_enabled: bool,
    flags: u32,
    locale: &'static str,
    email: (),
    banner: (),
    accent_color: (),
}

impl World {
    /// The id of user number `number`.
    pub(crate) fn user_id(&self, number: u32) -> Snowflake {
        world_id(self.seed, Kind::User, number, 0)
    }

    /// The user with this id: the bot or one of the world's.
    pub(crate) fn user(&self, id: Snowflake) -> Option<User> {
        if id == self.bot {
            return Some(self.bot_user());
        }
        self.user_number(id).map(|number| self.user_by_number(number))
    }

    /// The number behind a user id.
    pub(crate) fn user_number(&self, id: Snowflake) -> Option<u32> {
        let (number, index) = decode(self.seed, Kind::User, id)?;
        (index == 0 && number < self.population()).then_some(number)
    }

    /// User number `number`.
    pub(crate) fn user_by_number(&self, number: u32) -> User {
        let roll = mix(self.seed, 1, u64::from(number), 0);
        User {
            username: words::user_name(self.seed, number),
            public_flags: if roll.is_multiple_of(10) { 1 << 6 << (roll >> 8 & 3) } else { 0 },
            primary_guild: (),
            id: self.user_id(number),
            global_name: (!roll.is_multiple_of(4))
                .then(|| words::display_name(self.seed, 1, number)),
            display_name_styles: (),
            discriminator: "0",
            collectibles: (),
            clan: (),
            bot: None,
            avatar_decoration_data: (),
            avatar: (!roll.is_multiple_of(5))
                .then(|| words::image_hash(self.seed, 1, u64::from(number))),
        }
    }

    /// The bot as a user.
    pub(crate) fn bot_user(&self) -> User {
        User {
            username: self.bot_name.clone(),
            public_flags: 1 << 16,
            primary_guild: (),
            id: self.bot,
            global_name: None,
            display_name_styles: (),
            // Bots kept their four digits.
            discriminator: "4242",
            collectibles: (),
            clan: (),
            bot: Some(true),
            avatar_decoration_data: (),
            avatar: None,
        }
    }

    /// The bot as its own user object.
    pub(crate) fn current_user(&self) -> CurrentUser {
        CurrentUser {
            verified: true,
            user: self.bot_user(),
            mfa_enabled: true,
            flags: 0,
            locale: "en-US",
            email: (),
            banner: (),
            accent_color: (),
        }
    }
}
