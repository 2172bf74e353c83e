//! The `rest` command of hosts, as JSON.
//!
//! Read by hand, key by key: errors name what is wrong without repeating the value, as serde would.
//! Values can be tokens in the wrong place, or the contents of files.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::file::File;
use super::request::{Request, wrong};
use crate::config::{MAX_COMMAND_BYTES, MAX_REST_FILES};
use crate::error::Error;

/// Base64 as in RFC 4648; some encoders leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The longest key that an error repeats. A longer one is something else in the wrong place.
const MAX_KEY_CHARS: usize = 32;

/// The members of a JSON object. `null` is the same as nothing.
struct Members<'a> {
    /// What the object is called in errors; empty for the command itself.
    key: &'a str,
    members: BTreeMap<String, Option<&'a RawValue>>,
}

/// A JSON string, borrowed if it has no escapes: files are long.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Request {
    /// Reads a `rest` command:
    ///
    /// ```json
    /// {"type": "rest", "method": "POST", "path": "/channels/1/messages",
    ///  "body": {"content": "Hello"}, "query": {"wait": true}, "reason": "because",
    ///  "files": [{"name": "a.png", "data": "<base64>", "content_type": "image/png"}]}
    /// ```
    ///
    /// `body` is any JSON, and goes out byte for byte. `query` holds strings, numbers, booleans, and
    /// arrays of them. A file can have the `path` of a file on disk instead of `data`, and is named
    /// like that unless it has a `name`; with a `field`, it goes to that form field instead of
    /// `files[n]`, and the members of `body` become form fields as well. `null` is nothing.
    ///
    /// # Errors
    /// `InvalidArgument`, with the key and what is wrong with it.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        if json.len() > MAX_COMMAND_BYTES {
            return Err(wrong(format!("a command of more than {MAX_COMMAND_BYTES} bytes")));
        }
        let mut command = Members::of_text(json)?;
        if command.text("type")?.is_some_and(|kind| kind != "rest") {
            return Err(wrong("`type` is not \"rest\""));
        }
        let method = command.text("method")?.ok_or_else(|| wrong("`method` is missing"))?;
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes());
        let path = command.text("path")?.ok_or_else(|| wrong("`path` is missing"))?;
        // A method that cannot even be one is as unknown as CONNECT.
        let mut request = Self::new(method.unwrap_or(Method::CONNECT), &path)?;

        if let Some(query) = command.take("query") {
            request = read_query(request, query)?;
        }
        if let Some(body) = command.take("body") {
            request = request.with_json(Bytes::copy_from_slice(body.get().as_bytes()))?;
        }
        if let Some(reason) = command.text("reason")? {
            request = request.with_reason(&reason)?;
        }
        if let Some(files) = command.take("files") {
            for (index, file) in list("files", files, MAX_REST_FILES)?.into_iter().enumerate() {
                request = request.with_file(read_file(&format!("files[{index}]"), file)?)?;
            }
        }
        command.finish("type, method, path, query, body, reason and files")?;
        Ok(request)
    }
}

/// Adds what is in `query`.
fn read_query(mut request: Request, query: &RawValue) -> Result<Request, Error> {
    for (name, value) in Members::of("query", query)?.members {
        let Some(value) = value else { continue };
        let is_list = value.get().starts_with('[');
        let key = format!("query.{}", shorten(&name));
        let values = if is_list { list(&key, value, usize::MAX)? } else { vec![value] };
        for value in values {
            request = request.with_query(&name, &query_value(&key, value)?)?;
        }
    }
    Ok(request)
}

/// A value of a query. Numbers stay as they are written: an id must not become a float.
fn query_value<'a>(key: &str, value: &'a RawValue) -> Result<Cow<'a, str>, Error> {
    match value.get().as_bytes() {
        [b'"', ..] => text(key, value),
        [b'{' | b'[' | b'n', ..] => {
            Err(wrong(format!("`{key}` is no string, number or boolean, nor an array of those")))
        }
        _ => Ok(value.get().into()),
    }
}

