//! What flows and addresses moved since the last look, the largest of them: for who looks at a terminal.

use std::collections::HashMap;

use arrow_array::RecordBatch;

use super::flows::{FlowText, InterfaceNames, address};
use super::records::{EGRESS, FlowEntry, INGRESS};
use super::table::Slot;
use crate::columns::{FlowRates, Rates, Talkers};

/// Rows of each table.
const MOST: usize = 10;
const DIRECTIONS: [&str; 2] = ["ingress", "egress"];

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Moved {
    packets: u64,
    bytes: u64,
}

impl Moved {
    fn of(entry: &FlowEntry, direction: usize) -> Self {
        let half = &entry.half[direction];
        Self {
            packets: half.buffers + half.merged,
            bytes: half.bytes,
        }
    }

    fn rates(self, seconds: f64, sampling: u32) -> Rates {
        let scale = f64::from(sampling) / seconds;
        Rates {
            packets_per_second: self.packets as f64 * scale,
            bits_per_second: self.bytes as f64 * 8.0 * scale,
        }
    }
}

/// The tables of one look; without rows where nothing moved.
#[derive(Debug, Default)]
pub(crate) struct LiveTables {
    pub(crate) flows: Option<RecordBatch>,
    pub(crate) talkers: Option<RecordBatch>,
}

/// Follows the rates of all entries of the flow table.
#[derive(Debug)]
pub(crate) struct LiveRates {
    /// As the look before found them, by slot and direction.
    before: Vec<[Moved; 2]>,
    since_ns: i64,
    /// Moved since then, only where something did.
    moved: Vec<(Moved, Slot, usize)>,
    talkers: HashMap<(u8, [u8; 16]), Moved>,
}

impl LiveRates {
    pub(crate) fn new(slots: usize, now_ns: i64) -> Self {
        Self {
            before: vec![<[Moved; 2]>::default(); slots],
            since_ns: now_ns,
            moved: Vec::new(),
            talkers: HashMap::new(),
        }
    }

    /// An entry as it is now.
    pub(crate) fn look(&mut self, slot: Slot, entry: &FlowEntry) {
        for direction in [INGRESS, EGRESS] {
            let now = Moved::of(entry, direction);
            let before = std::mem::replace(&mut self.before[slot][direction], now);
            let new = Moved {
                packets: now.packets.saturating_sub(before.packets),
                bytes: now.bytes.saturating_sub(before.bytes),
            };
            if new == Moved::default() {
                continue;
            }
            self.moved.push((new, slot, direction));
            let key = &entry.key;
            let source = if direction == INGRESS {
                key.remote
            } else {
                key.local
            };
            let talker = self.talkers.entry((key.family, source)).or_default();
            talker.packets += new.packets;
            talker.bytes += new.bytes;
        }
    }

    /// The slot's next flow begins at zero.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.before[slot] = <[Moved; 2]>::default();
    }

    /// The tables of what was looked at; `entry` gives the entry of a slot.
    pub(crate) fn tell(
        &mut self,
        now_ns: i64,
        sampling: u32,
        names: InterfaceNames<'_>,
        entry: impl Fn(Slot) -> FlowEntry,
    ) -> LiveTables {
        let nanoseconds = now_ns - std::mem::replace(&mut self.since_ns, now_ns);
        let seconds = nanoseconds.max(1) as f64 / 1e9;
        let mut flows = FlowRates::default();
        let mut text = FlowText::default();
        for (moved, slot, direction) in largest(std::mem::take(&mut self.moved), |row| row.0.bytes)
        {
            let entry = entry(slot);
            text.set(&entry.key, &entry.inner, direction);
            let key = text.row(&entry.key, &entry.inner, direction, None);
            let rates = moved.rates(seconds, sampling);
            flows.push(
                &key,
                names(entry.key.interface),
                DIRECTIONS[direction],
                rates,
            );
        }
        let mut talkers = Talkers::default();
        let senders = std::mem::take(&mut self.talkers).into_iter().collect();
        for ((family, bytes), moved) in largest(senders, |row: &(_, Moved)| row.1.bytes) {
            let name = address(family, &bytes).to_string();
            talkers.push(&name, moved.rates(seconds, sampling));
        }
        LiveTables {
            flows: Some(flows.finish()),
            talkers: Some(talkers.finish()),
        }
    }
}

/// The rows of the largest sizes, the largest first.
fn largest<T>(mut rows: Vec<T>, size: impl Fn(&T) -> u64) -> Vec<T> {
    let largest_first = |row: &T| std::cmp::Reverse(size(row));
    if rows.len() > MOST {
        rows.select_nth_unstable_by_key(MOST - 1, largest_first);
        rows.truncate(MOST);
    }
    rows.sort_by_key(largest_first);
    rows
}

#[cfg(test)]
mod tests {
    use super::{MOST, largest};

    #[test]
    fn the_largest_come_first_and_are_few() {
        let rows = largest((0..1000).collect(), |&size| size);
        assert_eq!(rows, (1000 - MOST as u64..1000).rev().collect::<Vec<_>>());
        assert_eq!(largest(vec![1, 3, 2], |&size| size), [3, 2, 1]);
    }
}
