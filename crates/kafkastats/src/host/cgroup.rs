//! How many processors a process may use by the quota of its control groups.

use std::fs;
use std::path::{Path, PathBuf};

/// Where a process stands in the hierarchies of control groups that know quotas of processor time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Groups {
    /// The group of version 2.
    pub unified: Option<String>,
    /// The group of the controller `cpu` of version 1.
    pub cpu: Option<String>,
}

/// `/proc/PID/cgroup`: lines of `number:controllers:path`; version 2 has number 0 and no controllers.
pub fn groups(text: &str) -> Groups {
    let mut groups = Groups::default();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if number == "0" && controllers.is_empty() {
            groups.unified = Some(path.to_owned());
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            groups.cpu = Some(path.to_owned());
        }
    }
    groups
}

/// `cpu.max` of version 2: `quota period`, or `max period`. In processors.
pub fn quota_2(cpu_max: &str) -> Option<f64> {
    let mut words = cpu_max.split_whitespace();
    processors(words.next()?.parse().ok()?, words.next()?.parse().ok()?)
}

/// `cpu.cfs_quota_us` (-1: none) and `cpu.cfs_period_us` of version 1. In processors.
pub fn quota_1(quota: &str, period: &str) -> Option<f64> {
    processors(quota.trim().parse().ok()?, period.trim().parse().ok()?)
}

fn processors(quota: i64, period: i64) -> Option<f64> {
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// The groups of a process cannot be seen from here, so that nobody knows what it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unseen;

/// The smallest quota of a process's groups and all groups above them, in processors; `None` if there is none. `own` are the
/// groups of the one who looks, and `root` is where the process's own root directory is found: in another container, as
/// beside a sidecar, the process's group is the root of what is mounted there.
///
/// # Errors
/// [`Unseen`], by either way.
pub fn quota(sys: &Path, root: &Path, groups: &Groups, own: &Groups) -> Result<Option<f64>, Unseen> {
    let (unified, cpu) = chains(&sys.join("fs/cgroup"), groups, groups == own);
    // Where both versions are mounted, version 1 has the controller, and version 2 is not where it is looked for.
    let is_seen = match (&groups.cpu, &groups.unified) {
        (Some(_), _) => !cpu.is_empty(),
        (None, Some(_)) => !unified.is_empty(),
        (None, None) => true,
    };
    if is_seen {
        return Ok(smallest(&unified, &cpu));
    }
    let at_root = |group: &Option<String>| group.as_ref().map(|_| "/".to_owned());
    let inside = Groups { unified: at_root(&groups.unified), cpu: at_root(&groups.cpu) };
    let (unified, cpu) = chains(&root.join("sys/fs/cgroup"), &inside, true);
    // The root of all groups has no such files: what is mounted there is then not the process's group.
    let has = |groups: &[PathBuf], file: &str| groups.iter().any(|group| group.join(file).is_file());
    let is_seen = has(&unified, "cpu.max") || has(&cpu, "cpu.cfs_quota_us");
    if is_seen { Ok(smallest(&unified, &cpu)) } else { Err(Unseen) }
}

/// The directories of both versions' groups.
fn chains(mount: &Path, groups: &Groups, is_own: bool) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let unified = groups.unified.iter().flat_map(|path| chain(mount, path, is_own));
    let cpu = groups.cpu.iter().flat_map(|path| {
        let named = ["cpu", "cpu,cpuacct", "cpuacct,cpu"].map(|name| mount.join(name));
        let mount = named.into_iter().find(|mount| mount.is_dir()).unwrap_or_default();
        chain(&mount, path, is_own)
    });
    (unified.collect(), cpu.collect())
}

fn smallest(unified: &[PathBuf], cpu: &[PathBuf]) -> Option<f64> {
    let read = |file: PathBuf| fs::read_to_string(file).ok();
    let of_2 = unified.iter().filter_map(|group| quota_2(&read(group.join("cpu.max"))?));
    let of_1 = cpu.iter().filter_map(|group| {
        quota_1(&read(group.join("cpu.cfs_quota_us"))?, &read(group.join("cpu.cfs_period_us"))?)
    });
    of_2.chain(of_1).reduce(f64::min)
}

