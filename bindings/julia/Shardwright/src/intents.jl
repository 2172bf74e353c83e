# Discord's intents as numbers to be or-ed together.
# https://discord.com/developers/docs/events/gateway#list-of-intents

for (bit, name) in (
    0 => :Guilds, 1 => :GuildMembers, 2 => :GuildModeration, 3 => :GuildExpressions, 4 => :GuildIntegrations,
    5 => :GuildWebhooks, 6 => :GuildInvites, 7 => :GuildVoiceStates, 8 => :GuildPresences, 9 => :GuildMessages,
    10 => :GuildMessageReactions, 11 => :GuildMessageTyping, 12 => :DirectMessages, 13 => :DirectMessageReactions,
    14 => :DirectMessageTyping, 15 => :MessageContent, 16 => :GuildScheduledEvents,
    20 => :AutoModerationConfiguration, 21 => :AutoModerationExecution, 24 => :GuildMessagePolls,
    25 => :DirectMessagePolls,
)
    intent = Symbol(:Intent, name)
    @eval const $intent = $(1 << bit)
    @eval export $intent
    @eval @doc $("The intent `$intent`; or several together: `IntentGuilds | IntentGuildMessages`.") $intent
end

"Intents as the configuration takes them: a number, or a list of names such as `[:GUILDS, :GUILD_MESSAGES]`."
intents_config(intents::Integer) = intents
intents_config(intents::Union{Symbol,AbstractString}) = [String(intents)]
intents_config(intents) = map(String, collect(intents))

"""
The types of an activity, by their names: `(name = "chess", type = ActivityTypes.GAME)`.
See [Discord's list](https://discord.com/developers/docs/events/gateway-events#activity-object-activity-types).
"""
module ActivityTypes

const GAME = 0
const STREAMING = 1
const LISTENING = 2
const WATCHING = 3
const CUSTOM = 4
const COMPETING = 5

end
