//! RFC 3339 text of instants, written at speed.

const MINUTE_MS: i64 = 60_000;
const DAY_MINUTES: i64 = 1440;

/// Writes instants as `2026-01-01T00:00:00.000Z`; remembers the last minute, since rows that
/// follow one another mostly share it.
#[derive(Debug)]
pub(crate) struct Rfc3339 {
    minute: i64,
    text: [u8; 24],
}

impl Default for Rfc3339 {
    fn default() -> Self {
        Self { minute: i64::MIN, text: *b"0000-00-00T00:00:00.000Z" }
    }
}

impl Rfc3339 {
    /// The text of `ms` milliseconds since 1970, for years of four digits.
    pub(crate) fn text(&mut self, ms: i64) -> &[u8] {
        let minute = ms.div_euclid(MINUTE_MS);
        if minute != self.minute {
            self.minute = minute;
            self.write_minute(minute);
        }
        let within = ms.rem_euclid(MINUTE_MS);
        digits(&mut self.text[17..19], within / 1000);
        digits(&mut self.text[20..23], within % 1000);
        &self.text
    }

    fn write_minute(&mut self, minute: i64) {
        let (year, month, day) = civil(minute.div_euclid(DAY_MINUTES));
        let within = minute.rem_euclid(DAY_MINUTES);
        digits(&mut self.text[0..4], year);
        digits(&mut self.text[5..7], month);
        digits(&mut self.text[8..10], day);
        digits(&mut self.text[11..13], within / 60);
        digits(&mut self.text[14..16], within % 60);
    }
}

/// The text of `ms` milliseconds since 1970.
pub(crate) fn rfc3339(ms: i64) -> String {
    String::from_utf8_lossy(Rfc3339::default().text(ms)).into_owned()
}

fn digits(text: &mut [u8], mut value: i64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of a day since 1970 (Hinnant, "chrono-compatible low-level date
/// algorithms", 2013: years that begin in March, eras of 400 of them).
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!(rfc3339(1_767_225_600_000), "2026-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(4_107_542_399_999), "2100-02-28T23:59:59.999Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn remembered_minute_does_not_leak_into_another() {
        let mut writer = Rfc3339::default();
        for (ms, text) in [
            (59_999, "1970-01-01T00:00:59.999Z"),
            (60_000, "1970-01-01T00:01:00.000Z"),
            (1, "1970-01-01T00:00:00.001Z"),
        ] {
            assert_eq!(writer.text(ms), text.as_bytes());
        }
    }
}
