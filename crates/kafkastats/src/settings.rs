//! The file of `kafkastats run --config`: its options, one a line, in YAML or as properties.
//!
//! A key is the name of an option without its dashes (`bootstrap-servers`; dots and underscores are as good as dashes), and
//! what the command line takes as a value the file takes too. Options of the command line count more. A file that ends in
//! `.yaml` or `.yml` is YAML: one mapping, in which a value may be a list; any other is of lines `key=value`.

use std::ffi::{OsStr, OsString};
use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use granit_parser::{Event, Parser, ScalarStyle};

/// A file of settings has some twenty lines.
pub const MAX_BYTES: usize = 1 << 16;

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1 on.
    pub line: usize,
    /// Column, from 1 on.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Line and column.
type Place = (usize, usize);

/// A key with its values, as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    key: String,
    key_at: Place,
    values: Vec<(String, Place)>,
}

/// Turns the text of a file into arguments of `command`, which is made for them as long as it stands alone.
///
/// # Errors
/// All that is wrong with the text: what is no YAML, unknown keys, keys that stand twice, values that an option does not
/// take. What is missing, or does not fit together, only shows when the command line is added.
pub fn arguments(text: &str, is_yaml: bool, command: &Command) -> Result<Vec<OsString>, Vec<Problem>> {
    if text.len() > MAX_BYTES {
        return Err(vec![problem((1, 1), format!("the file is larger than {MAX_BYTES} bytes"))]);
    }
    let mut problems = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let settings = if is_yaml { yaml(text, &mut problems) } else { properties(text, &mut problems) };
    let mut arguments = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for setting in settings {
        let name = setting.key.replace(['.', '_'], "-");
        if seen.contains(&name) {
            problems
                .push(problem(setting.key_at, format!("`{}` stands here for a second time", setting.key)));
            continue;
        }
        let option = command.get_arguments().find(|option| option.get_long() == Some(&name));
        let is_setting = |option: &&Arg| !matches!(option.get_id().as_str(), "config" | "help" | "version");
        match option.filter(is_setting) {
            Some(option) => take(&setting, &name, option, command, &mut arguments, &mut problems),
            None => problems.push(problem(setting.key_at, unknown(&setting.key, &name, command))),
        }
        seen.push(name);
    }
    problems.sort_by_key(|problem| (problem.line, problem.column));
    if problems.is_empty() { Ok(arguments) } else { Err(problems) }
}

fn problem((line, column): Place, message: String) -> Problem {
    Problem { line, column, message }
}

/// Adds the arguments of a setting.
fn take(
    setting: &Setting,
    name: &str,
    option: &Arg,
    command: &Command,
    arguments: &mut Vec<OsString>,
    problems: &mut Vec<Problem>,
) {
    let at = setting.values.first().map_or(setting.key_at, |(_, at)| *at);
    let joined = || {
        let values: Vec<&str> = setting.values.iter().map(|(value, _)| value.as_str()).collect();
        values.join(",")
    };
    let values = match option.get_action() {
        ArgAction::SetTrue => {
            match joined().as_str() {
                "true" => arguments.push(format!("--{name}").into()),
                "false" => {}
                other => {
                    let message = format!("`{}`: expected true or false, found `{other}`", setting.key);
                    problems.push(problem(at, message));
                }
            }
            return;
        }
        ArgAction::Append => setting.values.clone(),
        _ => vec![(joined(), at)],
    };
    for (value, at) in values {
        let argument = OsString::from(format!("--{name}={value}"));
        match refused(command, &argument) {
            Some(why) => problems.push(problem(at, format!("`{}`: {why}", setting.key))),
            None => arguments.push(argument),
        }
    }
}

