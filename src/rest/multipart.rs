//! Bodies with files: `multipart/form-data`, RFC 7578, as Discord wants it.
//!
//! Source: <https://discord.com/developers/docs/reference#uploading-files>.

use std::collections::BTreeMap;

use bytes::Bytes;
use memchr::memmem;
use serde_json::value::RawValue;

use super::file::{Content, File};
use crate::error::{Error, ErrorKind};

/// Room for the head of a part.
const HEAD_BYTES: usize = 256;

/// A body, and the boundary that its content type has to name.
#[derive(Debug)]
pub(super) struct Multipart {
    /// The body.
    pub(super) body: Bytes,
    /// What stands between its parts, without the dashes in front.
    pub(super) boundary: String,
}

/// Puts a request's JSON and its files into one body. The boundary is drawn from `rng` until it
/// occurs nowhere in them.
///
/// # Errors
/// `InvalidArgument` when a file has a field of its own and the JSON is no object.
pub(super) fn encode(
    json: Option<&Bytes>,
    files: &[File],
    rng: &mut fastrand::Rng,
) -> Result<Multipart, Error> {
    let contents = || files.iter().map(bytes_of).chain(json.map(|json| &json[..]));
    let boundary = loop {
        let boundary = format!("shardwright-{:032x}", rng.u128(..));
        if contents().all(|content| memmem::find(content, boundary.as_bytes()).is_none()) {
            break boundary;
        }
    };
    let length: usize = contents().map(|content| content.len() + HEAD_BYTES).sum();
    let mut form = Form { body: Vec::with_capacity(length + HEAD_BYTES), boundary };

    if let Some(json) = json {
        if files.iter().any(|file| file.field.is_some()) {
            form.push_members(json)?;
        } else {
            form.push("payload_json", None, Some("application/json"), json);
        }
    }
    for (index, file) in files.iter().enumerate() {
        let numbered = format!("files[{index}]");
        let field = file.field.as_ref().unwrap_or(&numbered);
        let content_type = file.content_type.to_str().unwrap_or_default();
        form.push(field, Some(&file.name), Some(content_type), bytes_of(file));
    }
    Ok(form.finish())
}

/// The bytes of a file; those on disk were read before.
fn bytes_of(file: &File) -> &[u8] {
    match &file.content {
        Content::Bytes(bytes) => bytes,
        Content::OnDisk(_) => &[],
    }
}

/// A body that grows.
struct Form {
    body: Vec<u8>,
    boundary: String,
}

impl Form {
    /// Appends a part.
    fn push(
        &mut self,
        name: &str,
        filename: Option<&str>,
        content_type: Option<&str>,
        value: &[u8],
    ) {
        let mut head = format!("--{}\r\n", self.boundary);
        head.push_str("Content-Disposition: form-data; name=\"");
        push_quoted(&mut head, name);
        if let Some(filename) = filename {
            head.push_str("\"; filename=\"");
            push_quoted(&mut head, filename);
        }
        head.push_str("\"\r\n");
        if let Some(content_type) = content_type {
            head.push_str("Content-Type: ");
            head.push_str(content_type);
            head.push_str("\r\n");
        }
        self.body.extend_from_slice(head.as_bytes());
        self.body.extend_from_slice(b"\r\n");
        self.body.extend_from_slice(value);
        self.body.extend_from_slice(b"\r\n");
    }

    /// Appends the members of a JSON object as parts: strings as they are, the rest as JSON.
    fn push_members(&mut self, json: &[u8]) -> Result<(), Error> {
        let members: BTreeMap<String, &RawValue> = serde_json::from_slice(json).map_err(|_| {
            let text = "`body` has to be a JSON object when a file names its `field`";
            Error::new(ErrorKind::InvalidArgument, text)
        })?;
        for (name, value) in members {
            match serde_json::from_str::<Option<String>>(value.get()) {
                Ok(Some(text)) => self.push(&name, None, None, text.as_bytes()),
                Ok(None) => {}
                Err(_) => self.push(&name, None, None, value.get().as_bytes()),
            }
        }
        Ok(())
    }