/// One of `files`.
fn read_file(key: &str, json: &RawValue) -> Result<File, Error> {
    // A file does not know which one it is.
    let named = |error: Error| wrong(format!("`{key}`: {error}"));
    let mut members = Members::of(key, json)?;
    let name = members.text("name")?;
    let mut file = match (members.take("data"), members.text("path")?) {
        (Some(data), None) => {
            let name = name.ok_or_else(|| wrong(format!("`{key}.name` is missing")))?;
            let data_key = format!("{key}.data");
            let data = BASE64
                .decode(text(&data_key, data)?.as_bytes())
                .map_err(|error| wrong(format!("`{data_key}` is no Base64: {error}")))?;
            File::new(&name, data)
        }
        (None, Some(path)) => File::on_disk(path.into_owned(), name.as_deref()),
        _ => return Err(wrong(format!("`{key}` needs either `data` or `path`"))),
    };
    if let Some(content_type) = members.text("content_type")? {
        file = file.and_then(|file| file.with_content_type(&content_type));
    }
    if let Some(field) = members.text("field")? {
        file = file.and_then(|file| file.with_field(&field));
    }
    members.finish("name, data, path, content_type and field")?;
    file.map_err(named)
}

/// The items of an array.
fn list<'a>(key: &str, json: &'a RawValue, most: usize) -> Result<Vec<&'a RawValue>, Error> {
    let items: Vec<&RawValue> =
        serde_json::from_str(json.get()).map_err(|_| wrong(format!("`{key}` is no array")))?;
    if items.len() > most {
        return Err(wrong(format!("`{key}` has more than {most} items")));
    }
    Ok(items)
}

/// A string.
fn text<'a>(key: &str, json: &'a RawValue) -> Result<Cow<'a, str>, Error> {
    let Text(text) = serde_json::from_str(json.get())
        .map_err(|_| wrong(format!("`{key}` is no string, or not a valid one")))?;
    Ok(text)
}

/// A key as an error can repeat it.
fn shorten(key: &str) -> String {
    let mut short: String = key.chars().take(MAX_KEY_CHARS).flat_map(char::escape_debug).collect();
    if key.chars().nth(MAX_KEY_CHARS).is_some() {
        short.push('…');
    }
    short
}

impl<'a> Members<'a> {
    /// The members of the command itself.
    fn of_text(json: &'a str) -> Result<Self, Error> {
        let members = serde_json::from_str(json).map_err(|error| {
            wrong(format!("the command is no JSON object: {}", position(&error)))
        })?;
        Ok(Self { key: "", members })
    }

    /// The members of the object that stands at `key`.
    fn of(key: &'a str, json: &'a RawValue) -> Result<Self, Error> {
        let members = serde_json::from_str(json.get())
            .map_err(|_| wrong(format!("`{key}` is no JSON object")))?;
        Ok(Self { key, members })
    }

    /// Takes a member out.
    fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        self.members.remove(name).flatten()
    }

    /// Takes a string out.
    fn text(&mut self, name: &str) -> Result<Option<Cow<'a, str>>, Error> {
        self.take(name).map(|json| text(&self.path(name), json)).transpose()
    }

    /// Refuses what nobody took.
    fn finish(self, known: &str) -> Result<(), Error> {
        let Some(name) = self.members.keys().next() else { return Ok(()) };
        let name = self.path(&shorten(name));
        Err(wrong(format!("unknown key `{name}`; there are {known}")))
    }

    /// What a member is called in errors.
    fn path(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }
}

