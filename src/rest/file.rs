//! Files to upload.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::HeaderValue;

use crate::config::MAX_REST_BODY_BYTES;
use crate::error::{Error, ErrorKind};

/// The longest name of a file.
const MAX_NAME_CHARS: usize = 1_024;

/// What a file is when nobody says: Discord looks inside anyway.
const DEFAULT_TYPE: &str = "application/octet-stream";

/// A file to upload with a request.
#[derive(Clone)]
pub struct File {
    /// The name that people see.
    pub(super) name: String,
    /// The media type.
    pub(super) content_type: HeaderValue,
    /// The form field it goes to; `files[n]` if there is none.
    pub(super) field: Option<String>,
    /// Where its bytes are.
    pub(super) content: Content,
}

/// Where the bytes of a file are.
#[derive(Clone)]
pub(super) enum Content {
    /// Here.
    Bytes(Bytes),
    /// On disk, to be read when the request is made.
    OnDisk(PathBuf),
}

impl File {
    /// A file of this name and content.
    ///
    /// # Errors
    /// `InvalidArgument` when the name is empty, too long, or has control characters in it.
    pub fn new(name: &str, bytes: impl Into<Bytes>) -> Result<Self, Error> {
        Self::with_content(name, Content::Bytes(bytes.into()))
    }

    /// A file that is read from disk when the request is made. Without a name it is called as it is
    /// there.
    ///
    /// # Errors
    /// As [`File::new`].
    pub fn on_disk(path: impl Into<PathBuf>, name: Option<&str>) -> Result<Self, Error> {
        let path = path.into();
        let own_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.map_or_else(|| own_name.unwrap_or_default(), str::to_owned);
        Self::with_content(&name, Content::OnDisk(path))
    }

    /// A media type, such as `image/png`. Without one it is `application/octet-stream`.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not of that form.
    pub fn with_content_type(mut self, content_type: &str) -> Result<Self, Error> {
        let is_graphic = content_type.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let halves = content_type.split_once('/').filter(|(a, b)| !a.is_empty() && !b.is_empty());
        self.content_type = HeaderValue::from_str(content_type)
            .ok()
            .filter(|_| is_graphic && halves.is_some())
            .ok_or_else(|| wrong("`content_type` is no media type such as image/png"))?;
        Ok(self)
    }

    /// The form field it goes to, for the few routes that name one, such as `file` for stickers.
    /// The members of the request's body become form fields of their own then, as those routes want.
    ///
    /// # Errors
    /// `InvalidArgument` when it is empty, too long, or has control characters in it.
    pub fn with_field(mut self, field: &str) -> Result<Self, Error> {
        self.field = Some(check("field", field)?);
        Ok(self)
    }

    /// A file with these bytes.
    fn with_content(name: &str, content: Content) -> Result<Self, Error> {
        let name = check("name", name)?;
        let content_type = HeaderValue::from_static(DEFAULT_TYPE);
        Ok(Self { name, content_type, field: None, content })
    }

    /// Bytes that are known to be needed.
    pub(super) fn len(&self) -> usize {
        match &self.content {
            Content::Bytes(bytes) => bytes.len(),
            Content::OnDisk(_) => 0,
        }
    }
}

/// Reads the files that are on disk, which takes a thread that may wait.
pub(super) async fn load(mut files: Vec<File>) -> Result<Vec<File>, Error> {
    if files.iter().all(|file| matches!(file.content, Content::Bytes(_))) {
        return Ok(files);
    }
    let read = move || {
        let mut room = MAX_REST_BODY_BYTES;
        for file in &mut files {
            if let Content::OnDisk(path) = &file.content {
                file.content = Content::Bytes(read(path, room)?);
            }
            room = room.saturating_sub(file.len());
        }
        Ok(files)
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Io, format!("reading the files of a request failed: {error}")))
    })
}

/// Reads one file of at most so many bytes.
fn read(path: &Path, max_bytes: usize) -> Result<Bytes, Error> {
    let failed = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("the file {}: {error}", path.display()))
    };
    // Pipes and devices could have no end, or never begin.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(wrong(&format!("{} is not a regular file", path.display())));
    }
    if metadata.len() > max_bytes as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(max_bytes as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    // It may have grown.
    if bytes.len() > max_bytes {
        return Err(too_large());
    }
    Ok(bytes.into())
}

/// A request that no guild would take.
pub(super) fn too_large() -> Error {
    let text =
        format!("the body and files of a request are longer than {MAX_REST_BODY_BYTES} bytes");
    Error::new(ErrorKind::InvalidArgument, text)
}

/// A text that can stand in the head of a part.
fn check(key: &str, text: &str) -> Result<String, Error> {
    let why = if text.is_empty() {
        "is empty"
    } else if text.chars().nth(MAX_NAME_CHARS).is_some() {
        "is longer than 1024 characters"
    } else if text.chars().any(char::is_control) {
        "has control characters in it"
    } else {
        return Ok(text.to_owned());
    };
    Err(wrong(&format!("the `{key}` of a file {why}")))
}

/// `InvalidArgument` with this text.
fn wrong(text: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("File");
        out.field("name", &self.name).field("content_type", &self.content_type);
        match &self.content {
            Content::Bytes(bytes) => out.field("bytes", &bytes.len()),
            Content::OnDisk(path) => out.field("path", path),
        };
        out.finish_non_exhaustive()
    }
}