/// The directories of a group and of those above it. In a container, paths may be as the host sees them, and lead nowhere:
/// whose group is that of the one who looks is then at the root, and of others nothing can be seen.
fn chain(mount: &Path, path: &str, is_own: bool) -> Vec<PathBuf> {
    let mut directories = vec![mount.to_owned()];
    for part in path.split('/').filter(|part| !part.is_empty()) {
        // Above the root of a namespace nothing can be seen.
        if part == ".." {
            return Vec::new();
        }
        let next = directories.last().map(|last| last.join(part)).unwrap_or_default();
        directories.push(next);
    }
    match directories.last() {
        Some(last) if last.is_dir() => directories,
        _ if is_own => vec![mount.to_owned()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotas_are_read() {
        for (text, expected) in [
            ("150000 100000\n", Some(1.5)),
            ("max 100000\n", None),
            ("0 100000", None),
            ("1 0", None),
            ("", None),
        ] {
            assert_eq!(quota_2(text), expected, "{text}");
        }
        assert_eq!(quota_1("50000\n", "100000\n"), Some(0.5));
        assert_eq!(quota_1("-1", "100000"), None);
    }

    #[test]
    fn groups_of_both_versions_are_found() {
        let text = "12:cpu,cpuacct:/docker/x\n3:cpuset:/y\nodd\n0::/init.scope\n";
        let expected = Groups { unified: Some("/init.scope".to_owned()), cpu: Some("/docker/x".to_owned()) };
        assert_eq!(groups(text), expected);
        assert_eq!(groups("0::/a:b\n").unified.as_deref(), Some("/a:b"));
    }

    #[test]
    fn the_smallest_quota_above_a_process_counts() {
        let (sys, nowhere) = (tempfile::tempdir().unwrap(), Path::new("/nowhere"));
        let put = |path: &str, text: &str| {
            let path = sys.path().join("fs/cgroup").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("kafka.slice/cpu.max", "200000 100000\n");
        put("kafka.slice/b1.service/cpu.max", "max 100000\n");
        put("other.slice/cpu.max", "10000 100000\n");
        let unified = |path: &str| Groups { unified: Some(path.to_owned()), cpu: None };
        assert_eq!(
            quota(sys.path(), nowhere, &unified("/kafka.slice/b1.service"), &unified("/agent")),
            Ok(Some(2.0))
        );
        assert_eq!(quota(sys.path(), nowhere, &unified("/"), &unified("/agent")), Ok(None));
        // A container sees its own group at the root, whatever the host calls it.
        put("cpu.max", "50000 100000\n");
        assert_eq!(
            quota(sys.path(), nowhere, &unified("/docker/unknown"), &unified("/docker/unknown")),
            Ok(Some(0.5))
        );
        assert_eq!(
            quota(sys.path(), nowhere, &unified("/kafka.slice/b1.service"), &unified("/agent")),
            Ok(Some(0.5)),
            "the smallest"
        );
        put("cpu,cpuacct/docker/x/cpu.cfs_quota_us", "25000\n");
        put("cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n");
        let version_1 = Groups { unified: None, cpu: Some("/docker/x".to_owned()) };
        assert_eq!(quota(sys.path(), nowhere, &version_1, &unified("/agent")), Ok(Some(0.25)));
        assert_eq!(quota(sys.path(), nowhere, &Groups::default(), &unified("/agent")), Ok(None));
    }

    #[test]
    fn a_group_out_of_sight_is_looked_for_in_the_process_s_own_container() {
        let (sys, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(sys.path().join("fs/cgroup")).unwrap();
        let unified = |path: &str| Groups { unified: Some(path.to_owned()), cpu: None };
        for path in ["/../broker", "/kubepods/x"] {
            let found = || quota(sys.path(), root.path(), &unified(path), &unified("/"));
            let mount = root.path().join("sys/fs/cgroup");
            fs::create_dir_all(&mount).unwrap();
            assert_eq!(found(), Err(Unseen));
            fs::write(mount.join("cpu.max"), "150000 100000\n").unwrap();
            assert_eq!(found(), Ok(Some(1.5)));
            fs::write(mount.join("cpu.max"), "max 100000\n").unwrap();
            assert_eq!(found(), Ok(None));
            fs::remove_file(mount.join("cpu.max")).unwrap();
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "((max|[0-9]{1,25}|-1|:|,|cpu|/|\\.\\.|.|\n| ){0,4}){0,20}") {
            let _ = (quota_2(&text), quota_1(&text, &text));
            let _ = quota(Path::new("/nowhere"), Path::new("/nowhere"), &groups(&text), &groups(&text));
        }
    }
}
