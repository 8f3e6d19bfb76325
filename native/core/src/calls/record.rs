//! The kernel's records of calls: mirror of `bpf/include/call_records.h`.

use crate::records::c_struct;
use crate::stack::record::Taken;

pub(crate) const MAX_ARGUMENTS: usize = 8;
pub(crate) const MAX_TEXTS: usize = 4;
const TEXT_BYTES: usize = 128;
const PART_TEXTS: u32 = 1;

c_struct! {
    /// What the arguments of a call point to.
    Texts as "call_texts" {
        part: u32,
        reserved: u32,
        text: [[u8; TEXT_BYTES]; MAX_TEXTS],
    }
}

c_struct! {
    /// An entry or an exit; its sample and frames follow.
    Call as "call" {
        part: u32,
        function: u32,
        entered_ns: u64,
        context: u64,
        result: u64,
        known: u16,
        event: u8,
        reserved: [u8; 5],
        arguments: [u64; MAX_ARGUMENTS],
    }
}

const _: () = assert!(size_of::<Texts>() == 520 && size_of::<Call>() == 104);

/// `enum call_event`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    Entry,
    Exit,
}

/// A whole record.
#[derive(Clone, Debug)]
pub struct TakenCall {
    pub call: Call,
    pub event: Event,
    /// The stack where the call began; of an exit without frames.
    pub sample: Taken,
    texts: Option<Box<Texts>>,
}

impl TakenCall {
    /// Reads a record; `None` when it is shorter than it says.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let part = u32::from_ne_bytes(*record.first_chunk()?);
        let (texts, rest) = if part == PART_TEXTS {
            let (texts, rest) = Texts::split_from(record)?;
            (Some(Box::new(texts)), rest)
        } else {
            (None, record)
        };
        let (call, rest) = Call::split_from(rest)?;
        Some(Self {
            call,
            event: if call.event == 0 {
                Event::Entry
            } else {
                Event::Exit
            },
            sample: Taken::parse(rest)?,
            texts,
        })
    }

    /// The value of an argument, where it could be read.
    pub(crate) fn argument(&self, index: usize) -> Option<u64> {
        (self.call.known & (1 << index) != 0).then(|| self.call.arguments[index])
    }

    /// What an argument points to, where it could be read; cut after 127 bytes.
    pub(crate) fn text(&self, index: usize) -> Option<&[u8]> {
        let text = self.texts.as_ref()?.text.get(index)?;
        let is_known = self.call.known & (1 << (MAX_ARGUMENTS + index)) != 0;
        let end = text.iter().position(|&byte| byte == 0)?;
        is_known.then(|| &text[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Event, TEXT_BYTES, TakenCall, Texts};
    use crate::stack::record::Sample;

    fn call(known: u16) -> Call {
        Call {
            part: 0,
            function: 7,
            entered_ns: 0,
            context: 0,
            result: 0,
            known,
            event: 0,
            reserved: [0; 5],
            arguments: [1, 2, 3, 4, 5, 6, 7, 8],
        }
    }

    fn sample() -> Vec<u8> {
        Sample::split_from(&[0; size_of::<Sample>()])
            .expect("enough bytes")
            .0
            .to_bytes()
    }

    #[test]
    fn a_record_without_texts() {
        let bytes = [call(0b101).to_bytes(), sample()].concat();
        let taken = TakenCall::parse(&bytes).expect("a whole record");
        assert_eq!(taken.event, Event::Entry);
        assert_eq!(
            [0, 1, 2].map(|index| taken.argument(index)),
            [Some(1), None, Some(3)]
        );
        assert_eq!(taken.text(0), None);
    }

    #[test]
    fn texts_come_first_and_end_at_their_zero() {
        let mut texts = Texts {
            part: 1,
            reserved: 0,
            text: [[0; TEXT_BYTES]; 4],
        };
        texts.text[1][..5].copy_from_slice(b"hello");
        texts.text[2] = [b'x'; TEXT_BYTES];
        let bytes = [texts.to_bytes(), call(0b110 << 8).to_bytes(), sample()].concat();
        let taken = TakenCall::parse(&bytes).expect("a whole record");
        assert_eq!(
            [0, 1, 2].map(|index| taken.text(index)),
            [None, Some(&b"hello"[..]), None]
        );
        assert_eq!(taken.call.function, 7);
    }

    #[test]
    fn short_records_are_none() {
        let bytes = [call(0).to_bytes(), sample()].concat();
        for length in 0..bytes.len() {
            assert!(TakenCall::parse(&bytes[..length]).is_none());
        }
    }
}
