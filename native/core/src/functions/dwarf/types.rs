//! Entries of debug information: their names and types.

use super::units::Units;
use super::{Entry, MAX_PARAMETERS, Unit};
use crate::functions::{Location, ValueType};

/// Typedefs and qualifiers around a type, members in members; a circle of them is broken, not deep.
const MAX_DEPTH: usize = 32;
/// Members of a structure, those of its members included, that are looked at.
const MAX_MEMBERS: usize = 64;
/// Its value is in memory, and its address is handed over.
const BY_REFERENCE: u8 = 4;

/// An entry, and what is needed to follow what it refers to.
pub(super) struct Die<'d, 'a> {
    pub(super) units: &'d Units<'d, 'a>,
    pub(super) unit: &'d Unit<'a>,
    pub(super) entry: Entry<'a>,
}

impl<'d, 'a> Die<'d, 'a> {
    pub(super) fn new(units: &'d Units<'d, 'a>, unit: &'d Unit<'a>, entry: Entry<'a>) -> Self {
        Self { units, unit, entry }
    }

    /// The entry that an attribute refers to. Those in another file (dwz's) are not followed.
    fn referred(&self, attribute: gimli::DwAt) -> Option<Self> {
        let (unit, offset) = match self.entry.attr_value(attribute)? {
            gimli::AttributeValue::UnitRef(offset) => (self.unit, offset),
            gimli::AttributeValue::DebugInfoRef(offset) => {
                let unit = self.units.holding(offset.0)?;
                (unit, offset.to_unit_offset(&unit.header)?)
            }
            _ => return None,
        };
        let entry = unit.entry(offset).ok()?;
        Some(Self::new(self.units, unit, entry))
    }

    fn origin(&self) -> Option<Self> {
        self.referred(gimli::DW_AT_abstract_origin)
            .or_else(|| self.referred(gimli::DW_AT_specification))
    }

    /// Its own, or that of what it is an instance of.
    pub(super) fn name(&self) -> Option<String> {
        self.name_within(MAX_DEPTH)
    }

    fn name_within(&self, depth: usize) -> Option<String> {
        let Some(name) = self.entry.attr_value(gimli::DW_AT_name) else {
            return self.origin()?.name_within(depth.checked_sub(1)?);
        };
        let name = self.units.dwarf.attr_string(self.unit, name).ok()?;
        Some(name.to_string_lossy().into_owned())
    }

    /// Its type without typedefs and qualifiers; `None` for `void`, and where it is not told.
    pub(super) fn type_of(&self) -> Option<Self> {
        let mut found = self.typed(MAX_DEPTH)?;
        for _ in 0..MAX_DEPTH {
            match found.entry.tag() {
                gimli::DW_TAG_typedef
                | gimli::DW_TAG_const_type
                | gimli::DW_TAG_volatile_type
                | gimli::DW_TAG_restrict_type
                | gimli::DW_TAG_atomic_type => {
                    // Go names its string and others so
                    if found.is_go_text() {
                        return Some(found);
                    }
                    found = found.referred(gimli::DW_AT_type)?;
                }
                _ => return Some(found),
            }
        }
        None
    }

    fn typed(&self, depth: usize) -> Option<Self> {
        self.referred(gimli::DW_AT_type)
            .or_else(|| self.origin()?.typed(depth.checked_sub(1)?))
    }

    pub(super) fn parameters(&self) -> Vec<Self> {
        self.children(gimli::DW_TAG_formal_parameter, MAX_PARAMETERS)
    }

    fn children(&self, tag: gimli::DwTag, most: usize) -> Vec<Self> {
        let mut found = Vec::new();
        let offset = Some(self.entry.offset());
        let Ok(mut tree) = self.unit.entries_tree(offset) else {
            return found;
        };
        let Ok(root) = tree.root() else { return found };
        let mut children = root.children();
        while let Ok(Some(child)) = children.next() {
            if child.entry().tag() == tag && found.len() < most {
                found.push(Self::new(self.units, self.unit, child.entry().clone()));
            }
        }
        found
    }

    /// Go's results are parameters that say so.
    pub(super) fn is_result(&self) -> bool {
        let flag = self.entry.attr_value(gimli::DW_AT_variable_parameter);
        flag == Some(gimli::AttributeValue::Flag(true))
    }

    pub(super) fn language(&self) -> Option<gimli::DwLang> {
        let root = self.unit.entry(self.unit.header.root_offset()).ok()?;
        match root.attr_value(gimli::DW_AT_language)? {
            gimli::AttributeValue::Language(language) => Some(language),
            _ => None,
        }
    }

    /// Bytes of a type; 0 where it is not told.
    pub(super) fn size(&self) -> u64 {
        let told = self.entry.attr_value(gimli::DW_AT_byte_size);
        match told.and_then(|size| size.udata_value()) {
            Some(size) => size,
            None if self.is_pointer() => 8,
            None => self
                .type_of()
                .filter(|_| self.entry.tag() == gimli::DW_TAG_typedef)
                .map_or(0, |of| of.size()),
        }
    }