/// Why the option does not take the value. Whether others are missing is not asked here.
fn refused(command: &Command, argument: &OsStr) -> Option<String> {
    let error = command.clone().try_get_matches_from([OsStr::new("run"), argument]).err()?;
    let fits = matches!(error.kind(), ErrorKind::MissingRequiredArgument | ErrorKind::ArgumentConflict);
    if fits {
        return None;
    }
    let why = std::error::Error::source(&error).map(ToString::to_string);
    let known = || match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => format!("expected one of {}", values.join(", ")),
        _ => "no value of this option".to_owned(),
    };
    Some(why.unwrap_or_else(known))
}

fn unknown(key: &str, name: &str, command: &Command) -> String {
    let argument = format!("--{name}");
    let error = command.clone().try_get_matches_from(["run", argument.as_str()]).err();
    let alike = error.as_ref().and_then(|error| error.get(ContextKind::SuggestedArg));
    match alike {
        Some(ContextValue::String(alike)) => {
            format!("unknown key `{key}`; did you mean `{}`?", alike.trim_start_matches('-'))
        }
        _ => format!("unknown key `{key}`"),
    }
}

/// Lines of `key=value` or `key: value`; `#` and `!` begin a comment.
fn properties(text: &str, problems: &mut Vec<Problem>) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let rest = line.trim_start();
        if rest.is_empty() || rest.starts_with(['#', '!']) {
            continue;
        }
        let column = |text: &str| line[..line.len() - text.len()].chars().count() + 1;
        let key_at = (number, column(rest));
        let Some((key, value)) = rest.split_once(['=', ':']) else {
            problems.push(problem(key_at, "write key=value".to_owned()));
            continue;
        };
        let value = value.trim_start();
        let values = vec![(value.trim_end().to_owned(), (number, column(value)))];
        settings.push(Setting { key: key.trim_end().to_owned(), key_at, values });
    }
    settings
}

/// What YAML takes for no value at all.
fn is_null(word: &str) -> bool {
    matches!(word, "" | "~" | "null" | "Null" | "NULL")
}

