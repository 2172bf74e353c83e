//! The page and what it needs, which are in the program: nothing is loaded from anywhere else.

use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use rust_embed::Embed;

/// The files of the page.
#[derive(Embed)]
#[folder = "src/dashboard/page/"]
struct Files;

/// What a browser may load and do: our own files, and nothing that stands in the page itself.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                                 connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The style of the page that asks for a token: it stands in it, for whoever has no token gets nothing else.
const LOGIN_STYLE: &str = "\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
body{display:grid;place-items:center;min-height:100vh;margin:0;padding:1rem;box-sizing:border-box}\
form{display:grid;gap:.75rem;width:min(22rem,100%)}\
h1{font-size:1.25rem;margin:0}\
input,button{font:inherit;padding:.5rem .75rem;border:1px solid GrayText;border-radius:.4rem}\
button{background:#2f5bd7;color:#fff;border-color:#2f5bd7}\
p{margin:0}";

/// A file of the page.
pub(crate) fn file(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = Files::get(name) else {
        return (StatusCode::NOT_FOUND, "there is no such file").into_response();
    };
    let tag = format!("\"{}\"", STANDARD.encode(&file.metadata.sha256_hash()[..12]));
    let known = headers.get(IF_NONE_MATCH).is_some_and(|known| known == tag.as_str());
    // Asked for each time, for a new build has other files of the same name.
    let common = [(ETAG, tag.as_str()), (CACHE_CONTROL, "no-cache")];
    if known {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(CONTENT_TYPE, kind(name))], file.data).into_response()
}

/// What kind of file it is.
fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

/// The page that asks for a token.
pub(crate) fn login(why: &str) -> Response {
    let hash = STANDARD.encode(digest(&SHA256, LOGIN_STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Shardwright</title><style>{LOGIN_STYLE}</style></head>\
         <body><main><form method=\"post\" action=\"/login\"><h1>Shardwright</h1>\
         <label for=\"token\">Dashboard token</label>\
         <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required autofocus>\
         <button>Log in</button><p role=\"status\">{why}</p></form></main></body></html>\n"
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy.as_str()),
        (CACHE_CONTROL, "no-store"),
    ];
    (StatusCode::UNAUTHORIZED, headers, page).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_sent_once() {
        let first = file("index.html", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!(file("index.html", &headers).status(), StatusCode::NOT_MODIFIED);
        for none in ["", "../mod.rs", "/etc/passwd", "nothing.js"] {
            assert_eq!(file(none, &headers).status(), StatusCode::NOT_FOUND, "{none}");
        }
    }

    #[test]
    fn the_page_is_light() {
        const MOST: usize = 300 * 1024;
        let files = Files::iter().filter_map(|name| Files::get(&name));
        let bytes: usize = files.map(|file| file.data.len()).sum();
        assert!(bytes < MOST, "{bytes} bytes");
    }
}
