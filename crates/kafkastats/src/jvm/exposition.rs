//! Reads the text that Prometheus scrapes: its own format 0.0.4, and OpenMetrics 1.0 as far as it differs.

use std::borrow::Cow;
use std::collections::HashMap;

/// What the text says a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It is what it is at the time.
    Gauge,
    /// Something else, or nothing is said.
    #[default]
    Other,
}

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// The metric's name.
    pub name: &'a str,
    /// The labels in the order of the text.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// The figure; can be infinite or no number.
    pub value: f64,
    /// What kind it is.
    pub kind: Kind,
}

impl Sample<'_> {
    /// The value of a label, whatever the case of its name; an empty one is the same as none.
    pub fn label(&self, name: &str) -> Option<&str> {
        let (_, value) = self.labels.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(&**value).filter(|value| !value.is_empty())
    }
}

/// How much of a text could be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Lines that are figures.
    pub samples: usize,
    /// Lines that are neither figures nor comments.
    pub bad_lines: usize,
    /// The first of those, shortened.
    pub first_bad: Option<String>,
}

/// Reads `text` and hands each figure to `take`. A line that cannot be read costs that line.
pub fn parse<'a>(text: &'a str, mut take: impl FnMut(Sample<'a>)) -> Outcome {
    let mut kinds: HashMap<&str, Kind> = HashMap::new();
    let mut outcome = Outcome::default();
    for line in text.lines() {
        let line = line.trim_ascii();
        if let Some(comment) = line.strip_prefix('#') {
            if comment.trim_ascii() == "EOF" {
                break;
            }
            if let Some((name, kind)) = type_line(comment) {
                kinds.insert(name, kind);
            }
            continue;
        }
        if line.is_empty() {
            continue;
        }
        match sample(line) {
            Some(mut sample) => {
                sample.kind = kind_of(sample.name, &kinds);
                outcome.samples += 1;
                take(sample);
            }
            None => {
                outcome.bad_lines += 1;
                outcome.first_bad.get_or_insert_with(|| line.chars().take(80).collect());
            }
        }
    }
    outcome
}

/// `# TYPE name kind`
fn type_line(comment: &str) -> Option<(&str, Kind)> {
    let mut words = comment.split_ascii_whitespace();
    if words.next() != Some("TYPE") {
        return None;
    }
    let name = words.next()?;
    let kind = match words.next()? {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        _ => Kind::Other,
    };
    Some((name, kind))
}

/// In OpenMetrics, the type of `name_total` is told of `name`.
fn kind_of(name: &str, kinds: &HashMap<&str, Kind>) -> Kind {
    let told = kinds.get(name).or_else(|| kinds.get(name.strip_suffix("_total")?));
    told.copied().unwrap_or_default()
}

/// `name{label="value",…} value [timestamp] [# exemplar]`
fn sample(line: &str) -> Option<Sample<'_>> {
    let (name, rest) = split_name(line)?;
    let (labels, rest) = match rest.trim_ascii_start().strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let mut words = rest.split_ascii_whitespace();
    let value = number(words.next()?)?;
    match words.next() {
        None | Some("#") => {}
        // The time of the figure, in milliseconds or in seconds.
        Some(time) => _ = number(time)?,
    }
    Some(Sample { name, labels, value, kind: Kind::Other })
}

/// A name of letters, digits, '_' and ':', and what follows.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | ':');
    let end = text.find(|character| !is_part(character)).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let is_name = name.starts_with(|first: char| is_part(first) && !first.is_ascii_digit());
    is_name.then_some((name, rest))
}

type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Labels up to the closing brace, and what follows it. A comma may stand behind the last one.
pub(super) fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = split_name(rest)?;
        let after = after.trim_ascii_start().strip_prefix('=')?;
        let (value, after) = quoted(after.trim_ascii_start().strip_prefix('"')?)?;
        labels.push((name, value));
        let after = after.trim_ascii_start();
        rest = match after.strip_prefix(',') {
            Some(after) => after,
            None if after.starts_with('}') => after,
            None => return None,
        };
    }
}