/// One mapping of words to words or lists of words.
fn yaml(text: &str, problems: &mut Vec<Problem>) -> Vec<Setting> {
    let mut settings: Vec<Setting> = Vec::new();
    let (mut depth, mut is_key) = (0_usize, true);
    for event in Parser::new_from_str(text) {
        let (event, mark) = match event {
            Ok(found) => found,
            Err(error) => {
                let at = (error.marker().line(), error.marker().col() + 1);
                problems.push(problem(at, format!("no YAML: {}", error.info())));
                return Vec::new();
            }
        };
        let at = (mark.start.line(), mark.start.col() + 1);
        match event {
            Event::MappingStart(..) if depth == 0 => depth = 1,
            Event::SequenceStart(..) if depth == 1 && !is_key => depth = 2,
            Event::SequenceEnd if depth == 2 => (depth, is_key) = (1, true),
            Event::MappingEnd if depth == 1 => depth = 0,
            Event::Scalar(word, ..) if depth == 1 && is_key => {
                settings.push(Setting { key: word.into_owned(), key_at: at, values: Vec::new() });
                is_key = false;
            }
            Event::Scalar(word, ScalarStyle::Plain, ..) if depth > 0 && is_null(&word) => {
                let key = settings.last().map_or("", |setting| &setting.key);
                problems.push(problem(at, format!("`{key}` has no value")));
                if depth == 1 {
                    settings.pop();
                    is_key = true;
                }
            }
            Event::Scalar(word, ..) if depth > 0 => {
                if let Some(setting) = settings.last_mut() {
                    setting.values.push((word.into_owned(), at));
                }
                is_key |= depth == 1;
            }
            // An empty document.
            Event::Scalar(word, ..) if word.is_empty() || word == "~" => {}
            Event::Scalar(..)
            | Event::MappingStart(..)
            | Event::SequenceStart(..)
            | Event::Alias(..)
            | Event::UnresolvedAlias(..) => {
                let words = "expected lines `key: value`, where a value is a word or a list of words";
                problems.push(problem(at, words.to_owned()));
                return Vec::new();
            }
            _ => {}
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use clap::builder::PossibleValuesParser;
    use proptest::prelude::*;

    use super::*;

    fn command() -> Command {
        let option = |name: &'static str| Arg::new(name).long(name);
        Command::new("run")
            .arg(option("bootstrap-servers").required(true))
            .arg(option("broker-id").value_parser(clap::value_parser!(i32)))
            .arg(option("jvm").value_parser(PossibleValuesParser::new(["auto", "none"])))
            .arg(option("metric-name").action(ArgAction::Append).requires("jvm"))
            .arg(option("attach").action(ArgAction::SetTrue))
            .arg(option("config"))
    }

    /// The arguments, or the problems.
    fn read(text: &str, is_yaml: bool) -> String {
        match arguments(text, is_yaml, &command()) {
            Ok(arguments) => {
                let words: Vec<String> =
                    arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
                words.join(" ")
            }
            Err(problems) => problems.iter().map(|problem| format!("{problem}\n")).collect(),
        }
    }

    #[test]
    fn both_forms_say_the_same() {
        let arguments =
            "--bootstrap-servers=a:1,b:2 --broker-id=3 --metric-name=x --metric-name=y{z=\"w\"} --attach";
        let yaml = "# comment\nbootstrap-servers: [a:1, b:2]\nbroker_id: 3\nmetric-name:\n  - x\n  - 'y{z=\"w\"}'\nattach: true\n";
        assert_eq!(read(yaml, true), arguments);
        let properties = "# comment\nbootstrap.servers = a:1,b:2\n broker.id=3\n\nattach: false\njvm=none\n";
        assert_eq!(read(properties, false), "--bootstrap-servers=a:1,b:2 --broker-id=3 --jvm=none");
        for is_yaml in [true, false] {
            assert_eq!(read("", is_yaml), "");
        }
    }

    #[test]
    fn all_problems_are_told_at_once_and_where() {
        let yaml =
            "broker-id: three\njvm:   nine\nbroker.id: 4\nconfig: x\nbootstrap-server: a:1\nattach: yes\n";
        let told = read(yaml, true);
        expect_test::expect![[r#"
            1:12: `broker-id`: invalid digit found in string
            2:8: `jvm`: expected one of auto, none
            3:1: `broker.id` stands here for a second time
            4:1: unknown key `config`
            5:1: unknown key `bootstrap-server`; did you mean `bootstrap-servers`?
            6:9: `attach`: expected true or false, found `yes`
        "#]]
        .assert_eq(&told);
        let properties = "broker.id = x\nfoo\n  jvm=y";
        expect_test::expect![[r#"
            1:13: `broker.id`: invalid digit found in string
            2:1: write key=value
            3:7: `jvm`: expected one of auto, none
        "#]]
        .assert_eq(&read(properties, false));
    }

    #[test]
    fn what_is_no_flat_yaml_is_refused() {
        for text in ["a: {b: c}", "- a", "a: [[b]]", "word", "a: *b", "a: [", "? [a]\n: b"] {
            let told = read(text, true);
            assert!(told.starts_with("1:"), "{text}: {told}");
        }
    }

    #[test]
    fn a_key_without_a_value_is_told_and_a_byte_order_mark_is_no_key() {
        for none in ["", " ~", " null", " [a, null]"] {
            let told = read(&format!("bootstrap-servers:{none}\n"), true);
            assert!(told.contains("`bootstrap-servers` has no value"), "{none}: {told}");
        }
        assert!(!read("bootstrap-servers: 'null'\n", true).contains("no value"), "a word is one");
        assert_eq!(read("\u{feff}bootstrap-servers=a:1\n", false), read("bootstrap-servers=a:1\n", false));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "((jvm|broker-id|[-:=#\\[\\]{},*&'\"\n ]|.){0,4}){0,20}", is_yaml: bool) {
            let _ = read(&text, is_yaml);
        }
    }
}
