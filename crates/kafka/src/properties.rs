//! The syntax of Java's properties files, as `java.util.Properties.load` reads them.

use crate::client_properties::Problem;

/// One key with its value, and the line it starts on (from 1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) line: usize,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// Reads all entries. What Java would refuse is a problem; everything else is read.
pub(crate) fn read(text: &str, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (line, logical) in logical_lines(text) {
        let (key, value) = split(&logical);
        match (unescape(key), unescape(value)) {
            (Ok(key), Ok(value)) => entries.push(Entry { line, key, value }),
            (Err(message), _) | (_, Err(message)) => problems.push(Problem { line, message }),
        }
    }
    entries
}

/// Lines that are neither empty nor comments, each joined with those that continue it.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, natural) in natural_lines(text).enumerate() {
        let content = natural.trim_start_matches(is_space);
        let (line, mut joined) = match open.take() {
            Some(begun) => begun,
            None if content.is_empty() || content.starts_with(['#', '!']) => continue,
            None => (number + 1, String::new()),
        };
        let slashes = content.len() - content.trim_end_matches('\\').len();
        if slashes % 2 == 1 {
            joined.push_str(&content[..content.len() - 1]);
            open = Some((line, joined));
        } else {
            joined.push_str(content);
            lines.push((line, joined));
        }
    }
    lines.extend(open);
    lines
}

/// Splits at `\n`, `\r` and `\r\n`.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// The key ends at the first unescaped `=`, `:` or space; spaces around one `=` or `:` belong to neither side.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let mut end = line.len();
    for (at, c) in line.char_indices() {
        if !escaped && (is_space(c) || matches!(c, '=' | ':')) {
            end = at;
            break;
        }
        escaped = !escaped && c == '\\';
    }
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_space);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(is_space);
    (key, value)
}

fn unescape(text: &str) -> Result<String, String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    let mut buffer = [0; 2];
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    units.push(unicode(&mut chars)?);
                    continue;
                }
                Some(other) => other,
                None => break,
            },
            c => c,
        };
        units.extend_from_slice(plain.encode_utf16(&mut buffer));
    }
    Ok(String::from_utf16_lossy(&units))
}

fn unicode(chars: &mut std::str::Chars<'_>) -> Result<u16, String> {
    let malformed = || "malformed \\uXXXX (four hexadecimal digits are expected)".to_owned();
    let mut unit = 0;
    for _ in 0..4 {
        let digit = chars.next().and_then(|c| c.to_digit(16)).ok_or_else(malformed)?;
        unit = unit * 16 + digit;
    }
    u16::try_from(unit).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        let mut problems = Vec::new();
        let entries = read(text, &mut problems);
        assert_eq!(problems, []);
        entries.into_iter().map(|e| (e.line, e.key, e.value)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let (_, key, value) = pairs(text).pop().expect("an entry");
        (key, value)
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators_are_equals_colon_and_space() {
        for text in ["a=b", "a:b", "a b", "a = b", " a\t:\tb", "a   b"] {
            assert_eq!(one(text), pair("a", "b"), "{text:?}");
        }
        assert_eq!(one("a == b"), pair("a", "= b"));
        assert_eq!(one("a"), pair("a", ""));
        assert_eq!(one("a= b "), pair("a", "b "));
    }

    #[test]
    fn escapes_are_those_of_java() {
        assert_eq!(one(r"a\ b\=c=d\\e\:\q"), pair("a b=c", r"d\e:q"));
        assert_eq!(one(r"a=\t\n\r\f"), pair("a", "\t\n\r\u{c}"));
        assert_eq!(one(r"a=\u00e9\ud83d\ude00"), pair("a", "é😀"));
    }

    #[test]
    fn continued_lines_count_from_where_they_began_and_lose_their_indent() {
        let text = "! comment\n\na=b,\\\n    c,\\\r\n  d\n# comment \\\nx=y\n";
        assert_eq!(pairs(text), [(3, "a".into(), "b,c,d".into()), (7, "x".into(), "y".into())]);
        assert_eq!(one("a=b\\\\"), pair("a", "b\\"));
        assert_eq!(one("a=b\\"), pair("a", "b"));
    }

    #[test]
    fn a_malformed_escape_is_a_problem_with_its_line() {
        let mut problems = Vec::new();
        let entries = read("a=1\nb=\\u00g0\nc=\\u12\n", &mut problems);
        assert_eq!(entries.len(), 1);
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [2, 3]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|[\\\\\n\r=: \t#!u]){0,80}") {
            let _ = read(&text, &mut Vec::new());
        }

        #[test]
        fn what_is_escaped_comes_back(key in "[a-z .:=#!\\\\]{1,12}", value in "[ -~\n\t]{0,20}") {
            let escape = |text: &str| -> String {
                text.chars().flat_map(|c| match c {
                    '\n' => vec!['\\', 'n'],
                    '\t' => vec!['\\', 't'],
                    c if c.is_ascii_alphanumeric() => vec![c],
                    c => vec!['\\', c],
                }).collect()
            };
            prop_assert_eq!(one(&format!("{}={}", escape(&key), escape(&value))), (key, value));
        }
    }
}
