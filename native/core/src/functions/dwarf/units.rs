//! The units of debug information: entries of one refer to those of others.

use std::cell::OnceCell;

use super::{Dwarf, Reader, Unit};

/// Units of one file; Chromium has some 50,000.
const MAX_UNITS: usize = 1 << 20;

/// All units, each read when it is first needed.
pub(super) struct Units<'d, 'a> {
    pub(super) dwarf: &'d Dwarf<'a>,
    slots: Vec<Slot<'a>>,
}

struct Slot<'a> {
    header: gimli::UnitHeader<Reader<'a>>,
    start: usize,
    unit: OnceCell<Option<Unit<'a>>>,
}

impl<'d, 'a> Units<'d, 'a> {
    /// What is broken ends the list; what comes before is right.
    pub(super) fn new(dwarf: &'d Dwarf<'a>) -> Self {
        let mut headers = dwarf.units();
        let mut slots = Vec::new();
        while let Ok(Some(header)) = headers.next()
            && slots.len() < MAX_UNITS
        {
            let Some(start) = header.debug_info_offset() else {
                continue;
            };
            slots.push(Slot {
                header,
                start: start.0,
                unit: OnceCell::new(),
            });
        }
        Self { dwarf, slots }
    }

    /// The units that fit; others are not kept, and may be many.
    pub(super) fn those_with(
        &self,
        fits: impl Fn(&Unit<'a>) -> bool,
    ) -> impl Iterator<Item = &Unit<'a>> {
        let is_wanted = move |slot: &&Slot<'a>| {
            let unit = self.dwarf.unit(slot.header);
            unit.is_ok_and(|unit| fits(&unit))
        };
        self.slots
            .iter()
            .filter(is_wanted)
            .filter_map(|slot| self.read(slot))
    }

    fn read<'s>(&self, slot: &'s Slot<'a>) -> Option<&'s Unit<'a>> {
        let read = || self.dwarf.unit(slot.header).ok();
        slot.unit.get_or_init(read).as_ref()
    }

    /// The unit that holds an entry, by the entry's offset in its section.
    pub(super) fn holding(&self, offset: usize) -> Option<&Unit<'a>> {
        let behind = self.slots.partition_point(|slot| slot.start <= offset);
        self.read(self.slots.get(behind.checked_sub(1)?)?)
    }
}
