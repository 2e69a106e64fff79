//! Which directories are on a file system that is mounted read-only, by the kernel's table of mounts.

/// Those of `dirs` that cannot be written, by the text of `/proc/PID/mounts`.
///
/// A file system that the kernel has remounted after an error stands there with `ro`, as does one that was mounted so.
pub fn read_only<'a>(mounts: &str, dirs: &'a [String]) -> Vec<&'a str> {
    let is_read_only = |dir: &&'a str| {
        let mut deepest: Option<(usize, bool)> = None;
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(1);
            let (Some(point), Some(options)) = (fields.next(), fields.nth(1)) else { continue };
            let point = unescaped(point);
            // Of several at one point the last lies on top.
            if contains(&point, dir) && deepest.is_none_or(|(length, _)| point.len() >= length) {
                deepest = Some((point.len(), options.split(',').any(|option| option == "ro")));
            }
        }
        deepest.is_some_and(|(_, read_only)| read_only)
    };
    dirs.iter().map(String::as_str).filter(is_read_only).collect()
}

/// Whether `dir` is at a mount point or below it.
fn contains(point: &str, dir: &str) -> bool {
    match dir.strip_prefix(point) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || point.ends_with('/'),
        None => false,
    }
}

/// Blanks and the like stand in the table as three octal digits.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let code = escape.get(1..4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let (letter, length) = code.map_or(('\\', 1), |code| (char::from(code), 4));
        out.push(letter);
        rest = &escape[length..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mounts: &str, dirs: &[&str]) -> Vec<String> {
        let dirs: Vec<String> = dirs.iter().map(|dir| (*dir).to_owned()).collect();
        read_only(mounts, &dirs).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn the_deepest_mount_decides() {
        let mounts = "/dev/a / ext4 rw,relatime,errors=remount-ro 0 0\n\
            /dev/b /data ext4 ro,relatime 0 0\n\
            /dev/c /data/two xfs rw 0 0\n\
            /dev/d /my\\040data xfs rw,ro 0 0\n";
        let dirs = ["/data", "/data/one", "/data/two/logs", "/database", "/tmp", "/my data/kafka"];
        assert_eq!(found(mounts, &dirs), ["/data", "/data/one", "/my data/kafka"]);
        let above = format!("{mounts}/dev/e /data ext4 rw 0 0\n");
        assert_eq!(found(&above, &["/data/one"]), [""; 0]);
    }

    #[test]
    fn what_makes_no_sense_says_nothing() {
        for text in ["", "\n", "a\n", "a / b\n", "a \\ ext4 ro\n", "a \\77 x ro\n", "a /é\\0é x ro"] {
            assert_eq!(found(text, &["/data", "/é"]), [""; 0], "{text:?}");
        }
    }
}
