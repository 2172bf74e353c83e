//! JSON as anybody might write it: any white space, escapes where none are needed, keys that look
//! like something else.

use proptest::collection::vec;
use proptest::prelude::*;

/// White space between tokens.
pub(crate) fn space() -> impl Strategy<Value = String> {
    prop_oneof![8 => Just(String::new()), 1 => "[ \t\r\n]{1,3}"]
}

/// A string with its quotes; some characters are escaped, whether that is needed or not.
pub(crate) fn string() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        6 => "[ -!#-\\[\\]-~]{1,6}",
        2 => prop_oneof![
            Just("\\\""), Just("\\\\"), Just("\\/"), Just("\\n"), Just("\\u0022"), Just("\\u00e9"),
            Just("\\ud83d\\udd25"), Just("{"), Just("}"), Just("\\\\\\\""), Just(",\\\"op\\\":9"),
        ].prop_map(str::to_owned),
        1 => "[é🔥\u{7f}-\u{9f}\u{2028}]{1,2}",
    ];
    vec(part, 0..5).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

/// Any value.
pub(crate) fn value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null").prop_map(str::to_owned),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        any::<i32>().prop_map(|n| n.to_string()),
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        string(),
    ];
    scalar.prop_recursive(5, 40, 6, |inner| {
        let list = vec((space(), inner.clone(), space()), 0..6).prop_map(|parts| {
            let parts = parts.into_iter().map(|(a, value, b)| format!("{a}{value}{b}"));
            format!("[{}]", parts.collect::<Vec<_>>().join(","))
        });
        let key = prop_oneof![
            3 => string(),
            1 => prop_oneof![Just("\"op\""), Just("\"s\""), Just("\"t\""), Just("\"d\"")]
                .prop_map(str::to_owned),
        ];
        prop_oneof![list, vec((key, inner), 0..6).prop_flat_map(object)]
    })
}

/// An object with these members, keys with their quotes, in this order.
pub(crate) fn object(members: Vec<(String, String)>) -> impl Strategy<Value = String> {
    let spaces = vec([space(), space(), space(), space()], members.len());
    (spaces, space()).prop_map(move |(spaces, inside)| {
        let parts = members
            .iter()
            .zip(spaces)
            .map(|((key, value), [a, b, c, d])| format!("{a}{key}{b}:{c}{value}{d}"));
        let parts = parts.collect::<Vec<_>>().join(",");
        if parts.is_empty() { format!("{{{inside}}}") } else { format!("{{{parts}}}") }
    })
}
