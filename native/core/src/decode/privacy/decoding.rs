//! Percent-decoding that remembers where each byte came from.

/// Encodings within encodings that are followed.
const LEVELS: usize = 3;

/// Decoded bytes with the place of each in the original.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub(super) bytes: Vec<u8>,
    /// Where each byte began in the original; one more for the end.
    origins: Vec<u32>,
}

impl Decoded {
    /// Decodes `text`, again and again while something is encoded; at most [`LEVELS`] times.
    pub(super) fn decode(&mut self, text: &[u8], plus_is_blank: bool) {
        self.bytes.clear();
        self.bytes.extend_from_slice(text);
        self.origins.clear();
        self.origins.extend(0..=text.len() as u32);
        for level in 0..LEVELS {
            if !self.decode_once(plus_is_blank && level == 0) {
                break;
            }
        }
    }

    /// The original's place of a range of decoded bytes.
    pub(super) fn origin(&self, range: &std::ops::Range<usize>) -> std::ops::Range<usize> {
        self.origins[range.start] as usize..self.origins[range.end] as usize
    }

    fn decode_once(&mut self, plus_is_blank: bool) -> bool {
        let (mut read, mut write) = (0, 0);
        while read < self.bytes.len() {
            let (byte, length) = match hex_pair(&self.bytes[read..]) {
                Some(byte) => (byte, 3),
                None if plus_is_blank && self.bytes[read] == b'+' => (b' ', 1),
                None => (self.bytes[read], 1),
            };
            self.bytes[write] = byte;
            self.origins[write] = self.origins[read];
            read += length;
            write += 1;
        }
        self.origins[write] = self.origins[read];
        self.bytes.truncate(write);
        self.origins.truncate(write + 1);
        write < read
    }
}

fn hex_pair(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(*high)? * 16 + digit(*low)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lead_back_to_the_original() {
        let mut decoded = Decoded::default();
        decoded.decode(b"a%40b%2540c+d%zz", true);
        assert_eq!(decoded.bytes, b"a@b@c d%zz");
        assert_eq!(decoded.origin(&(1..2)), 1..4);
        assert_eq!(decoded.origin(&(3..4)), 5..10);
        assert_eq!(decoded.origin(&(0..10)), 0..16);
    }
}
