//! Files, from memory and from disk.

use std::path::PathBuf;

use shardwright::ErrorKind;
use shardwright::rest::{File, Request};

use crate::bench::{Reply, Server, command};

/// A file on disk that goes when the test does.
struct OnDisk(PathBuf);

impl OnDisk {
    fn new(name: &str, content: &[u8]) -> Self {
        let directory =
            std::env::temp_dir().join(format!("shardwright-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("room for a directory");
        std::fs::write(directory.join(name), content).expect("room for a file");
        Self(directory.join(name))
    }

    /// The path inside a JSON string.
    fn json(&self) -> String {
        self.0.display().to_string().replace('\\', "\\\\")
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().expect("it is in a directory"));
    }
}

#[tokio::test(start_paused = true)]
async fn files_go_out_with_the_json() {
    let (rest, server) = Server::start(|_, _| Reply::status(200));
    let on_disk = OnDisk::new("b.bin", b"\r\n--\x00\xff");
    let json = format!(
        r#"{{"method":"POST","path":"/channels/1/messages","body":{{"content":"x"}},
            "files":[{{"name":"a.png","data":"iVBORw==","content_type":"image/png"}},
                     {{"path":"{}"}}]}}"#,
        on_disk.json()
    );
    command(&rest, &json).await.expect("answered");
    let seen = server.seen().pop().expect("it came");
    let boundary = seen.header("content-type").strip_prefix("multipart/form-data; boundary=");
    let b = boundary.expect("a form");
    let expected = [
        format!("--{b}\r\nContent-Disposition: form-data; name=\"payload_json\"\r\n").as_bytes(),
        b"Content-Type: application/json\r\n\r\n{\"content\":\"x\"}\r\n",
        format!("--{b}\r\nContent-Disposition: form-data; name=\"files[0]\"; filename=\"a.png\"")
            .as_bytes(),
        b"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n",
        format!("--{b}\r\nContent-Disposition: form-data; name=\"files[1]\"; filename=\"b.bin\"")
            .as_bytes(),
        b"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--\x00\xff\r\n",
        format!("--{b}--\r\n").as_bytes(),
    ]
    .concat();
    assert_eq!(String::from_utf8_lossy(&seen.body), String::from_utf8_lossy(&expected));
    assert_eq!(seen.body, expected);
}

/// The second attempt sends the same as the first.
#[tokio::test(start_paused = true)]
async fn uploads_survive_a_retry() {
    let (rest, server) = Server::start(|_, number| match number {
        0 => Reply::refused(0.5),
        _ => Reply::status(200),
    });
    let file = File::new("big", vec![7; 3 << 20]).expect("a good name");
    let request = Request::new("POST".parse().expect("a method"), "/channels/1/messages")
        .and_then(|request| request.with_file(file))
        .expect("a good request");
    assert_eq!(rest.request(request).await.expect("answered").status, 200);
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].body == seen[1].body && seen[0].body.len() > 3 << 20);
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_read_are_named() {
    let (rest, server) = Server::start(|_, _| Reply::status(200));
    let huge = OnDisk::new("huge", b"");
    let file = std::fs::File::options().write(true).open(&huge.0).expect("it is there");
    file.set_len((128 << 20) + 1).expect("sparse files");
    let missing = huge.0.with_file_name("missing");
    let directory = huge.0.parent().expect("it is in a directory");
    for (path, kind, part) in [
        (missing.as_path(), ErrorKind::NotFound, "missing"),
        (directory, ErrorKind::InvalidArgument, "not a regular file"),
        (huge.0.as_path(), ErrorKind::InvalidArgument, "longer than"),
    ] {
        let request = Request::new("POST".parse().expect("a method"), "/channels/1/messages")
            .and_then(|request| request.with_file(File::on_disk(path, None)?))
            .expect("a good request");
        let error = rest.request(request).await.expect_err("unreadable");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(server.connections(), 0, "nothing was sent");
}
