//! RFC 3339 text of Unix nanoseconds, six digits, UTC.

use super::ascii_text;

const NANOSECONDS: i64 = 1_000_000_000;

/// Writes time stamps; neighbours share their second, so that only its digits are made anew.
#[derive(Debug)]
pub(super) struct TimestampText {
    second: i64,
    /// `2026-11-23T12:34:56.123456Z`
    text: [u8; 27],
}

impl TimestampText {
    pub(super) fn new() -> Self {
        let mut text = Self {
            second: 0,
            text: *b"1970-01-01T00:00:00.000000Z",
        };
        text.set_second(0);
        text
    }

    /// The text of `unix_ns`; times before 1970 and after 9999 are clamped to that range.
    pub(super) fn format(&mut self, unix_ns: i64) -> &str {
        let unix_ns = unix_ns.max(0);
        let second = unix_ns / NANOSECONDS;
        if second != self.second {
            self.set_second(second);
        }
        write_digits(
            &mut self.text[20..26],
            (unix_ns % NANOSECONDS / 1000) as u64,
        );
        ascii_text(&self.text).unwrap_or_default()
    }

    fn set_second(&mut self, second: i64) {
        self.second = second;
        let (year, month, day) = civil_date(second / 86_400);
        let in_day = second % 86_400;
        for (range, value) in [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, in_day / 3600),
            (14..16, in_day / 60 % 60),
            (17..19, in_day % 60),
        ] {
            write_digits(&mut self.text[range], value as u64);
        }
    }
}

fn write_digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Gregorian year, month and day of a count of days since 1970-01-01 (not negative).
///
/// Counts in eras of 400 years that begin on 1 March, so that the leap day comes last.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        for (unix_ns, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199_999_999_999, "2024-02-29T23:59:59.999999Z"),
            (1_709_251_200_000_001_000, "2024-03-01T00:00:00.000001Z"),
            (1_795_437_296_123_456_789, "2026-11-23T12:34:56.123456Z"),
            (-5, "1970-01-01T00:00:00.000000Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775Z"),
        ] {
            assert_eq!(TimestampText::new().format(unix_ns), text);
        }
    }

    #[test]
    fn seconds_are_not_mixed_up() {
        let mut text = TimestampText::new();
        assert_eq!(
            text.format(1_709_251_199_500_000_000),
            "2024-02-29T23:59:59.500000Z"
        );
        assert_eq!(
            text.format(1_709_251_200_000_000_000),
            "2024-03-01T00:00:00.000000Z"
        );
        assert_eq!(
            text.format(1_709_251_199_000_001_000),
            "2024-02-29T23:59:59.000001Z"
        );
    }
}
