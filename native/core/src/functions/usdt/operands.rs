//! Where a USDT probe's arguments lie: the assembler's operands, such as `-4@%edi 8@-16(%rbp)`.

use crate::functions::{Argument, Location, ValueType};

/// The kernel hands a dozen over at most.
const MAX_ARGUMENTS: usize = 12;

/// Arguments in order; those that no probe can read say so. `symbol` knows addresses of the file's variables, which
/// count from the probe at `address`.
pub(super) fn parse(
    text: &str,
    address: u64,
    symbol: &dyn Fn(&str) -> Option<u64>,
) -> Vec<Argument> {
    let mut arguments: Vec<(ValueType, String)> = Vec::new();
    for word in text.split_ascii_whitespace() {
        match (size(word), arguments.last_mut()) {
            (Some((kind, operand)), _) => arguments.push((kind, operand.to_owned())),
            // operands of arm64 have blanks in them: [sp, 8]
            (None, Some((_, operand))) => operand.push_str(word),
            (None, None) => return Vec::new(),
        }
    }
    arguments
        .into_iter()
        .take(MAX_ARGUMENTS)
        .map(|(kind, operand)| Argument {
            name: None,
            kind,
            location: location(&operand, address, symbol).unwrap_or(Location::Unreadable),
        })
        .collect()
}

/// `-4@…`, `8f@…`: bytes, negative ones are signed, and what is behind the sign.
fn size(word: &str) -> Option<(ValueType, &str)> {
    let (size, operand) = word.split_once('@')?;
    let (size, is_float) = match size.strip_suffix('f') {
        Some(size) => (size, true),
        None => (size, false),
    };
    let bytes: i8 = size.parse().ok()?;
    let kind = match (bytes.unsigned_abs(), is_float) {
        (bytes @ (4 | 8), true) => ValueType::Float { bytes },
        (size @ (1 | 2 | 4 | 8), false) => ValueType::Integer {
            bytes: size,
            signed: bytes < 0,
        },
        _ => ValueType::Other,
    };
    Some((kind, operand))
}

fn number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => digits.parse().ok()?,
    };
    let value = value.cast_signed();
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// The value of `3`, `-8+16`, `name`, `name+4`.
#[cfg(any(target_arch = "x86_64", test))]
fn displacement(text: &str, symbol: &dyn Fn(&str) -> Option<u64>) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let mut sum: i64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest[1..].find(['+', '-']).map_or(rest.len(), |at| at + 1);
        let (term, next) = rest.split_at(end);
        let value = match number(term) {
            Some(value) => value,
            None => symbol(term.trim_start_matches('+'))?.cast_signed(),
        };
        sum = sum.wrapping_add(value);
        rest = next;
    }
    Some(sum)
}

#[cfg(target_arch = "x86_64")]
fn location(operand: &str, address: u64, symbol: &dyn Fn(&str) -> Option<u64>) -> Option<Location> {
    x86_64(operand, address, symbol)
}

#[cfg(target_arch = "aarch64")]
fn location(operand: &str, _: u64, _: &dyn Fn(&str) -> Option<u64>) -> Option<Location> {
    arm64(operand)
}

#[cfg(any(target_arch = "x86_64", test))]
fn x86_64(operand: &str, address: u64, symbol: &dyn Fn(&str) -> Option<u64>) -> Option<Location> {
    if let Some(constant) = operand.strip_prefix('$') {
        return number(constant).map(Location::Constant);
    }
    if operand.starts_with('%') {
        return x86_64_register(operand).map(Location::Register);
    }
    let (offset, inside) = operand.split_once('(')?;
    let mut parts = inside.strip_suffix(')')?.split(',');
    let base = parts.next()?;
    let offset = displacement(offset, symbol)?;
    if base == "%rip" {
        return Some(Location::Relative(
            offset.wrapping_sub(address.cast_signed()),
        ));
    }
    let (base, offset) = (x86_64_register(base)?, i32::try_from(offset).ok()?);
    let Some(index) = parts.next() else {
        return Some(Location::Memory {
            register: base,
            offset,
        });
    };
    let shift = match parts.next().unwrap_or("1") {
        "1" => 0,
        "2" => 1,
        "4" => 2,
        "8" => 3,
        _ => return None,
    };
    Some(Location::Indexed {
        base,
        index: x86_64_register(index)?,
        shift,
        offset,
    })
}

/// DWARF's number of a general register in any of its widths; the second bytes (`%ah`) are none.
#[cfg(any(target_arch = "x86_64", test))]
fn x86_64_register(name: &str) -> Option<u8> {
    const BY_NUMBER: [[&str; 4]; 8] = [
        ["rax", "eax", "ax", "al"],
        ["rdx", "edx", "dx", "dl"],
        ["rcx", "ecx", "cx", "cl"],
        ["rbx", "ebx", "bx", "bl"],
        ["rsi", "esi", "si", "sil"],
        ["rdi", "edi", "di", "dil"],
        ["rbp", "ebp", "bp", "bpl"],
        ["rsp", "esp", "sp", "spl"],
    ];
    let name = name.strip_prefix('%')?;
    if let Some(number) = BY_NUMBER.iter().position(|widths| widths.contains(&name)) {
        return u8::try_from(number).ok();
    }
    let number = name.strip_prefix('r')?.trim_end_matches(['d', 'w', 'b']);
    number
        .parse()
        .ok()
        .filter(|number| (8..16).contains(number))
}

