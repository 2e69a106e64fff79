//! What `server.properties` says about a broker. Escapes and continued lines of Java's format are not needed for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

/// A file of properties is a few kilobytes.
const MAX_BYTES: u64 = 1 << 20;

/// Settings of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    values: BTreeMap<String, String>,
}

impl Properties {
    /// Reads a file, whose bytes are characters of Latin-1, as Java takes them: none is wrong.
    ///
    /// # Errors
    /// It cannot be read, is no regular file, or is larger than any such file.
    pub fn read(file: &Path) -> io::Result<Properties> {
        // Before it is opened: that may block for ever where it is no file.
        let metadata = fs::metadata(file)?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        if metadata.len() > MAX_BYTES {
            let why = format!("it is larger than {MAX_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        let text: String = fs::read(file)?.into_iter().map(char::from).collect();
        Ok(Properties::parse(&text))
    }

    /// Reads the text of a file. A key ends at the first `=`, `:` or blank. Of two values of a key, the last one counts.
    pub fn parse(text: &str) -> Properties {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '!']));
        let pairs = lines.filter_map(|line| {
            let (key, rest) = line.split_at(line.find(['=', ':', ' ', '\t'])?);
            let rest = rest.trim_start();
            Some((key.to_owned(), rest.strip_prefix(['=', ':']).unwrap_or(rest).trim().to_owned()))
        });
        Properties { values: pairs.collect() }
    }

    /// With settings of the command line, which count more.
    #[must_use]
    pub fn with(mut self, overrides: &[(String, String)]) -> Properties {
        self.values.extend(overrides.iter().cloned());
        self
    }

    /// `node.id`, or `broker.id`, as it is named with ZooKeeper. A negative one means that the broker is given one.
    pub fn broker_id(&self) -> Option<i32> {
        let id = |key| self.values.get(key)?.parse().ok();
        id("node.id").or_else(|| id("broker.id")).filter(|id| *id >= 0)
    }

    /// Whether it is only a controller.
    pub fn is_controller_only(&self) -> bool {
        let roles = self.values.get("process.roles");
        roles.is_some_and(|roles| !roles.is_empty() && !roles.split(',').any(|role| role.trim() == "broker"))
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// `cluster.id` of the file `meta.properties` in a log directory.
    pub fn cluster_id(&self) -> Option<&str> {
        self.values.get("cluster.id").map(String::as_str)
    }

    /// `zookeeper.connect`, by which the original tells clusters apart.
    pub fn zookeeper(&self) -> Option<&str> {
        self.values.get("zookeeper.connect").map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The log directories.
    pub fn log_dirs(&self) -> Vec<&str> {
        let dirs = self.values.get("log.dirs").or_else(|| self.values.get("log.dir"));
        let dirs = dirs.into_iter().flat_map(|dirs| dirs.split(','));
        dirs.map(str::trim).filter(|dir| !dir.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_read_from_properties() {
        for (text, id) in [
            ("node.id=3\nbroker.id=4\n", Some(3)),
            ("# node.id=3\n broker.id = 4 \n", Some(4)),
            ("node.id=1\nnode.id: 2", Some(2)),
            ("node.id 5\nlog.dirs /a=b\n", Some(5)),
            ("node.id\t=\t6\n", Some(6)),
            ("node.id=x\n", None),
            ("broker.id=-1\n", None),
            ("my.node.id=3\n", None),
            ("", None),
        ] {
            assert_eq!(Properties::parse(text).broker_id(), id, "{text:?}");
        }
        let overrides = [("node.id".to_owned(), "7".to_owned())];
        assert_eq!(Properties::parse("node.id=3").with(&overrides).broker_id(), Some(7));
    }

    #[test]
    fn a_file_is_read_whatever_its_bytes_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.properties");
        fs::write(&file, b"# gr\xfc\xdfe\nnode.id=3\nlog.dirs=/d\xe9\n").unwrap();
        let read = Properties::read(&file).unwrap();
        assert_eq!((read.broker_id(), read.log_dirs()), (Some(3), vec!["/d\u{e9}"]));
        assert!(Properties::read(dir.path()).is_err_and(|error| error.to_string() == "it is no file"));
        fs::write(&file, vec![b'#'; MAX_BYTES as usize + 1]).unwrap();
        assert!(Properties::read(&file).is_err());
    }

    #[test]
    fn roles_and_directories_are_read() {
        for (text, only) in [
            ("", false),
            ("process.roles=", false),
            ("process.roles=broker, controller", false),
            ("process.roles=controller", true),
        ] {
            assert_eq!(Properties::parse(text).is_controller_only(), only, "{text}");
        }
        assert_eq!(Properties::parse("log.dirs=/a, /b,\nlog.dir=/c").log_dirs(), ["/a", "/b"]);
        assert_eq!(Properties::parse("log.dir=/c").log_dirs(), ["/c"]);
        assert_eq!(Properties::parse("zookeeper.connect=z:1/k\n").zookeeper(), Some("z:1/k"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "((node.id|log.dirs|process.roles|[=:#,]|.|\n){0,5}){0,20}") {
            let read = Properties::parse(&text);
            let _ = (read.broker_id(), read.is_controller_only(), read.log_dirs(), read.cluster_id());
        }
    }
}
