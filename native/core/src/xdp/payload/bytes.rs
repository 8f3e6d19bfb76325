//! A reader over bytes that gives `None` at their end, and never more than there is.

/// What is still to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// As much of `length` bytes as there is.
    pub(super) fn take_up_to(&mut self, length: usize) -> Self {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Self(taken)
    }

    /// A number of `length` bytes (at most four) in network order.
    pub(super) fn number(&mut self, length: usize) -> Option<usize> {
        let bytes = self.take(length)?;
        Some(
            bytes
                .iter()
                .fold(0, |value, &byte| value << 8 | usize::from(byte)),
        )
    }

    /// What a length of `prefix` bytes announces, or as much of it as there is.
    pub(super) fn prefixed_up_to(&mut self, prefix: usize) -> Option<Self> {
        let length = self.number(prefix)?;
        Some(self.take_up_to(length))
    }

    /// What a length of `prefix` bytes announces; `None` where it is not there as a whole.
    pub(super) fn prefixed(&mut self, prefix: usize) -> Option<&'a [u8]> {
        let length = self.number(prefix)?;
        self.take(length)
    }
}
