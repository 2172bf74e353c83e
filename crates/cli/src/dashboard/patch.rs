//! What has changed between two JSON documents, as a merge patch.
//!
//! Source: <https://www.rfc-editor.org/rfc/rfc7386>.

use serde_json::{Map, Value};

/// The patch that makes `new` of `old`; `None` where they are the same. A member of `new` that is null cannot be told from
/// one that is gone, which is the same to who reads it.
pub(crate) fn between(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        let change = match old.get(key) {
            Some(before) => between(before, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As the standard has it.
    fn apply(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        let target = target.as_object_mut().expect("an object");
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                apply(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }

    #[test]
    fn a_patch_makes_one_of_the_other() {
        let documents = [
            json!({}),
            json!({"a": 1, "b": {"c": [1, 2], "d": "x"}}),
            json!({"a": 2, "b": {"c": [2], "e": {"f": true}}}),
            json!({"b": 7, "g": {}}),
            json!({"b": {"e": {"f": false}}, "g": {"h": 1.5}}),
        ];
        for old in &documents {
            for new in &documents {
                let mut document = old.clone();
                match between(old, new) {
                    Some(patch) => apply(&mut document, &patch),
                    None => assert_eq!(old, new),
                }
                assert_eq!(document, *new, "from {old}");
            }
        }
    }

    #[test]
    fn it_has_nothing_that_stays() {
        let old =
            json!({"shards": {"0": {"state": "ready", "events": 5}, "1": {"state": "ready"}}});
        let new =
            json!({"shards": {"0": {"state": "ready", "events": 6}, "1": {"state": "ready"}}});
        assert_eq!(between(&old, &new), Some(json!({"shards": {"0": {"events": 6}}})));
        assert_eq!(between(&old, &old), None);
    }
}
