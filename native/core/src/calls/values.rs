//! Values of arguments and results as events tell them.

use crate::functions::ValueType;

/// As text: numbers in decimal, pointers in hexadecimal. `None` where the value is not in a general register.
pub(crate) fn text(kind: ValueType, raw: u64) -> Option<String> {
    Some(match kind {
        ValueType::Integer { signed: true, .. } => integer(kind, raw)?.to_string(),
        ValueType::Integer { .. } => integer(kind, raw)?.cast_unsigned().to_string(),
        ValueType::Pointer | ValueType::Text | ValueType::Counted { .. } => format!("{raw:#x}"),
        ValueType::Boolean => (raw & 0xff != 0).to_string(),
        ValueType::Float { .. } | ValueType::Characters { .. } | ValueType::Other => return None,
    })
}

/// As a number; an unsigned one beyond the range of 64 bits with a sign wraps around.
pub(crate) fn integer(kind: ValueType, raw: u64) -> Option<i64> {
    Some(match kind {
        ValueType::Integer { bytes, signed } => {
            let unused = 64 - 8 * u32::from(bytes.clamp(1, 8));
            if signed {
                (raw << unused).cast_signed() >> unused
            } else {
                ((raw << unused) >> unused).cast_signed()
            }
        }
        ValueType::Pointer | ValueType::Text | ValueType::Counted { .. } => raw.cast_signed(),
        ValueType::Boolean => i64::from(raw & 0xff != 0),
        ValueType::Float { .. } | ValueType::Characters { .. } | ValueType::Other => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{integer, text};
    use crate::functions::ValueType;

    const fn number(bytes: u8, signed: bool) -> ValueType {
        ValueType::Integer { bytes, signed }
    }

    #[test]
    fn only_the_bytes_of_the_type_count() {
        assert_eq!(integer(number(4, true), 0xdead_0000_ffff_ffff), Some(-1));
        assert_eq!(
            integer(number(4, false), 0xdead_0000_ffff_ffff),
            Some(4_294_967_295)
        );
        assert_eq!(integer(number(1, true), 0x180), Some(-128));
        assert_eq!(integer(number(8, true), 997), Some(997));
        assert_eq!(integer(ValueType::Boolean, 0xff00), Some(0));
        assert_eq!(integer(ValueType::Float { bytes: 8 }, 1), None);
    }

    #[test]
    fn pointers_are_hexadecimal() {
        assert_eq!(text(ValueType::Pointer, 0x7fff).as_deref(), Some("0x7fff"));
        assert_eq!(text(number(2, false), 0x1_0007).as_deref(), Some("7"));
        assert_eq!(text(ValueType::Boolean, 1).as_deref(), Some("true"));
    }
}
