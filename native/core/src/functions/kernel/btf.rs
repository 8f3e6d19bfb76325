//! The kernel's description of its types (BTF), its modules' ones included: what functions take and return.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::functions::{Argument, Location, ValueType};

/// A kernel's own is some MiB, with 200,000 types.
const MAX_BYTES: u64 = 256 << 20;
/// Typedefs and qualifiers around a type; a circle of them is broken, not deep.
const MAX_DEPTH: usize = 32;
/// Words of arguments that a kernel program is handed.
const MAX_WORDS: u32 = 12;

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FORWARD: u32 = 7;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const FLOAT: u32 = 16;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Arguments and result of a function.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Signature {
    pub(super) arguments: Vec<Argument>,
    pub(super) result: Option<ValueType>,
}

/// Types of the kernel, or of a module on top of the kernel's.
#[derive(Debug)]
pub(super) struct Types<'b> {
    base: Option<&'b Types<'b>>,
    bytes: Vec<u8>,
    /// Where each type begins; the first is number 1, or the one behind the base's last.
    starts: Vec<u32>,
    strings: (usize, usize),
    functions: HashMap<String, u32>,
    typedefs: HashMap<String, u32>,
}

/// The fixed head of a type, and the bytes behind it.
#[derive(Clone, Copy, Debug)]
struct Head<'a> {
    name: u32,
    kind: u32,
    members: usize,
    flag: bool,
    /// Size, or the type that is referred to.
    word: u32,
    more: &'a [u8],
}

impl<'a> Head<'a> {
    const BYTES: usize = 12;

    fn read(bytes: &'a [u8], at: usize) -> Option<Self> {
        let bytes = bytes.get(at..)?;
        let info = u32_at(bytes, 4)?;
        Some(Self {
            name: u32_at(bytes, 0)?,
            kind: (info >> 24) & 0x1f,
            members: (info & 0xffff) as usize,
            flag: info >> 31 == 1,
            word: u32_at(bytes, 8)?,
            more: bytes.get(Self::BYTES..)?,
        })
    }

    /// Bytes of the type in all; `None` for kinds that are newer than this.
    fn length(&self) -> Option<usize> {
        let more = match self.kind {
            INT | VAR | DECL_TAG => 4,
            ARRAY => 12,
            STRUCT | UNION | DATASEC | ENUM64 => 12 * self.members,
            ENUM | FUNC_PROTO => 8 * self.members,
            PTR | FORWARD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FLOAT | TYPE_TAG => 0,
            _ => return None,
        };
        Some(Self::BYTES + more)
    }
}

impl<'b> Types<'b> {
    /// `None` where there is no such file, or it is none of this machine's byte order.
    pub(super) fn read(path: &Path, base: Option<&'b Types<'b>>) -> Option<Self> {
        let length = fs::metadata(path).ok()?.len();
        if length > MAX_BYTES {
            return None;
        }
        Self::parse(fs::read(path).ok()?, base)
    }

    fn parse(bytes: Vec<u8>, base: Option<&'b Types<'b>>) -> Option<Self> {
        let header = |at: usize| Some(u32_at(&bytes, at)? as usize);
        if u32_at(&bytes, 0)? & 0xffff != 0xeb9f {
            return None;
        }
        let start = header(4)?;
        let types = start.checked_add(header(8)?)?;
        let types_end = types.checked_add(header(12)?)?;
        let strings = start.checked_add(header(16)?)?;
        let strings_end = strings.checked_add(header(20)?)?;
        if types_end > bytes.len() || strings_end > bytes.len() {
            return None;
        }
        let mut parsed = Self {
            base,
            bytes,
            starts: Vec::new(),
            strings: (strings, strings_end),
            functions: HashMap::new(),
            typedefs: HashMap::new(),
        };
        parsed.index(types, types_end);
        Some(parsed)
    }

