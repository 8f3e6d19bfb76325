//! What the first payload bytes of a packet say: HTTP/1 and HTTP/2 heads, a TLS `ClientHello`, a DNS message.
//!
//! Each packet is read by itself: nothing is put together from several packets, and what a packet does not
//! hold is `None`. The one thing remembered is when DNS questions were asked, for the latency of their answers.

mod bytes;
mod dns;
mod hpack;
mod http2;
mod tls;

use std::net::IpAddr;

use crate::decode::{PrivacySettings, StartLine, StartLines};

use dns::Dns;

/// IP protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;
/// DNS, multicast DNS, link-local multicast name resolution.
const DNS_PORTS: [u16; 3] = [53, 5353, 5355];

/// Whose payload it is.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// When the packet passed, on any one clock.
    pub time_ns: u64,
    /// IP protocol number.
    pub protocol: u8,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub source_port: u16,
    pub destination_port: u16,
}

impl Segment {
    fn has_port(&self, ports: &[u16]) -> bool {
        ports.contains(&self.source_port) || ports.contains(&self.destination_port)
    }
}

/// What a payload begins with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Payload {
    Http(HttpSeen),
    Tls(TlsSeen),
    Dns(DnsSeen),
}

/// The beginning of a request or a response.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HttpSeen {
    pub kind: HttpKind,
    pub method: Option<String>,
    /// Without the query, masked.
    pub path: Option<String>,
    pub status: Option<u16>,
}

impl HttpSeen {
    /// Whether it is an answer; gRPC has both.
    pub fn is_response(&self) -> bool {
        self.status.is_some()
    }
}

/// Contract: `request`, `response`, `grpc`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HttpKind {
    #[default]
    Request,
    Response,
    /// Either one, of a gRPC call.
    Grpc,
}

impl HttpKind {
    /// As events have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
            Self::Grpc => "grpc",
        }
    }
}

/// A `ClientHello`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsSeen {
    /// The server's name.
    pub sni: Option<String>,
    /// Protocols that the client offers, in its order; empty where there are none or they are not in this packet.
    pub alpn: Vec<String>,
}

/// The first question of a DNS message.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsSeen {
    /// As asked, without the last dot; `.` for the root.
    pub name: String,
    /// `A`, `AAAA`, …; `TYPE65534` for one without a name.
    pub record_type: String,
    /// In answers whose question was seen: the time between the two.
    pub latency_ms: Option<f64>,
}

impl Eq for DnsSeen {}

/// Reads payloads; bounded, and never fails on any bytes.
#[derive(Debug)]
pub struct PayloadReader {
    start_lines: StartLines,
    dns: Dns,
}

impl PayloadReader {
    /// `privacy` says what of paths is masked.
    pub fn new(privacy: &PrivacySettings) -> Self {
        Self {
            start_lines: StartLines::new(privacy),
            dns: Dns::default(),
        }
    }

    /// What `bytes`, the beginning of the segment's payload, shows.
    pub fn read(&mut self, segment: &Segment, bytes: &[u8]) -> Option<Payload> {
        match segment.protocol {
            UDP if segment.has_port(&DNS_PORTS) => self.dns.read(segment, bytes).map(Payload::Dns),
            TCP if segment.has_port(&DNS_PORTS[..1]) => {
                let message = bytes.get(2..)?;
                self.dns.read(segment, message).map(Payload::Dns)
            }
            TCP => self.stream(bytes),
            _ => None,
        }
    }

    fn stream(&mut self, bytes: &[u8]) -> Option<Payload> {
        match bytes.first()? {
            tls::HANDSHAKE => tls::client_hello(bytes).map(Payload::Tls),
            first if first.is_ascii_uppercase() && !bytes.starts_with(b"PRI ") => self
                .start_lines
                .read(bytes)
                .map(|line| Payload::Http(HttpSeen::from(line))),
            _ => http2::read(bytes, &mut self.start_lines).map(Payload::Http),
        }
    }
}

impl From<StartLine> for HttpSeen {
    fn from(line: StartLine) -> Self {
        match line {
            StartLine::Request { method, path } => Self {
                kind: HttpKind::Request,
                method: Some(method),
                path,
                status: None,
            },
            StartLine::Response { status } => Self {
                kind: HttpKind::Response,
                status: Some(status),
                ..Self::default()
            },
        }
    }
}