    fn is_pointer(&self) -> bool {
        matches!(
            self.entry.tag(),
            gimli::DW_TAG_pointer_type
                | gimli::DW_TAG_reference_type
                | gimli::DW_TAG_rvalue_reference_type
        )
    }

    pub(super) fn is_structure(&self) -> bool {
        matches!(
            self.entry.tag(),
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type | gimli::DW_TAG_union_type
        )
    }

    /// Whether a structure is handed over by its address; `None` where C++ does not tell.
    pub(super) fn is_by_reference(&self) -> Option<bool> {
        if !self.is_structure() {
            return Some(false);
        }
        match self.entry.attr_value(gimli::DW_AT_calling_convention) {
            Some(gimli::AttributeValue::CallingConvention(convention)) => {
                Some(convention.0 == BY_REFERENCE)
            }
            _ => None,
        }
    }

    /// How a value of this type reads.
    pub(super) fn value(&self) -> ValueType {
        let bytes = u8::try_from(self.size()).unwrap_or(u8::MAX);
        match self.entry.tag() {
            gimli::DW_TAG_base_type => self.base(bytes),
            gimli::DW_TAG_enumeration_type => {
                let signed = self.type_of().is_some_and(|of| {
                    // a base type, so that an enumeration of itself leads nowhere
                    let is_base = of.entry.tag() == gimli::DW_TAG_base_type;
                    is_base && matches!(of.base(bytes), ValueType::Integer { signed: true, .. })
                });
                integer(bytes, signed)
            }
            _ if self.is_pointer() => {
                let of = self.type_of();
                let is_text = of.is_some_and(|of| of.is_char());
                if is_text {
                    ValueType::Text
                } else {
                    ValueType::Pointer
                }
            }
            gimli::DW_TAG_unspecified_type => ValueType::Pointer,
            _ if self.is_go_text() || self.is_rust_text() => ValueType::Counted {
                length: Location::Unreadable,
            },
            _ => ValueType::Other,
        }
    }

    fn encoding(&self) -> Option<gimli::DwAte> {
        match self.entry.attr_value(gimli::DW_AT_encoding)? {
            gimli::AttributeValue::Encoding(encoding) => Some(encoding),
            _ => None,
        }
    }

    fn base(&self, bytes: u8) -> ValueType {
        match self.encoding() {
            Some(gimli::DW_ATE_boolean) => ValueType::Boolean,
            Some(gimli::DW_ATE_float) => ValueType::Float { bytes },
            Some(gimli::DW_ATE_signed | gimli::DW_ATE_signed_char) => integer(bytes, true),
            Some(
                gimli::DW_ATE_unsigned
                | gimli::DW_ATE_unsigned_char
                | gimli::DW_ATE_UTF
                | gimli::DW_ATE_address,
            ) => integer(bytes, false),
            _ => ValueType::Other,
        }
    }

    /// `char`, not the `signed char` and `unsigned char` of numbers and bytes.
    fn is_char(&self) -> bool {
        self.entry.tag() == gimli::DW_TAG_base_type
            && self.size() == 1
            && self.name().as_deref() == Some("char")
            && matches!(
                self.encoding(),
                Some(gimli::DW_ATE_signed_char | gimli::DW_ATE_unsigned_char)
            )
    }

    fn is_go_text(&self) -> bool {
        self.language() == Some(gimli::DW_LANG_Go)
            && self.entry.tag() == gimli::DW_TAG_structure_type
            && self.name().as_deref() == Some("string")
    }

    fn is_rust_text(&self) -> bool {
        self.language() == Some(gimli::DW_LANG_Rust) && self.name().as_deref() == Some("&str")
    }

    /// Registers that a value takes in Go: whole numbers and pointers, and floating-point ones. `None`: it is not
    /// handed over in registers.
    pub(super) fn go_words(&self) -> Option<(u8, u8)> {
        let mut members = MAX_MEMBERS;
        self.go_words_within(8, &mut members)
    }

    fn go_words_within(&self, depth: usize, members_left: &mut usize) -> Option<(u8, u8)> {
        let depth = depth.checked_sub(1)?;
        match self.entry.tag() {
            _ if self.is_structure() => {
                let mut sum = (0u8, 0u8);
                for member in self.children(gimli::DW_TAG_member, MAX_MEMBERS) {
                    // each may be a structure again
                    *members_left = members_left.checked_sub(1)?;
                    let of = member.type_of()?;
                    let (whole, floats) = of.go_words_within(depth, members_left)?;
                    sum = (sum.0.checked_add(whole)?, sum.1.checked_add(floats)?);
                }
                Some(sum)
            }
            // one of one element would be in registers: rare, and not told apart
            gimli::DW_TAG_array_type => None,
            _ => match self.value() {
                ValueType::Float { .. } => Some((0, 1)),
                ValueType::Other if self.size() > 8 => None,
                _ => Some((1, 0)),
            },
        }
    }
}

fn integer(bytes: u8, signed: bool) -> ValueType {
    match bytes {
        1..=8 => ValueType::Integer { bytes, signed },
        _ => ValueType::Other,
    }
}
