//! The creation date and time of an object.

use crate::machine::clock::{SystemTime, UNIX_EPOCH};

/// Date and time in UTC, as DICOM writes them.
pub(super) fn now() -> (String, String) {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let [year, month, day] = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    (format!("{year:04}{month:02}{day:02}"), format!("{:02}{:02}{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60))
}

/// Year, month and day of a number of days after 1970-01-01. Years are counted from March, so that the leap day is a
/// year's last; 400 of them have 146,097 days.
fn civil(days: u64) -> [u64; 3] {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    [era * 400 + year + next, month, day]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(civil(0), [1970, 1, 1]);
        assert_eq!(civil(11_016), [2000, 2, 29]);
        assert_eq!(civil(11_017), [2000, 3, 1]);
        assert_eq!(civil(20_453), [2025, 12, 31]);
    }
}
