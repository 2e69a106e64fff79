//! Which log directories lie on one volume.

use std::collections::BTreeSet;
use std::sync::Arc;

use cluster::LogDir;

/// Tells volumes apart by what Kafka says of them: their size and their usable bytes. On the broker's host their devices
/// decide, see [`crate::host`].
///
/// Two directories on one volume show the same figures, except when something is written between the two readings; two
/// volumes show different ones, except when both are as good as new. So a pair that was equal once is taken for one
/// volume until its figures are further apart than two readings could be.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    one_volume: BTreeSet<(Arc<str>, Arc<str>)>,
}

/// Usable bytes of one volume, read twice at once, differ by less than this part of its size.
const APART: u64 = 100;

impl Volumes {
    /// Size and usable bytes of all volumes together; `None` if Kafka says nothing of any.
    pub(crate) fn sum(&mut self, dirs: &[LogDir]) -> Option<(u64, u64)> {
        let mut counted: Vec<&LogDir> = Vec::new();
        let (mut total, mut usable) = (0_u64, 0_u64);
        for dir in dirs {
            let (Some(of_total), Some(of_usable)) = (dir.total_bytes, dir.usable_bytes) else { continue };
            if counted.iter().any(|other| self.are_one(other, dir)) {
                continue;
            }
            total = total.saturating_add(of_total);
            usable = usable.saturating_add(of_usable);
            counted.push(dir);
        }
        (!counted.is_empty()).then_some((total, usable))
    }

    fn are_one(&mut self, a: &LogDir, b: &LogDir) -> bool {
        let (Some(total), Some(usable_a), Some(usable_b)) = (a.total_bytes, a.usable_bytes, b.usable_bytes)
        else {
            return false;
        };
        let pair = (Arc::clone(&a.path), Arc::clone(&b.path));
        if b.total_bytes != Some(total) || usable_a.abs_diff(usable_b) > total / APART {
            self.one_volume.remove(&pair);
            return false;
        }
        if usable_a == usable_b {
            self.one_volume.insert(pair);
            return true;
        }
        self.one_volume.contains(&pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(path: &str, total: u64, usable: u64) -> LogDir {
        LogDir {
            path: path.into(),
            error: None,
            total_bytes: Some(total),
            usable_bytes: Some(usable),
            replicas: Default::default(),
        }
    }

    #[test]
    fn counts_a_volume_once_even_while_it_fills() {
        let mut volumes = Volumes::default();
        assert_eq!(volumes.sum(&[dir("/a", 1000, 600), dir("/b", 1000, 600)]), Some((1000, 600)));
        assert_eq!(volumes.sum(&[dir("/a", 1000, 595), dir("/b", 1000, 594)]), Some((1000, 595)));
    }

    #[test]
    fn counts_every_volume() {
        let mut volumes = Volumes::default();
        assert_eq!(volumes.sum(&[dir("/a", 1000, 600), dir("/b", 1000, 601)]), Some((2000, 1201)));
        assert_eq!(volumes.sum(&[dir("/a", 1000, 600), dir("/b", 900, 600)]), Some((1900, 1200)));
    }

    #[test]
    fn tells_new_volumes_apart_once_they_differ() {
        let mut volumes = Volumes::default();
        assert_eq!(volumes.sum(&[dir("/a", 1000, 999), dir("/b", 1000, 999)]), Some((1000, 999)));
        assert_eq!(volumes.sum(&[dir("/a", 1000, 900), dir("/b", 1000, 950)]), Some((2000, 1850)));
        assert_eq!(volumes.sum(&[dir("/a", 1000, 900), dir("/b", 1000, 905)]), Some((2000, 1805)));
    }

    #[test]
    fn says_nothing_where_kafka_says_nothing() {
        let old = LogDir { total_bytes: None, usable_bytes: None, ..dir("/a", 0, 0) };
        assert_eq!(Volumes::default().sum(&[old]), None);
    }
}
