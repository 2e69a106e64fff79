//! What is wrong with a configuration, and how it is shown.

use std::error::Error;
use std::fmt;
use std::ops::Range;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use serde::Serialize;

use super::node::Span;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but hardly does what is meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) level: Level,
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) help: Option<String>,
    pub(super) second: Option<(Range<usize>, String)>,
}

impl Problem {
    pub(super) fn error(span: Span, message: impl Into<String>) -> Self {
        Self { level: Level::Error, span, message: message.into(), help: None, second: None }
    }

    pub(super) fn warning(span: Span, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(span, message) }
    }

    /// The same problem with what to do about it.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same problem with help, where there is any.
    pub(super) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// The same problem, pointing to a second place.
    pub(super) fn and_at(mut self, span: Span, label: &str) -> Self {
        self.second = span.map(|span| (span, label.to_owned()));
        self
    }
}

/// The name of `known` that is most like `name`, for "did you mean".
pub(super) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        // One wrong letter in three: more is another word.
        .filter(|(distance, known)| *distance <= 1.max(name.len().max(known.len()) / 3))
        .min()
        .map(|(_, known)| format!("did you mean `{known}`?"))
}

/// One problem with its place, for readers of the JSON form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// How bad it is.
    pub level: Level,
    /// The line, from 1; `None` if it has no place in the file.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// All that is wrong with a configuration, in the order of the file; secrets are blotted out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    file: String,
    text: String,
    problems: Vec<Problem>,
}

impl Report {
    /// Leaves the warnings out.
    pub(super) fn keep_errors(&mut self) {
        self.problems.retain(|problem| problem.level == Level::Error);
    }

    /// A report on the file of that name; `text` is what may be shown of it, byte for byte at the same places.
    pub(super) fn new(file: &str, text: String, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| {
            (
                problem.span.as_ref().map_or(usize::MAX, |span| span.start),
                problem.level,
                problem.message.clone(),
            )
        });
        problems.dedup();
        Self { file: file.to_owned(), text, problems }
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.level == Level::Error).count()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The problems with their places.
    pub fn lines(&self) -> Vec<Line> {
        let line = |problem: &Problem| {
            let place = problem.span.as_ref().map(|span| place(&self.text, span.start));
            Line {
                level: problem.level,
                line: place.map(|(line, _)| line),
                column: place.map(|(_, column)| column),
                message: problem.message.clone(),
                help: problem.help.clone(),
            }
        };
        self.problems.iter().map(line).collect()
    }

    /// The problems for a person: each with its line of the file, and a mark under what is meant.
    pub fn render(&self, colours: bool) -> String {
        let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(120).with_links(false);
        let source = NamedSource::new(&self.file, self.text.clone());
        let mut out = String::new();
        for problem in &self.problems {
            let shown = Shown { problem, text: &self.text, source: &source };
            // Writing to a string does not fail; a problem that cannot be drawn is still named.
            if handler.render_report(&mut out, &shown).is_err() {
                out += &problem.message;
            }
            out.push('\n');
        }
        out
    }
}

impl fmt::Display for Report {
    /// One line for each problem: `file:line:column: level: message; help`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            f.write_str(&self.file)?;
            if let (Some(line), Some(column)) = (line.line, line.column) {
                write!(f, ":{line}:{column}")?;
            }
            let level = if line.level == Level::Error { "error" } else { "warning" };
            write!(f, ": {level}: {}", line.message)?;
            if let Some(help) = line.help {
                write!(f, "; {help}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Line and column, both from 1, of the byte at `at`.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// A problem as miette draws it.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    text: &'a str,
    source: &'a NamedSource<String>,
}

impl Shown<'_> {
    /// A mark that does not go beyond the line in which it starts.
    fn label(&self, span: &Range<usize>, text: Option<String>) -> LabeledSpan {
        let start = span.start.min(self.text.len());
        let rest = self.text.get(start..span.end.clamp(start, self.text.len())).unwrap_or_default();
        let first_line = rest.lines().next().unwrap_or_default().trim_end();
        LabeledSpan::new(text, start, first_line.len())
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.level {
            Level::Error => miette::Severity::Error,
            Level::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem.span.as_ref().map(|_| self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let first = self.problem.span.as_ref()?;
        let second = self.problem.second.as_ref();
        let mark = second.is_none().then(|| "here".to_owned());
        let mut labels = vec![self.label(first, mark)];
        labels.extend(second.map(|(span, label)| self.label(span, Some(label.clone()))));
        Some(Box::new(labels.into_iter()))
    }
}
