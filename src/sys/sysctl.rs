//! Settings of the kernel by their names, `net.core.somaxconn`. sysctl(8), ip-sysctl.rst; what is hidden is `None`.

use std::fs;

/// The value as text, without surrounding white space.
pub fn text(name: &str) -> Option<String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The words of a value, as in a list of names.
pub fn words(name: &str) -> Option<Vec<String>> {
    Some(text(name)?.split_whitespace().map(str::to_owned).collect())
}

/// The numbers of a value. None if one of its words is not a number.
pub fn numbers(name: &str) -> Option<Vec<u64>> {
    numbers_in(&text(name)?)
}

/// The first number of a value.
pub fn number(name: &str) -> Option<u64> {
    numbers(name)?.first().copied()
}

fn numbers_in(text: &str) -> Option<Vec<u64>> {
    text.split_whitespace().map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parsed_as_the_kernel_writes_them() {
        assert_eq!(
            numbers_in("287901\t383868\t575802"),
            Some(vec![287_901, 383_868, 575_802])
        );
        assert_eq!(
            numbers_in("990 0 9223372036854775807"),
            Some(vec![990, 0, i64::MAX as u64])
        );
        assert_eq!(numbers_in("-1"), None);
        assert_eq!(numbers_in("reno bbr"), None);
        assert_eq!(numbers_in(""), Some(Vec::new()));
    }

    #[test]
    fn a_setting_that_does_not_exist_has_no_value() {
        assert_eq!(number("net.core.no_such_setting"), None);
        assert_eq!(words("net.core.no_such_setting"), None);
    }
}