    /// The whole body.
    fn finish(mut self) -> Multipart {
        self.body.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        Multipart { body: self.body.into(), boundary: self.boundary }
    }
}

/// Appends a name the way browsers do, and servers understand: UTF-8 as it is, and what would end it
/// early percent-encoded.
///
/// Source: <https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data>.
fn push_quoted(head: &mut String, name: &str) {
    for char in name.chars() {
        match char {
            '"' => head.push_str("%22"),
            '\r' => head.push_str("%0D"),
            '\n' => head.push_str("%0A"),
            _ => head.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> fastrand::Rng {
        fastrand::Rng::with_seed(7)
    }

    fn boundary() -> String {
        format!("shardwright-{:032x}", rng().u128(..))
    }

    fn file(name: &str, content: &[u8]) -> File {
        File::new(name, content.to_vec()).expect("a good name")
    }

    #[test]
    fn bodies_are_as_documented() {
        let json = Bytes::from_static(b"{ \"content\": \"hi\",\r\n\"tts\":false}");
        let png = file("a \"cat\".png", b"\x89PNG\r\n\x1a\n").with_content_type("image/png");
        let files = [png.expect("a good type"), file("\u{e9}\u{1f408}.txt", b"")];
        let form = encode(Some(&json), &files, &mut rng()).expect("an object");
        let b = boundary();
        let expected = [
            format!("--{b}\r\nContent-Disposition: form-data; name=\"payload_json\"\r\n")
                .as_bytes(),
            b"Content-Type: application/json\r\n\r\n{ \"content\": \"hi\",\r\n\"tts\":false}\r\n",
            format!("--{b}\r\nContent-Disposition: form-data; name=\"files[0]\"; ").as_bytes(),
            b"filename=\"a %22cat%22.png\"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n\r\n",
            format!("--{b}\r\nContent-Disposition: form-data; name=\"files[1]\"; ").as_bytes(),
            "filename=\"\u{e9}\u{1f408}.txt\"\r\n".as_bytes(),
            b"Content-Type: application/octet-stream\r\n\r\n\r\n",
            format!("--{b}--\r\n").as_bytes(),
        ]
        .concat();
        assert_eq!(form.boundary, b);
        assert_eq!(String::from_utf8_lossy(&form.body), String::from_utf8_lossy(&expected));
        assert_eq!(form.body, expected);
    }

    /// Stickers are created with a field of their own, and no `payload_json`.
    #[test]
    fn a_field_of_its_own_makes_fields_of_the_body() {
        let json = br#"{"name":"wave\u0021","tags":["a","b"],"nsfw":false,"description":null}"#;
        let files = [file("w.png", b"x").with_field("file").expect("a good name")];
        let form = encode(Some(&Bytes::from_static(json)), &files, &mut rng()).expect("an object");
        let b = boundary();
        let field = |name: &str, value: &str| {
            format!("--{b}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let expected = [
            field("name", "wave!"),
            field("nsfw", "false"),
            field("tags", "[\"a\",\"b\"]"),
            format!(
                "--{b}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"w.png\"\r\n"
            ),
            format!("Content-Type: application/octet-stream\r\n\r\nx\r\n--{b}--\r\n"),
        ]
        .concat();
        assert_eq!(String::from_utf8_lossy(&form.body), expected);

        let error = encode(Some(&Bytes::from_static(b"[]")), &files, &mut rng());
        assert!(error.expect_err("no object").to_string().contains("`body`"));
    }

    /// Nobody can end a part from inside.
    #[test]
    fn the_boundary_occurs_nowhere_else() {
        let evil = format!("x\r\n--{}--\r\n", boundary());
        let form = encode(None, &[file("x", evil.as_bytes())], &mut rng()).expect("no JSON");
        assert_ne!(form.boundary, boundary());
        let form = encode(Some(&Bytes::from(evil)), &[file("x", b"")], &mut rng()).expect("any");
        assert_ne!(form.boundary, boundary());
        let mut text = String::new();
        push_quoted(&mut text, "a\"; name=\"b\r\nX: y");
        assert_eq!(text, "a%22; name=%22b%0D%0AX: y");
    }
}
