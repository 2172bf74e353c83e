//! Scripts: actions with a time, from a file.

use std::path::Path;

use serde_json::{Map, Value};

use super::Action;

/// Actions in the order of their time.
///
/// As TOML, each step a table with `at_ms` and the action's fields:
///
/// ```toml
/// [[step]]
/// at_ms = 5000
/// do = "drop"
/// target = { shard = 1 }
/// how = "reset"
/// ```
///
/// As JSON `{"step": [{"at_ms": 5000, "do": "drop", "target": {"shard": 1}, "how": "reset"}]}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Script {
    steps: Vec<Step>,
}

/// An action and when it is carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Milliseconds after the script began.
    pub at_ms: u64,
    /// The action.
    pub action: Action,
}

/// What is wrong with a script.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// The file cannot be read.
    #[error("cannot read the script: {0}")]
    Io(#[from] std::io::Error),
    /// The file is neither TOML nor JSON by its name.
    #[error("a script's name ends in .toml or .json")]
    Extension,
    /// The text is not TOML.
    #[error("the script is not TOML: {0}")]
    Toml(#[from] toml::de::Error),
    /// The text is not JSON.
    #[error("the script is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The text is no list of steps.
    #[error("a script is a list of tables `step`")]
    NoSteps,
    /// A step is wrong.
    #[error("step {number}: {problem}")]
    Step {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        problem: String,
    },
}

impl Script {
    /// A script of these steps, which it puts in order.
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut steps: Vec<Step> = steps.into_iter().collect();
        steps.sort_by_key(|step| step.at_ms);
        Self { steps }
    }

    /// The steps, in the order of their time.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Reads a file that ends in `.toml` or `.json`.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ScriptError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Self::from_toml(&text),
            Some("json") => Self::from_json(&text),
            _ => Err(ScriptError::Extension),
        }
    }

    /// Reads TOML.
    pub fn from_toml(text: &str) -> Result<Self, ScriptError> {
        Self::from_value(toml::from_str(text)?)
    }

    /// Reads JSON.
    pub fn from_json(text: &str) -> Result<Self, ScriptError> {
        Self::from_value(serde_json::from_str(text)?)
    }

    fn from_value(mut script: Value) -> Result<Self, ScriptError> {
        let steps = match &mut script {
            Value::Object(script) if script.len() == 1 => script.remove("step"),
            Value::Array(_) => Some(script),
            _ => None,
        };
        let Some(Value::Array(steps)) = steps else { return Err(ScriptError::NoSteps) };
        let steps = steps.into_iter().enumerate().map(|(index, step)| {
            parse_step(step).map_err(|problem| ScriptError::Step { number: index + 1, problem })
        });
        Ok(Self::new(steps.collect::<Result<Vec<_>, _>>()?))
    }
}

fn parse_step(step: Value) -> Result<Step, String> {
    let Value::Object(mut step) = step else { return Err("is no table".to_owned()) };
    let at_ms = step.remove("at_ms").ok_or("needs `at_ms`")?;
    let at_ms = at_ms.as_u64().ok_or("`at_ms` must be a whole number")?;
    Ok(Step { at_ms, action: parse_action(step)? })
}

/// An action from its fields, with an error that names what is wrong.
pub(super) fn parse_action(fields: Map<String, Value>) -> Result<Action, String> {
    if !fields.get("do").is_some_and(Value::is_string) {
        return Err("needs `do`, the action's name".to_owned());
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::{ConnectPlan, Target};
    use super::*;
    use crate::wire::Cut;

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = Script::from_toml(
            r#"
            [[step]]
            at_ms = 9000
            do = "plan"
            count = 2
            plan = { handshake = { refuse = { status = 502 } } }

            [[step]]
            at_ms = 5000
            do = "drop"
            target = { shard = 1 }
            how = "reset"
            "#,
        )
        .unwrap();
        let json = Script::from_json(
            r#"[{"at_ms":5000,"do":"drop","target":{"shard":1},"how":"reset"},
                {"at_ms":9000,"do":"plan","count":2,
                 "plan":{"handshake":{"refuse":{"status":502}}}}]"#,
        )
        .unwrap();
        assert_eq!(toml, json);
        assert_eq!(
            toml.steps()[0].action,
            Action::Drop { target: Target::Shard(1), how: Cut::Reset }
        );
        assert_eq!(
            toml.steps()[1].action,
            Action::Plan { count: Some(2), plan: ConnectPlan::refuse(502, "") }
        );
    }

    #[test]
    fn mistakes_are_named_with_their_step() {
        let error = |text: &str| Script::from_json(text).unwrap_err().to_string();
        assert_eq!(error("{}"), "a script is a list of tables `step`");
        assert_eq!(error(r#"[{"do":"drop"}]"#), "step 1: needs `at_ms`");
        assert_eq!(
            error(r#"[{"at_ms":1,"do":"join_guild"},{"at_ms":1}]"#),
            "step 2: needs `do`, the action's name"
        );
        let unknown = error(r#"[{"at_ms":1,"do":"drop","how":"fin","tarmac":"all"}]"#);
        assert!(unknown.contains("tarmac"), "{unknown}");
        let unknown = error(r#"[{"at_ms":1,"do":"explode"}]"#);
        assert!(unknown.contains("explode"), "{unknown}");
    }
}
