//! Header fields that come again and again, byte for byte.
//!
//! A client sends the same fields with each of its requests, a server much the same with its
//! answers. Those that were met twice are kept as they were stored, masked, so that the next time
//! they cost a comparison and a copy.

use ahash::RandomState;

use crate::columns::HeaderFields;

use super::fields::Notes;
use super::head::Side;
use super::limits::{REPEATED_HEAD_BYTES, REPEATED_HEADS};

/// Hashes of heads met once, per side.
const REMEMBERED_HASHES: usize = 16;

#[derive(Debug)]
pub(super) struct Repeated {
    /// The lines behind the start line, the empty one included.
    lines: Vec<u8>,
    pub(super) fields: HeaderFields,
    pub(super) notes: Notes,
}

#[derive(Debug, Default)]
struct OneSide {
    heads: Vec<Repeated>,
    next_head: usize,
    hashes: [u64; REMEMBERED_HASHES],
    next_hash: usize,
}

/// Refers to a head until the next one is learnt.
#[derive(Clone, Copy, Debug)]
pub(super) struct RepeatedId(Side, usize);

/// The heads that are kept.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    requests: OneSide,
    answers: OneSide,
    hasher: RandomState,
}

impl Repeats {
    /// The kept head with whose lines `rest` begins, and their length.
    pub(super) fn find(&self, side: Side, rest: &[u8]) -> Option<(RepeatedId, usize)> {
        let heads = &self.side(side).heads;
        let place = heads
            .iter()
            .position(|head| rest.starts_with(&head.lines))?;
        Some((RepeatedId(side, place), heads[place].lines.len()))
    }

    pub(super) fn get(&self, id: RepeatedId) -> &Repeated {
        &self.side(id.0).heads[id.1]
    }

    /// Takes note of a well-formed head; keeps it when it came before.
    pub(super) fn learn(&mut self, side: Side, lines: &[u8], fields: &HeaderFields, notes: &Notes) {
        if lines.len() > REPEATED_HEAD_BYTES {
            return;
        }
        let hash = self.hasher.hash_one(lines);
        let one = match side {
            Side::Request => &mut self.requests,
            Side::Response => &mut self.answers,
        };
        if !one.hashes.contains(&hash) {
            one.hashes[one.next_hash] = hash;
            one.next_hash = (one.next_hash + 1) % REMEMBERED_HASHES;
            return;
        }
        let mut kept = HeaderFields::default();
        kept.copy_from(fields);
        let head = Repeated {
            lines: lines.to_vec(),
            fields: kept,
            notes: notes.clone(),
        };
        if one.heads.len() < REPEATED_HEADS {
            one.heads.push(head);
        } else {
            one.heads[one.next_head] = head;
            one.next_head = (one.next_head + 1) % REPEATED_HEADS;
        }
    }

    fn side(&self, side: Side) -> &OneSide {
        match side {
            Side::Request => &self.requests,
            Side::Response => &self.answers,
        }
    }
}