#[cfg(any(target_arch = "aarch64", test))]
fn arm64(operand: &str) -> Option<Location> {
    if let Some(inside) = operand.strip_prefix('[') {
        let mut parts = inside.strip_suffix(']')?.split(',');
        let register = arm64_register(parts.next()?)?;
        let offset = match parts.next() {
            None => 0,
            Some(offset) => i32::try_from(number(offset.trim_start_matches('#'))?).ok()?,
        };
        return Some(Location::Memory { register, offset }).filter(|_| parts.next().is_none());
    }
    if let Some(register) = arm64_register(operand) {
        return Some(Location::Register(register));
    }
    number(operand.trim_start_matches('#')).map(Location::Constant)
}

#[cfg(any(target_arch = "aarch64", test))]
fn arm64_register(name: &str) -> Option<u8> {
    match name {
        "sp" => Some(31),
        "fp" => Some(29),
        "lr" => Some(30),
        name => {
            let number = name.strip_prefix(['x', 'w'])?;
            number.parse().ok().filter(|number| *number < 31)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{arm64, parse, size, x86_64};
    use crate::functions::{Location, ValueType};
    use proptest::prelude::*;

    fn symbol(name: &str) -> Option<u64> {
        (name == "foo").then_some(0x5000)
    }

    #[test]
    fn operands_of_x86_64() {
        let memory = |register, offset| Location::Memory { register, offset };
        for (operand, location) in [
            ("%rdi", Location::Register(5)),
            ("%edi", Location::Register(5)),
            ("%sil", Location::Register(4)),
            ("%r15d", Location::Register(15)),
            ("$-5", Location::Constant(-5)),
            ("$0x10", Location::Constant(16)),
            ("-16(%rbp)", memory(6, -16)),
            ("(%rax)", memory(0, 0)),
            ("8+16(%rsp)", memory(7, 24)),
            ("foo(%rip)", Location::Relative(0x1000)),
            ("foo+8(%rip)", Location::Relative(0x1008)),
            ("4+foo(%rip)", Location::Relative(0x1004)),
            (
                "8(%rax,%rbx,4)",
                Location::Indexed {
                    base: 0,
                    index: 3,
                    shift: 2,
                    offset: 8,
                },
            ),
        ] {
            assert_eq!(
                x86_64(operand, 0x4000, &symbol),
                Some(location),
                "{operand}"
            );
        }
        for operand in [
            "%ah",
            "%xmm0",
            "bar(%rip)",
            "foo",
            "",
            "(",
            "(%rax",
            "$",
            "%r16",
            "(%rax,%rbx,3)",
        ] {
            assert_eq!(x86_64(operand, 0, &symbol), None, "{operand}");
        }
    }

    #[test]
    fn operands_of_arm64() {
        for (operand, location) in [
            ("x0", Location::Register(0)),
            ("w19", Location::Register(19)),
            ("sp", Location::Register(31)),
            ("-3", Location::Constant(-3)),
            (
                "[sp,60]",
                Location::Memory {
                    register: 31,
                    offset: 60,
                },
            ),
            (
                "[x1]",
                Location::Memory {
                    register: 1,
                    offset: 0,
                },
            ),
        ] {
            assert_eq!(arm64(operand), Some(location), "{operand}");
        }
        for operand in ["", "x31", "[x0,x1]", "d0", "[x0,1,2]", "["] {
            assert_eq!(arm64(operand), None, "{operand}");
        }
    }

    #[test]
    fn lists_of_arguments() {
        let found = parse("-4@%edi 8@-16(%rbp) 1@$7 8f@%xmm0", 0, &symbol);
        let kinds: Vec<_> = found.iter().map(|argument| argument.kind).collect();
        let integer = |bytes, signed| ValueType::Integer { bytes, signed };
        assert_eq!(
            kinds,
            [
                integer(4, true),
                integer(8, false),
                integer(1, false),
                ValueType::Float { bytes: 8 }
            ]
        );
        assert_eq!(found[3].location, Location::Unreadable);
        assert!(parse("", 0, &symbol).is_empty());
        assert_eq!(parse("4@[x0, 4] 4@x1", 0, &symbol).len(), 2);
        assert_eq!(size("4@x1"), Some((integer(4, false), "x1")));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[-+@%$(),0-9a-z \\[\\]é]{0,60}") {
            let _ = parse(&text, 0, &symbol);
            let _ = arm64(&text);
        }
    }
}