/// Where serde stopped, without what it found there.
fn position(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => "expected { … }".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::Content;
    use super::*;

    fn read(json: &str) -> Request {
        Request::from_json(json).expect(json)
    }

    fn error(json: &str) -> String {
        Request::from_json(json).expect_err(json).to_string()
    }

    fn with(extra: &str) -> String {
        format!(r#"{{"type":"rest","method":"POST","path":"/channels/1/messages",{extra}}}"#)
    }

    #[test]
    fn a_whole_command_is_read() {
        let request = read(
            r#" { "type": "rest", "method": "patch", "path": "channels/1?a=b",
                "body": { "content" : "h\u00e9\u0001", "n": 1e2 , "n": 18446744073709551616},
                "query": {"limit": 50, "around": "1 2", "x": null, "id": [1, "2", true]},
                "reason": "Jörg's & rain ☔",
                "files": [{"name": "a.png", "data": "aGk", "content_type": "image/png"},
                          {"name": "b", "data": "aGk=", "content_type": null}] } "#,
        );
        assert_eq!(request.method, Method::PATCH);
        assert_eq!(request.path, "/channels/1");
        assert_eq!(request.query, "a=b&around=1%202&id=1&id=2&id=true&limit=50");
        let body = r#"{ "content" : "h\u00e9\u0001", "n": 1e2 , "n": 18446744073709551616}"#;
        assert_eq!(request.body.as_deref(), Some(body.as_bytes()), "byte for byte");
        let reason = "J%C3%B6rg%27s%20%26%20rain%20%E2%98%94";
        assert_eq!(request.reason.as_ref().expect("a reason"), reason);
        let files: Vec<_> = request.files.iter().map(|file| file.content_type.as_bytes()).collect();
        assert_eq!(files, [&b"image/png"[..], b"application/octet-stream"]);
        for file in &request.files {
            assert!(matches!(&file.content, Content::Bytes(bytes) if bytes == "hi"));
        }
    }

    #[test]
    fn little_is_enough() {
        for method in ["GET", "get", "DELETE", "PUT", "HEAD", "OPTIONS"] {
            let request = read(&format!(r#"{{"method":"{method}","path":"users/@me"}}"#));
            assert_eq!(request.method.as_str(), method.to_ascii_uppercase());
            assert_eq!((request.path.as_str(), request.query.as_str()), ("/users/@me", ""));
            assert!(request.body.is_none() && request.reason.is_none() && request.files.is_empty());
        }
        for (json, body) in [("null", None), ("\"x\"", Some("\"x\"")), ("[]", Some("[]"))] {
            let request = read(&with(&format!("\"body\":{json}")));
            assert_eq!(request.body.as_deref(), body.map(str::as_bytes));
        }
    }

    #[test]
    fn ids_in_a_query_stay_whole() {
        let query = r#""query":{"after":1125899906842624123,"big":123456789012345678901234567890}"#;
        let expected = "after=1125899906842624123&big=123456789012345678901234567890";
        assert_eq!(read(&with(query)).query, expected);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = "x".repeat(513);
        let with = |extra: String| with(&extra);
        let many = vec![r#"{"name":"a","data":""}"#; MAX_REST_FILES + 1].join(",");
        for (json, parts) in [
            (String::new(), ["no JSON object", "EOF"]),
            ("[]".into(), ["no JSON object", "{ … }"]),
            (r#"{"method":"GET","path":"/x"} x"#.into(), ["no JSON object", "trailing"]),
            (r#"{"path":"/x"}"#.into(), ["`method`", "missing"]),
            (r#"{"method":"GET"}"#.into(), ["`path`", "missing"]),
            (r#"{"method":7,"path":"/x"}"#.into(), ["`method`", "string"]),
            (r#"{"method":"FETCH","path":"/x"}"#.into(), ["`method`", "GET"]),
            (r#"{"method":"CONNECT","path":"/x"}"#.into(), ["`method`", "DELETE"]),
            (r#"{"method":"G E T","path":"/x"}"#.into(), ["`method`", "DELETE"]),
            (r#"{"method":"GET","path":"/x","body":{}}"#.into(), ["GET", "`query`"]),
            (r#"{"method":"GET","path":""}"#.into(), ["`path`", "empty"]),
            (r#"{"method":"GET","path":"https://discord.com/x"}"#.into(), ["`path`", "whole URL"]),
            (with(r#""bodyy":{}"#.into()), ["unknown key `bodyy`", "body"]),
            (with(r#""type":"gateway""#.into()), ["`type`", "rest"]),
            (with(r#""reason":"""#.into()), ["`reason`", "empty"]),
            (with(format!(r#""reason":"{long}""#)), ["`reason`", "512"]),
            (with(r#""query":[]"#.into()), ["`query`", "object"]),
            (with(r#""query":{"a":{}}"#.into()), ["`query.a`", "number"]),
            (with(r#""query":{"a":[null]}"#.into()), ["`query.a`", "number"]),
            (with(format!(r#""query":{{"a":"{}"}}"#, "é".repeat(4_000))), ["`query`", "8192"]),
            (with(r#""files":{}"#.into()), ["`files`", "array"]),
            (with(format!(r#""files":[{many}]"#)), ["`files`", "32"]),
            (with(r#""files":[7]"#.into()), ["`files[0]`", "object"]),
            (with(r#""files":[{"data":""}]"#.into()), ["`files[0].name`", "missing"]),
            (with(r#""files":[{"name":"a"}]"#.into()), ["`files[0]`", "`data` or `path`"]),
            (
                with(r#""files":[{"name":"a","data":"","path":"b"}]"#.into()),
                ["`files[0]`", "`data` or `path`"],
            ),
            (with(r#""files":[{"name":"a","data":"a"}]"#.into()), ["`files[0].data`", "Base64"]),
            (with(r#""files":[{"name":"a","data":"a-_a"}]"#.into()), ["`files[0].data`", "Base64"]),
            (
                with(r#""files":[{"name":"a","data":"","x":1}]"#.into()),
                ["`files[0].x`", "content_type"],
            ),
            (with(r#""files":[{"name":"","data":""}]"#.into()), ["`files[0]`", "`name`"]),
            (with(r#""files":[{"name":"a\n","data":""}]"#.into()), ["`files[0]`", "control"]),
            (with(r#""files":[{"path":"/"}]"#.into()), ["`files[0]`", "`name`"]),
            (
                with(r#""files":[{"name":"a","data":"","content_type":"png"}]"#.into()),
                ["`files[0]`", "image/png"],
            ),
            (
                with(r#""files":[{"name":"a","data":"","content_type":"a/b\r\nX: y"}]"#.into()),
                ["`files[0]`", "image/png"],
            ),
        ] {
            let error = error(&json);
            assert!(parts.iter().all(|part| error.contains(part)), "{json}: {error}");
        }
    }

    #[test]
    fn a_reason_is_counted_in_characters() {
        let request = read(&with(&format!(r#""reason":"{}""#, "☔".repeat(512))));
        assert_eq!(request.reason.expect("a reason").len(), 512 * 9);
        assert!(error(&with(&format!(r#""reason":"{}""#, "☔".repeat(513)))).contains("512"));
    }

    /// Promise 7, scenario 73: a token in the wrong place is not repeated.
    #[test]
    fn errors_do_not_repeat_values() {
        let token = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs";
        for json in [
            format!(r#"{{"method":"{token}","path":"/x"}}"#),
            format!(r#"{{"method":"GET","path":"/webhooks/1/{token}/../x"}}"#),
            format!(r#"{{"method":"GET","path":"https://discord.com/api/webhooks/1/{token}"}}"#),
            format!(r#"{{"{token}":1,"method":"GET","path":"/x"}}"#),
            with(&format!(r#""query":"{token}""#)),
            with(&format!(r#""files":"{token}""#)),
            with(&format!(r#""files":[{{"name":"a","data":".{token}"}}]"#)),
            with(&format!(r#""type":"{token}""#)),
            format!("\"{token}\""),
        ] {
            let error = error(&json);
            assert!(!error.contains(&token[32..]), "{error}");
        }
        let request =
            read(&format!(r#"{{"method":"POST","path":"/webhooks/1/{token}","body":"{token}"}}"#));
        assert!(!format!("{request:?}").contains(token));
    }
}
