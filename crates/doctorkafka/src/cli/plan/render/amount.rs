//! Amounts with their units.

use placement::figure;
use planner::balance::{CPU, Counted, DISK};

/// An amount for people.
pub(super) fn amount(counted: Counted, units: u128) -> String {
    match counted {
        Counted::Load(CPU) => format!("{} % of CPU", rounded(of_files(counted, units))),
        Counted::Load(DISK) => bytes(u64::try_from(units).unwrap_or(u64::MAX)),
        Counted::Load(_) => {
            let a_second = of_files(counted, units) * 1000.0;
            format!(
                "{}/s",
                if a_second < 1.0 { format!("{} B", rounded(a_second)) } else { bytes(a_second as u64) }
            )
        }
        Counted::Replicas => count(units, "replica"),
        Counted::Leaders => count(units, "leader"),
        Counted::Partitions => count(units, "partition"),
    }
}

/// The same as a number, in the unit of the files.
pub(super) fn of_files(counted: Counted, units: u128) -> f64 {
    match counted {
        Counted::Load(resource) => figure(resource, i128::try_from(units).unwrap_or(i128::MAX)),
        Counted::Replicas | Counted::Leaders | Counted::Partitions => units as f64,
    }
}

/// The unit of the files.
pub(in crate::cli::plan) fn unit(counted: Counted) -> &'static str {
    match counted {
        Counted::Load(CPU) => "percent of CPU",
        Counted::Load(DISK) => "MB",
        Counted::Load(_) => "KB/s",
        Counted::Replicas => "replicas",
        Counted::Leaders => "leaders",
        Counted::Partitions => "partitions",
    }
}

pub(in crate::cli::plan) fn count(count: u128, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut figure = bytes as f64;
    let mut unit = 0;
    while figure >= 1000.0 && unit + 1 < UNITS.len() {
        (figure, unit) = (figure / 1000.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{figure:.1} {}", UNITS[unit]) }
}

/// With three digits that say something: what is not nothing does not look like it.
fn rounded(figure: f64) -> String {
    let digits = if figure > 0.0 { (2.0 - figure.log10().floor()).clamp(0.0, 9.0) as usize } else { 0 };
    let text = format!("{figure:.digits$}");
    let trimmed = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    trimmed.to_owned()
}

#[cfg(test)]
mod tests {
    use planner::balance::{NETWORK_IN, NETWORK_OUT};

    use super::*;

    #[test]
    fn amounts_have_units() {
        let load = |resource, units| amount(Counted::Load(resource), units);
        assert_eq!(load(CPU, 1_250_000_000), "1.25 % of CPU");
        assert_eq!(load(CPU, 12_345_678), "0.0123 % of CPU");
        assert_eq!(load(CPU, 100_000_000_000), "100 % of CPU");
        assert_eq!(load(DISK, 1), "1 B");
        assert_eq!(load(DISK, 12_345_000_000), "12.3 GB");
        assert_eq!(load(NETWORK_IN, 2_500_000), "2.5 kB/s");
        assert_eq!(load(NETWORK_OUT, 30), "0.03 B/s");
        assert_eq!(load(NETWORK_OUT, 0), "0 B/s");
        assert_eq!(amount(Counted::Replicas, 1), "1 replica");
        assert_eq!(amount(Counted::Leaders, 2), "2 leaders");
        assert_eq!(amount(Counted::Partitions, 0), "0 partitions");
    }

    #[test]
    fn numbers_are_in_the_unit_of_the_files() {
        let both = |counted, units| (of_files(counted, units), unit(counted));
        assert_eq!(both(Counted::Load(CPU), 1_250_000_000), (1.25, "percent of CPU"));
        assert_eq!(both(Counted::Load(NETWORK_IN), 2_500_000), (2.5, "KB/s"));
        assert_eq!(both(Counted::Load(DISK), 1_000_000), (1.0, "MB"));
        assert_eq!(both(Counted::Leaders, 3), (3.0, "leaders"));
    }
}
