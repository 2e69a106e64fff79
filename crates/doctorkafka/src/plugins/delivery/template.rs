//! Texts with places for what is told: `[{cluster}] {subject}`.

use serde::{Deserialize, Serialize};

use super::notice::severity_name;
use super::{Parcel, one_line};

/// What a place takes.
type Field = fn(&Parcel) -> String;

/// The names of the places.
const FIELDS: [(&str, Field); 13] = [
    ("body", |parcel| parcel.notice.body.clone()),
    ("cluster", |parcel| parcel.notice.cluster.clone()),
    ("dry_run", |parcel| if parcel.notice.dry_run { "dry run: ".to_owned() } else { String::new() }),
    ("event", |parcel| parcel.notice.event.clone()),
    ("held_back", held_back),
    ("id", |parcel| parcel.notice.id.clone()),
    ("incident", |parcel| parcel.notice.incident.as_ref().map_or(String::new(), |i| one_line(&i.kind))),
    ("kind", |parcel| parcel.notice.kind.name().to_owned()),
    ("reason", |parcel| parcel.notice.reason.clone()),
    ("severity", |parcel| severity_name(parcel.notice.severity).to_owned()),
    ("subject", |parcel| parcel.notice.subject.clone()),
    ("target", |parcel| one_line(&parcel.notice.target.to_string())),
    ("time", |parcel| parcel.notice.time()),
];

/// Says how many were held back, where some were.
fn held_back(parcel: &Parcel) -> String {
    match parcel.held_back {
        0 => String::new(),
        1 => "One earlier message of this kind was held back; this is the newest.".to_owned(),
        n => format!("{n} earlier messages of this kind were held back; this is the newest."),
    }
}

/// A text with places. `{{` and `}}` are the characters themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// By its place in [`FIELDS`].
    Field(usize),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = (&rest[at..=at], &rest[at + 1..]);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let name = after.split_once('}').filter(|_| brace == "{");
            let Some((name, after)) = name else {
                return Err(format!(
                    "a `{brace}` stands alone: write `{brace}{brace}` for the character itself"
                ));
            };
            let Some(field) = FIELDS.iter().position(|(known, _)| *known == name) else {
                let known: Vec<&str> = FIELDS.iter().map(|(known, _)| *known).collect();
                return Err(format!("there is no `{{{name}}}`; the places are {}", known.join(", ")));
            };
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(Part::Field(field));
            rest = after;
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Self { text: text.to_owned(), parts })
    }

    /// A text without places.
    pub(crate) fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), parts: vec![Part::Text(text.to_owned())] }
    }

    /// The text for a parcel. What a place takes is not read as a template again.
    pub(crate) fn fill(&self, parcel: &Parcel) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(field) => FIELDS[*field].1(parcel),
        };
        self.parts.iter().map(part).collect()
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::delivery::tests::parcel;

    #[test]
    fn places_take_what_is_told_and_are_not_read_again() {
        let mut parcel = parcel("alert_mass_failure", "{body} of <b>");
        parcel.held_back = 2;
        let fill = |text: &str| Template::parse(text).unwrap().fill(&parcel);
        assert_eq!(fill("[{cluster}] {dry_run}{subject}"), "[test] {body} of <b>");
        assert_eq!(fill("{{{kind}}} {severity} {event}"), "{alert} warning alert_mass_failure");
        assert_eq!(
            fill("{held_back}"),
            "2 earlier messages of this kind were held back; this is the newest."
        );
        assert_eq!(fill(""), "");
    }

    #[test]
    fn says_what_is_wrong_with_a_template() {
        let wrong = |text: &str| Template::parse(text).unwrap_err();
        assert!(wrong("{subjekt}").starts_with("there is no `{subjekt}`; the places are body, cluster, "));
        assert!(wrong("a {subject").starts_with("a `{` stands alone"));
        assert!(wrong("a } b").starts_with("a `}` stands alone"));
        assert!(wrong("{}").starts_with("there is no `{}`"));
    }
}
