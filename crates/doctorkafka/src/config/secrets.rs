//! Values from the environment, and what must not be shown.

use serde_json::Value as Json;

use super::node::{Node, Span, Value};
use super::problem::Problem;

/// What stands in the place of a secret.
const BLOT: &str = "***";

/// Parts of the names of keys whose values are secret.
const SECRET_KEYS: [&str; 12] = [
    "password",
    "passwd",
    "secret",
    "token",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "routingkey",
    "authorization",
    "headers",
    "jaas",
];

/// Values that must not be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Secrets(Vec<String>);

/// Whether the value under `key` is secret.
fn is_secret(key: &str) -> bool {
    let key: String =
        key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    // A path to a secret is none.
    let path = ["file", "path", "location"].iter().any(|end| key.ends_with(end));
    // That of a webhook may be all that it takes to post there.
    key == "url" || (!path && SECRET_KEYS.iter().any(|part| key.contains(part)))
}

impl Secrets {
    /// Puts the values of environment variables into `node` where a text says `${NAME}` (`$${` is a plain `${`), and
    /// remembers them, and the values under keys such as `password`, as secret. Texts stay texts: a number from the
    /// environment is not read as a number.
    pub(super) fn substitute(
        node: &mut Node,
        variable: &dyn Fn(&str) -> Option<String>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut secrets = Self::default();
        secrets.visit(node, false, variable, problems);
        // The longest first, so that no part of a secret is left beside another that it contains.
        secrets.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.0.dedup();
        secrets
    }

    fn visit(
        &mut self,
        node: &mut Node,
        secret: bool,
        variable: &dyn Fn(&str) -> Option<String>,
        problems: &mut Vec<Problem>,
    ) {
        match &mut node.value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) if secret => self.0.push(number.to_string()),
            Value::Number(_) => {}
            Value::String(text) => {
                if text.contains("${") {
                    *text = self.fill_in(text, &node.span, variable, problems);
                }
                if secret && !text.is_empty() {
                    self.0.push(text.clone());
                }
            }
            Value::Sequence(items) => {
                for item in items {
                    self.visit(item, secret, variable, problems);
                }
            }
            Value::Mapping(entries) => {
                for entry in entries {
                    self.visit(&mut entry.node, secret || is_secret(&entry.key), variable, problems);
                }
            }
        }
    }

    fn fill_in(
        &mut self,
        text: &str,
        span: &Span,
        variable: &dyn Fn(&str) -> Option<String>,
        problems: &mut Vec<Problem>,
    ) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, after) = (&rest[..at], &rest[at + 2..]);
            if let Some(before) = before.strip_suffix('$') {
                filled += before;
                filled += "${";
                rest = after;
                continue;
            }
            filled += before;
            let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
            let (name, tail) = after.split_at(end);
            let Some(tail) = tail.strip_prefix('}').filter(|_| !name.is_empty()) else {
                let message = "`${` begins the name of an environment variable that does not end with `}`";
                problems.push(
                    Problem::error(span.clone(), message).help("write `$${` for the characters themselves"),
                );
                return text.to_owned();
            };
            match variable(name) {
                Some(value) => {
                    if !value.is_empty() {
                        self.0.push(value.clone());
                    }
                    filled += &value;
                }
                None => problems.push(Problem::error(
                    span.clone(),
                    format!("the environment variable `{name}` is not set"),
                )),
            }
            rest = tail;
        }
        filled + rest
    }

    /// `text` without secrets.
    pub(super) fn redact_text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, BLOT))
    }

    /// `json` without secrets.
    pub(super) fn redact(&self, json: &mut Json) {
        match json {
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
            Json::String(text) => {
                if self.0.iter().any(|secret| text.contains(secret)) {
                    BLOT.clone_into(text);
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| self.redact(item)),
            Json::Object(map) => {
                for (key, value) in map {
                    if is_secret(key) && !value.is_null() {
                        *value = BLOT.into();
                    } else {
                        self.redact(value);
                    }
                }
            }
        }
    }
}

/// `text` with stars over what follows the colon of every key that names a secret, of the same length in bytes. It
/// goes by lines, so that it works for text that is no YAML, too.
pub(super) fn blot_out(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // The indentation of a secret key whose value may go on in deeper lines.
    let mut secret_below: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        if secret_below.is_some_and(|above| indent > above || line.trim().is_empty()) {
            stars(line, &mut out);
            continue;
        }
        secret_below = None;
        // The last key of a secret in the line, as in `{user: a, password: b}`.
        let mut start = 0;
        let mut shown = line.len();
        for (at, _) in line.match_indices(':') {
            let key = line[start..at].rsplit(['{', ',', ' ']).next().unwrap_or_default();
            if is_secret(key) {
                shown = at + 1;
                secret_below = Some(indent);
                break;
            }
            start = at + 1;
        }
        out += &line[..shown];
        stars(&line[shown..], &mut out);
    }
    out
}

fn stars(text: &str, out: &mut String) {
    for byte in text.bytes() {
        out.push(if matches!(byte, b'\n' | b'\r' | b' ') { char::from(byte) } else { '*' });
    }
}
