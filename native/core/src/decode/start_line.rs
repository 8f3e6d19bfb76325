//! What one packet shows of HTTP/1: a start line, and nothing that would need the packets around it.

use memchr::memchr;

use super::head::{self, Opening};
use super::privacy::{Privacy, PrivacySettings};

/// Methods that are believed where the line's end, and with it the version, is not there.
const KNOWN_METHODS: [&[u8]; 9] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH",
];

/// The beginning of an HTTP/1 message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum StartLine {
    /// `path` is masked and has no query; `None` where the line is cut within it, and for `CONNECT`.
    Request {
        method: String,
        path: Option<String>,
    },
    Response {
        status: u16,
    },
}

/// Reads start lines; remembers nothing of one for the next.
#[derive(Debug)]
pub(crate) struct StartLines {
    privacy: Privacy,
}

impl StartLines {
    pub(crate) fn new(settings: &PrivacySettings) -> Self {
        Self {
            privacy: Privacy::new(settings),
        }
    }

    /// The start line at the beginning of `bytes`.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Option<StartLine> {
        match head::opening(bytes) {
            Opening::Request => self.request(bytes),
            Opening::Response => response(bytes),
            Opening::Undecided | Opening::Neither => None,
        }
    }

    /// The path of a target that is there as a whole, masked; `None` where it has none (`host:port`).
    pub(crate) fn path_of(&mut self, target: &[u8]) -> Option<String> {
        let path = path_in(target);
        let end = memchr(b'?', path).unwrap_or(path.len());
        match &path[..end] {
            [] => Some("/".to_owned()),
            path @ ([b'/', ..] | b"*") => Some(self.mask(&head::to_text(path))),
            _ => None,
        }
    }

    fn request(&mut self, bytes: &[u8]) -> Option<StartLine> {
        let line = head::line_of(bytes);
        let parts = line.and_then(head::parse_request_line);
        let (method, target) = match (line, parts) {
            (Some(line), Some(parts)) => (&line[parts.method], &line[parts.target]),
            _ => cut_line(bytes)?,
        };
        let path = match method {
            b"CONNECT" => None,
            _ => self.path_of(target),
        };
        Some(StartLine::Request {
            method: head::to_text(method).into_owned(),
            path: path.filter(|_| !target.is_empty()),
        })
    }

    /// Segment by segment, as the paths of connections are masked.
    fn mask(&mut self, path: &str) -> String {
        if !path.contains(';') && !self.privacy.suspects(path.as_bytes()) {
            return path.to_owned();
        }
        let mut shown = String::with_capacity(path.len());
        for (index, segment) in path.split('/').enumerate() {
            if index > 0 {
                shown.push('/');
            }
            self.privacy.mask_text(segment, &mut shown);
        }
        shown
    }
}

fn response(bytes: &[u8]) -> Option<StartLine> {
    // as for requests the line's end may lie in another packet; the status must not
    let line = head::line_of(bytes).unwrap_or(bytes);
    let status = head::parse_status_line(line)?.status;
    Some(StartLine::Response { status })
}

/// Method and target of a line whose end is not there; the target is empty where it may go on.
fn cut_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr(b' ', bytes)?;
    let (method, rest) = (&bytes[..space], &bytes[space + 1..]);
    if !KNOWN_METHODS.contains(&method) {
        return None;
    }
    let is_end = |byte: &u8| matches!(byte, b' ' | b'?');
    let end = rest.iter().position(is_end).unwrap_or(0);
    Some((method, &rest[..end]))
}

/// What follows `scheme://authority`, where there is one.
fn path_in(target: &[u8]) -> &[u8] {
    let Some(scheme) = head::scheme_length(target).filter(|_| !target.starts_with(b"/")) else {
        return target;
    };
    let rest = &target[scheme..];
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    &rest[end.unwrap_or(rest.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<StartLine> {
        StartLines::new(&PrivacySettings::default()).read(bytes)
    }

    fn request(method: &str, path: Option<&str>) -> Option<StartLine> {
        Some(StartLine::Request {
            method: method.to_owned(),
            path: path.map(str::to_owned),
        })
    }

    #[test]
    fn whole_lines_are_read_in_all_their_forms() {
        assert_eq!(
            read(b"GET /a/b?x=1 HTTP/1.1\r\nHost: a\r\n"),
            request("GET", Some("/a/b"))
        );
        assert_eq!(
            read(b"PURGE http://h:80/x?y HTTP/1.0\n"),
            request("PURGE", Some("/x"))
        );
        assert_eq!(
            read(b"GET http://h HTTP/1.1\r\n"),
            request("GET", Some("/"))
        );
        assert_eq!(
            read(b"OPTIONS * HTTP/1.1\r\n"),
            request("OPTIONS", Some("*"))
        );
        assert_eq!(
            read(b"CONNECT h:443 HTTP/1.1\r\n"),
            request("CONNECT", None)
        );
        assert_eq!(
            read(b"HTTP/1.1 404 Not Found\r\n"),
            Some(StartLine::Response { status: 404 })
        );
    }

    #[test]
    fn a_cut_line_tells_what_it_holds_and_nothing_else() {
        assert_eq!(read(b"GET /long/pa"), request("GET", None));
        assert_eq!(read(b"GET /long?query=go"), request("GET", Some("/long")));
        assert_eq!(read(b"GET /long HTT"), request("GET", Some("/long")));
        assert_eq!(read(b"word /long HTT"), None);
        assert_eq!(
            read(b"HTTP/1.1 200 O"),
            Some(StartLine::Response { status: 200 })
        );
        assert_eq!(read(b"HTTP/1.1 20"), None);
    }

    #[test]
    fn other_bytes_are_no_start_lines() {
        for bytes in [
            b"".as_slice(),
            b"GET ",
            b"GET /a HTTP/2.0\r\n",
            b"\x16\x03\x01",
            b"GET \x00 HTTP/1.1\r\n",
        ] {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn secrets_in_paths_are_masked() {
        assert_eq!(
            read(b"GET /users/jane@example.com/x HTTP/1.1\r\n"),
            request("GET", Some("/users/***/x"))
        );
        assert_eq!(
            read(b"GET /a;password=hunter2/b HTTP/1.1\r\n"),
            request("GET", Some("/a;password=***/b"))
        );
    }
}