    fn index(&mut self, mut at: usize, end: usize) {
        while at < end {
            let Some(head) = Head::read(&self.bytes, at) else {
                break;
            };
            let (Some(length), Ok(start)) = (head.length(), u32::try_from(at)) else {
                break;
            };
            let number = self.first() + self.starts.len() as u32;
            let (kind, name) = (head.kind, head.name);
            self.starts.push(start);
            if matches!(kind, FUNC | TYPEDEF)
                && let Some(name) = self.string(name).map(str::to_owned)
            {
                match kind {
                    FUNC => self.functions.insert(name, number),
                    _ => self.typedefs.insert(name, number),
                };
            }
            at += length;
        }
    }

    /// The number of the first type.
    fn first(&self) -> u32 {
        self.base
            .map_or(1, |base| base.first() + base.starts.len() as u32)
    }

    fn head(&self, number: u32) -> Option<Head<'_>> {
        match number.checked_sub(self.first()) {
            Some(index) => Head::read(&self.bytes, *self.starts.get(index as usize)? as usize),
            None => self.base?.head(number),
        }
    }

    fn string(&self, offset: u32) -> Option<&str> {
        let base = self.base.map_or(0, |base| base.string_bytes());
        let Some(own) = (offset as usize).checked_sub(base) else {
            return self.base?.string(offset);
        };
        let start = self.strings.0.checked_add(own)?;
        let rest = self.bytes.get(start..self.strings.1)?;
        let end = memchr::memchr(0, rest)?;
        std::str::from_utf8(&rest[..end]).ok()
    }

    /// The own ones and the base's.
    fn string_bytes(&self) -> usize {
        self.base.map_or(0, |base| base.string_bytes()) + (self.strings.1 - self.strings.0)
    }

    /// What a function takes and returns.
    pub(super) fn function(&self, name: &str) -> Option<Signature> {
        let function = self.head(*self.functions.get(name)?)?;
        self.signature(function.word, 0)
    }

    /// What a raw tracepoint hands over: its function's parameters without the first, which is the kernel's own.
    pub(super) fn tracepoint(&self, name: &str) -> Option<Vec<Argument>> {
        let named = ["__traceiter_", "__bpf_trace_"]
            .iter()
            .find_map(|prefix| self.functions.get(&format!("{prefix}{name}")));
        let prototype = match named {
            Some(function) => self.head(*function)?.word,
            // without names
            None => {
                let pointer = self
                    .head(*self.typedefs.get(&format!("btf_trace_{name}"))?)?
                    .word;
                self.head(pointer)?.word
            }
        };
        Some(self.signature(prototype, 1)?.arguments)
    }

    /// The names of all raw tracepoints.
    pub(super) fn tracepoints(&self) -> impl Iterator<Item = &str> {
        let names = self.typedefs.keys();
        names.filter_map(|name| name.strip_prefix("btf_trace_"))
    }

    fn signature(&self, prototype: u32, skipped: usize) -> Option<Signature> {
        let prototype = self
            .head(prototype)
            .filter(|head| head.kind == FUNC_PROTO)?;
        let mut arguments = Vec::new();
        let mut word: u32 = 0;
        for index in skipped..prototype.members {
            let name = u32_at(prototype.more, 8 * index)?;
            let kind = u32_at(prototype.more, 8 * index + 4)?;
            if kind == 0 {
                // variable arguments
                break;
            }
            let (value, words) = self.value(kind)?;
            let name = self.string(name).filter(|name| !name.is_empty());
            arguments.push(Argument {
                name: name.map(str::to_owned),
                kind: value,
                location: match u8::try_from(word) {
                    Ok(word) if value != ValueType::Other && u32::from(word) < MAX_WORDS => {
                        Location::Parameter(word)
                    }
                    _ => Location::Unreadable,
                },
            });
            word += words;
        }
        let result = match prototype.word {
            0 => None,
            kind => self.value(kind).map(|(value, _)| value),
        };
        Some(Signature { arguments, result })
    }

    /// How a value of this type reads, and how many words it takes as an argument.
    fn value(&self, mut number: u32) -> Option<(ValueType, u32)> {
        for _ in 0..MAX_DEPTH {
            let head = self.head(number)?;
            let bytes = u8::try_from(head.word).unwrap_or(u8::MAX);
            let words = head.word.div_ceil(8).max(1);
            let value = match head.kind {
                TYPEDEF | CONST | VOLATILE | RESTRICT | TYPE_TAG => {
                    number = head.word;
                    continue;
                }
                INT => {
                    let encoding = (u32_at(head.more, 0)? >> 24) & 0xf;
                    if encoding & 4 != 0 {
                        ValueType::Boolean
                    } else {
                        integer(bytes, encoding & 1 != 0)
                    }
                }
                ENUM | ENUM64 => integer(bytes, head.flag),
                FLOAT => ValueType::Float { bytes },
                PTR if self.is_char(head.word) => ValueType::Text,
                PTR | ARRAY => ValueType::Pointer,
                STRUCT | UNION => ValueType::Other,
                _ => return None,
            };
            return Some(match head.kind {
                PTR | ARRAY => (value, 1),
                _ => (value, words),
            });
        }
        None
    }

    fn is_char(&self, mut number: u32) -> bool {
        for _ in 0..MAX_DEPTH {
            match self.head(number) {
                Some(head) if matches!(head.kind, CONST | VOLATILE | TYPE_TAG) => {
                    number = head.word
                }
                Some(head) => {
                    return head.kind == INT
                        && head.word == 1
                        && self.string(head.name) == Some("char");
                }
                None => return false,
            }
        }
        false
    }
}