/// A value up to the closing quote, without its escapes, and what follows.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text.as_bytes().get(end) == Some(&b'"') {
        return Some((Cow::Borrowed(text.get(..end)?), text.get(end + 1..)?));
    }
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((Cow::Owned(value), text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other @ ('"' | '\\') => value.push(other),
                // What is no escape stands for itself.
                other => value.extend(['\\', other]),
            },
            _ => value.push(character),
        }
    }
    None
}

fn number(word: &str) -> Option<f64> {
    // Rust reads what Prometheus writes: NaN, +Inf and -Inf too.
    word.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(text: &str) -> (Vec<Sample<'_>>, Outcome) {
        let mut samples = Vec::new();
        let outcome = parse(text, |sample| samples.push(sample));
        (samples, outcome)
    }

    fn one(line: &str) -> String {
        match samples(line).0.as_slice() {
            [sample] => format!("{} {:?} {}", sample.name, sample.labels, sample.value),
            [] => "bad".to_owned(),
            many => format!("{} samples", many.len()),
        }
    }

    #[test]
    fn lines_of_all_forms_are_read() {
        for (line, read) in [
            ("a 1", "a [] 1"),
            ("a:b_C9 -1.5E3 1700000000000", "a:b_C9 [] -1500"),
            ("a{} 1", "a [] 1"),
            (r#"a{t="x",} 1"#, r#"a [("t", "x")] 1"#),
            (r#"a { t = "x" , u="" } 2"#, r#"a [("t", "x"), ("u", "")] 2"#),
            (r#"a{t="q\"b\\n\nx}"} 3"#, "a [(\"t\", \"q\\\"b\\\\n\\nx}\")] 3"),
            (r#"a{t="\d"} 3"#, r#"a [("t", "\\d")] 3"#),
            ("a NaN", "a [] NaN"),
            ("a +Inf", "a [] inf"),
            (r#"a_total 5 # {trace="1"} 0.5 1.2"#, "a_total [] 5"),
            ("1a 1", "bad"),
            ("a", "bad"),
            ("a x", "bad"),
            ("a 1 x", "bad"),
            (r#"a{t="x} 1"#, "bad"),
            (r#"a{t="x"u="y"} 1"#, "bad"),
            (r#"a{t=x} 1"#, "bad"),
            (r#"a{"#, "bad"),
            ("<html>", "bad"),
        ] {
            assert_eq!(one(line), read, "{line}");
        }
    }

    #[test]
    fn kinds_are_told_before_the_figures() {
        let text = "# HELP a b\n# TYPE a counter\na 1\n# TYPE b gauge\nb 1\n# TYPE c counter\nc_total 1\nd 1\n# EOF\ne 1\n";
        let (samples, outcome) = samples(text);
        let kinds: Vec<_> = samples.iter().map(|sample| (sample.name, sample.kind)).collect();
        assert_eq!(
            kinds,
            [("a", Kind::Counter), ("b", Kind::Gauge), ("c_total", Kind::Counter), ("d", Kind::Other)]
        );
        assert_eq!(outcome, Outcome { samples: 4, ..Outcome::default() });
    }

    #[test]
    fn a_bad_line_costs_that_line() {
        let (samples, outcome) = samples("a 1\n{oops\nb 2\n!\n");
        assert_eq!((samples.len(), outcome.bad_lines), (2, 2));
        assert_eq!(outcome.first_bad.as_deref(), Some("{oops"));
    }

    #[test]
    fn labels_are_found_whatever_their_case() {
        let (samples, _) = samples(r#"a{Topic="x",empty=""} 1"#);
        assert_eq!(samples[0].label("topic"), Some("x"));
        assert_eq!((samples[0].label("empty"), samples[0].label("none")), (None, None));
    }
}
