//! The question of a DNS message (RFC 1035), and how long its answer took.

use std::collections::VecDeque;
use std::fmt::Write;
use std::net::IpAddr;

use ahash::RandomState;
use hashbrown::HashMap;

use super::bytes::Bytes;
use super::{DnsSeen, Segment};

/// Questions that wait for their answer; beyond that the oldest is forgotten.
const WAITING: usize = 4096;
/// An answer that comes later is none to this question.
const ANSWER_WITHIN_NS: u64 = 30_000_000_000;
/// RFC 1035, 2.3.4.
const NAME_BYTES: usize = 255;
const LABEL_BYTES: usize = 63;
/// In the flags.
const RESPONSE: usize = 0x8000;
/// Multicast DNS asks for an answer to one by this bit of the class.
const CLASS_UNICAST: usize = 0x8000;

/// Who asks whom, by which number: the asking side first.
type Transaction = (u8, IpAddr, u16, IpAddr, u16, u16);

/// Remembers when questions were asked.
#[derive(Debug, Default)]
pub(super) struct Dns {
    asked: HashMap<Transaction, u64, RandomState>,
    /// In the order of asking; may hold transactions that were answered.
    order: VecDeque<(Transaction, u64)>,
}

impl Dns {
    /// The question of the message in `bytes`; the message may be cut behind it.
    pub(super) fn read(&mut self, segment: &Segment, bytes: &[u8]) -> Option<DnsSeen> {
        let mut message = Bytes(bytes);
        let id = u16::try_from(message.number(2)?).ok()?;
        let flags = message.number(2)?;
        let questions = message.number(2)?;
        message.take(6)?;
        (questions > 0).then_some(())?;
        let name = name(&mut message)?;
        let record_type = message.number(2)?;
        let class = message.number(2)? & !CLASS_UNICAST;
        matches!(class, 1..=4 | 254 | 255).then_some(())?;
        let latency_ms = if flags & RESPONSE == 0 {
            self.ask(transaction(segment, id), segment.time_ns);
            None
        } else {
            self.answer(&transaction(&swapped(segment), id), segment.time_ns)
        };
        Some(DnsSeen {
            name,
            record_type: type_name(record_type),
            latency_ms,
        })
    }

    /// A question that is asked again keeps its first time: that is how long the asker waits.
    fn ask(&mut self, transaction: Transaction, now_ns: u64) {
        let is_open = |&asked: &u64| now_ns.saturating_sub(asked) <= ANSWER_WITHIN_NS;
        if self.asked.get(&transaction).is_some_and(is_open) {
            return;
        }
        self.asked.insert(transaction, now_ns);
        self.order.push_back((transaction, now_ns));
        while self.order.len() > WAITING {
            if let Some((oldest, asked)) = self.order.pop_front()
                && self.asked.get(&oldest) == Some(&asked)
            {
                self.asked.remove(&oldest);
            }
        }
    }

    fn answer(&mut self, transaction: &Transaction, now_ns: u64) -> Option<f64> {
        let asked = self.asked.remove(transaction)?;
        let waited = now_ns.checked_sub(asked)?;
        (waited <= ANSWER_WITHIN_NS).then_some(waited as f64 / 1e6)
    }
}

fn transaction(segment: &Segment, id: u16) -> Transaction {
    (
        segment.protocol,
        segment.source,
        segment.source_port,
        segment.destination,
        segment.destination_port,
        id,
    )
}

fn swapped(segment: &Segment) -> Segment {
    Segment {
        source: segment.destination,
        destination: segment.source,
        source_port: segment.destination_port,
        destination_port: segment.source_port,
        ..*segment
    }
}

/// Labels joined by dots; a question comes first in its message, so that it cannot refer to earlier names.
fn name(message: &mut Bytes<'_>) -> Option<String> {
    let mut name = String::new();
    let mut length = 0;
    loop {
        let label = message.number(1)?;
        match label {
            0 if name.is_empty() => return Some(".".to_owned()),
            0 => return Some(name),
            1..=LABEL_BYTES => {}
            _ => return None,
        }
        length += 1 + label;
        (length < NAME_BYTES).then_some(())?;
        if !name.is_empty() {
            name.push('.');
        }
        message
            .take(label)?
            .iter()
            .for_each(|&byte| push(&mut name, byte));
    }
}

/// As zone files write it: dots and backslashes within labels are escaped, what is not printable is `\DDD`.
fn push(name: &mut String, byte: u8) {
    match byte {
        b'.' | b'\\' => {
            name.push('\\');
            name.push(char::from(byte));
        }
        b'!'..=b'~' => name.push(char::from(byte)),
        _ => {
            let _ = write!(name, "\\{byte:03}");
        }
    }
}

/// The registered name, else `TYPE` and the number (RFC 3597).
fn type_name(number: usize) -> String {
    let name = match number {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        17 => "RP",
        28 => "AAAA",
        29 => "LOC",
        33 => "SRV",
        35 => "NAPTR",
        37 => "CERT",
        39 => "DNAME",
        43 => "DS",
        44 => "SSHFP",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        50 => "NSEC3",
        52 => "TLSA",
        64 => "SVCB",
        65 => "HTTPS",
        99 => "SPF",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        257 => "CAA",
        _ => return format!("TYPE{number}"),
    };
    name.to_owned()
}