fn integer(bytes: u8, signed: bool) -> ValueType {
    match bytes {
        1..=8 => ValueType::Integer { bytes, signed },
        _ => ValueType::Other,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Signature, Types};
    use crate::functions::{Argument, Location, ValueType};
    use proptest::prelude::*;

    const INT: ValueType = ValueType::Integer {
        bytes: 4,
        signed: true,
    };

    fn kernel() -> Option<Types<'static>> {
        Types::read(Path::new("/sys/kernel/btf/vmlinux"), None)
    }

    fn parameter(name: &str, kind: ValueType, word: u8) -> Argument {
        Argument {
            name: Some(name.to_owned()),
            kind,
            location: Location::Parameter(word),
        }
    }

    #[test]
    fn a_function_and_a_tracepoint_of_every_kernel() {
        let Some(types) = kernel() else {
            println!("skipped: this kernel describes no types");
            return;
        };
        let found = types.function("tcp_v4_rcv").expect("IPv4 is everywhere");
        let truth = Signature {
            arguments: vec![parameter("skb", ValueType::Pointer, 0)],
            result: Some(INT),
        };
        assert_eq!(found, truth);
        let found = types.tracepoint("sched_process_exit").expect("it is old");
        assert_eq!(found[0].kind, ValueType::Pointer);
        assert!(types.function("no_such_function").is_none());
        assert!(types.tracepoints().any(|name| name == "sched_switch"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn any_bytes_are_read(
            words in prop::collection::vec(prop_oneof![0u32..64, 0x0100_0000u32..0x1400_0010, any::<u32>()], 0..60),
            split in any::<bool>(),
        ) {
            let types = 4 * words.len() as u32;
            let header = [0x0001_eb9f, 24, 0, types, types, 12];
            let mut bytes: Vec<u8> = header.iter().chain(&words).flat_map(|word| word.to_ne_bytes()).collect();
            bytes.extend(b"\0f\0char\0x\0\0\0");
            let base = Types::parse(bytes.clone(), None);
            let top = base.as_ref().filter(|_| split).and_then(|base| Types::parse(bytes, Some(base)));
            for types in base.iter().chain(&top) {
                for name in ["f", "char", "x", ""] {
                    let _ = types.function(name);
                    let _ = types.tracepoint(name);
                }
            }
        }
    }
}
