//! Whether a program that a configuration names can be started here.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Why `program` cannot be started as it is named: a path, or a name that is looked for in the folders of `PATH`.
pub(crate) fn cannot_start(program: &str) -> Option<String> {
    if program.contains('/') {
        return unfit(Path::new(program)).map(|why| format!("{program} {why}"));
    }
    let folders = env::var_os("PATH");
    let folders = folders.as_deref().unwrap_or(OsStr::new("/bin:/usr/bin"));
    let mut places = env::split_paths(folders).map(|folder: PathBuf| folder.join(program));
    if places.any(|place| unfit(&place).is_none()) {
        return None;
    }
    Some(format!("there is no program {program} in PATH"))
}

fn unfit(path: &Path) -> Option<String> {
    match path.metadata() {
        Err(error) => Some(format!("cannot be found: {error}")),
        Ok(metadata) if !metadata.is_file() => Some("is no file".to_owned()),
        Ok(_) if access(path, Access::EXEC_OK).is_err() => Some("may not be executed".to_owned()),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn says_what_cannot_be_started() {
        assert_eq!(cannot_start("sh"), None);
        assert_eq!(cannot_start("/bin/sh"), None);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("replace");
        let name = file.to_str().unwrap();
        assert!(cannot_start(name).unwrap().contains("cannot be found: No such file"));
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        assert_eq!(cannot_start(name).unwrap(), format!("{name} may not be executed"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(cannot_start(name), None);
        assert!(cannot_start(folder.path().to_str().unwrap()).unwrap().ends_with("is no file"));
        assert_eq!(cannot_start("no-such-program").unwrap(), "there is no program no-such-program in PATH");
    }
}
