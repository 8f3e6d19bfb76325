//! Functions in words: how they are named again, and the types of their values.

use std::fmt::{self, Display, Formatter};

use super::{Argument, Function, Location, Place, ValueType};

impl Place {
    /// What a spec begins with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Kernel => "k",
            Self::User => "u",
            Self::Tracepoint => "t",
            Self::Usdt => "usdt",
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::User => "user",
            Self::Tracepoint => "tracepoint",
            Self::Usdt => "usdt",
        }
    }
}

impl Function {
    /// What `--trace-function` takes to mean this function.
    pub fn spec(&self) -> String {
        let prefix = self.place.prefix();
        match self.place {
            Place::User | Place::Usdt => format!("{prefix}:{}:{}", self.module, self.symbol),
            Place::Kernel | Place::Tracepoint => format!("{prefix}:{}", self.symbol),
        }
    }
}

impl Argument {
    /// Whether a probe can read its value.
    pub fn is_readable(&self) -> bool {
        self.location != Location::Unreadable && self.kind != ValueType::Other
    }
}

impl Display for ValueType {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { bytes, signed } => {
                let sign = if *signed { "" } else { "u" };
                write!(formatter, "{sign}int{}", 8 * u32::from(*bytes))
            }
            Self::Boolean => formatter.write_str("bool"),
            Self::Pointer => formatter.write_str("pointer"),
            Self::Text | Self::Counted { .. } | Self::Characters { .. } => {
                formatter.write_str("text")
            }
            Self::Float { bytes } => write!(formatter, "float{}", 8 * u32::from(*bytes)),
            Self::Other => formatter.write_str("struct"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ValueType;

    #[test]
    fn types_in_words() {
        let words = |value: ValueType| value.to_string();
        let integer = |bytes, signed| ValueType::Integer { bytes, signed };
        assert_eq!(words(integer(4, true)), "int32");
        assert_eq!(words(integer(1, false)), "uint8");
        assert_eq!(words(ValueType::Float { bytes: 8 }), "float64");
        assert_eq!(words(ValueType::Characters { bytes: 16 }), "text");
    }
}
