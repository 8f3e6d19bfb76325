//! Functions in words: how they are named again, and the types of their values.

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

impl ValueType {
    /// Its name, as events and lists tell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Integer {
                bytes: 1,
                signed: true,
            } => "i8",
            Self::Integer {
                bytes: 2,
                signed: true,
            } => "i16",
            Self::Integer {
                bytes: 4,
                signed: true,
            } => "i32",
            Self::Integer { signed: true, .. } => "i64",
            Self::Integer { bytes: 1, .. } => "u8",
            Self::Integer { bytes: 2, .. } => "u16",
            Self::Integer { bytes: 4, .. } => "u32",
            Self::Integer { .. } => "u64",
            Self::Pointer => "pointer",
            Self::Text | Self::Counted { .. } | Self::Characters { .. } => "string",
            Self::Boolean => "bool",
            Self::Float { bytes: 4 } => "f32",
            Self::Float { .. } => "f64",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ValueType;

    #[test]
    fn types_in_words() {
        let words = ValueType::name;
        let integer = |bytes, signed| ValueType::Integer { bytes, signed };
        assert_eq!(words(integer(4, true)), "i32");
        assert_eq!(words(integer(1, false)), "u8");
        assert_eq!(words(ValueType::Float { bytes: 8 }), "f64");
        assert_eq!(words(ValueType::Characters { bytes: 16 }), "string");
    }
}
