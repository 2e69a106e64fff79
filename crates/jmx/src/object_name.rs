//! The names of MBeans.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The name of an MBean, as `kafka.server:type=BrokerTopicMetrics,name=BytesInPerSec,topic=orders`, or a pattern of
/// names, as `kafka.server:type=BrokerTopicMetrics,*`.
///
/// The text is kept as it was given. Two names with the same properties in another order are the same MBean to a JVM,
/// and not equal here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    text: String,
    colon: usize,
}

impl ObjectName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`Error::BadName`], saying what is wrong.
    pub fn new(text: &str) -> Result<ObjectName, Error> {
        Self::of(text.to_owned())
    }

    pub(crate) fn of(text: String) -> Result<ObjectName, Error> {
        match colon(&text) {
            Ok(colon) => Ok(ObjectName { text, colon }),
            Err(why) => Err(Error::BadName { text, why }),
        }
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands before the first colon.
    pub fn domain(&self) -> &str {
        self.text.get(..self.colon).unwrap_or_default()
    }

    /// The properties in the order of the name, values as they stand there (quoted ones with their quotes).
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = Some(self.list());
        std::iter::from_fn(move || {
            loop {
                let (property, tail) = next_property(rest.take()?)?;
                rest = tail;
                if let Property::Pair(key, value) = property {
                    return Some((key, value));
                }
            }
        })
    }

    /// The value of a property, without quotes and escapes.
    ///
    /// ```
    /// let name = jmx::ObjectName::new(r#"kafka.log:type=LogManager,logDirectory="/data/d0""#)?;
    /// assert_eq!(name.get("logDirectory").as_deref(), Some("/data/d0"));
    /// # Ok::<(), jmx::Error>(())
    /// ```
    pub fn get(&self, key: &str) -> Option<Cow<'_, str>> {
        let (_, value) = self.properties().find(|(known, _)| *known == key)?;
        Some(unquote(value))
    }

    /// Whether it stands for more than one MBean.
    pub fn is_pattern(&self) -> bool {
        let wild = |text: &str| text.contains(['*', '?']);
        wild(self.domain())
            || self.properties().any(|(_, value)| match quoted(value) {
                Some(inner) => has_bare_wildcard(inner),
                None => wild(value),
            })
            || self.has_any()
    }

    fn has_any(&self) -> bool {
        let mut rest = Some(self.list());
        while let Some((property, tail)) = rest.and_then(next_property) {
            if matches!(property, Property::Any) {
                return true;
            }
            rest = tail;
        }
        false
    }

    fn list(&self) -> &str {
        self.text.get(self.colon + 1..).unwrap_or_default()
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ObjectName {
    type Err = Error;

    fn from_str(text: &str) -> Result<ObjectName, Error> {
        ObjectName::new(text)
    }
}

/// Quotes a value so that it may contain anything, as `javax.management.ObjectName.quote` does.
///
/// ```
/// assert_eq!(jmx::quote("a,b*"), r#""a,b\*""#);
/// ```
pub fn quote(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for character in value.chars() {
        match character {
            '\n' => quoted.push_str("\\n"),
            '"' | '\\' | '*' | '?' => quoted.extend(['\\', character]),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

enum Property<'a> {
    /// `*`: any more properties.
    Any,
    Pair(&'a str, &'a str),
    Other(&'a str),
}

/// Where the domain of a name ends, or what is wrong with it.
fn colon(text: &str) -> Result<usize, String> {
    let colon = text.find(':').ok_or("there is no ':' behind the domain")?;
    if text.contains('\n') {
        return Err("there is a line break in it".to_owned());
    }
    let mut keys: Vec<&str> = Vec::new();
    let mut rest = text.get(colon + 1..).unwrap_or_default();
    if rest.is_empty() {
        return Err("there is no property behind the ':'".to_owned());
    }
    loop {
        let (property, tail) = next_property(rest)
            .ok_or("a quoted value does not end, or is followed by something else than ','")?;
        match property {
            Property::Any => {}
            Property::Pair(key, value) => {
                check_pair(key, value).map_err(|why| format!("{key}: {why}"))?;
                if keys.contains(&key) {
                    return Err(format!("{key} stands in it twice"));
                }
                keys.push(key);
            }
            Property::Other(word) => return Err(format!("{word:?} is no key=value")),
        }
        match tail {
            None => return Ok(colon),
            Some(tail) => rest = tail,
        }
    }
}

/// The first property of a list, and what follows its comma.
fn next_property(list: &str) -> Option<(Property<'_>, Option<&str>)> {
    let equals = list.find(['=', ',']);
    let is_quoted = equals.is_some_and(|at| list.get(at..).is_some_and(|rest| rest.starts_with("=\"")));
    let end = if is_quoted {
        let from = equals? + 2;
        let end = from + end_of_quoted(list.get(from..)?)? + 1;
        if !matches!(list.as_bytes().get(end), None | Some(b',')) {
            return None;
        }
        end
    } else {
        list.find(',').unwrap_or(list.len())
    };
    let (property, tail) = list.split_at_checked(end)?;
    let property = match property.split_once('=') {
        _ if property == "*" => Property::Any,
        Some((key, value)) => Property::Pair(key, value),
        None => Property::Other(property),
    };
    Some((property, tail.strip_prefix(',')))
}

/// Where the closing quote is.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(index),
            _ => {}
        }
    }
    None
}

fn check_pair(key: &str, value: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("a key is empty".to_owned());
    }
    if let Some(odd) = key.chars().find(|c| matches!(c, ':' | '*' | '?')) {
        return Err(format!("{odd:?} in a key"));
    }
    if quoted(value).is_none()
        && let Some(odd) = value.chars().find(|c| matches!(c, '"' | ':' | '='))
    {
        return Err(format!("{odd:?} in a value without quotes"));
    }
    Ok(())
}

/// What stands between the quotes.
fn quoted(value: &str) -> Option<&str> {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
}

fn has_bare_wildcard(inner: &str) -> bool {
    let mut is_escaped = false;
    inner.chars().any(|character| {
        let is_bare = !is_escaped && matches!(character, '*' | '?');
        is_escaped = !is_escaped && character == '\\';
        is_bare
    })
}

fn unquote(value: &str) -> Cow<'_, str> {
    let Some(inner) = quoted(value) else { return Cow::Borrowed(value) };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => {}
            },
            _ => plain.push(character),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let name = ObjectName::new(r#"a.b:type=T,name="x,\"y=\*",z=*"#).unwrap();
        assert_eq!(name.domain(), "a.b");
        let pairs: Vec<_> = name.properties().collect();
        assert_eq!(pairs, [("type", "T"), ("name", r#""x,\"y=\*""#), ("z", "*")]);
        assert_eq!(name.get("name").as_deref(), Some(r#"x,"y=*"#));
        assert_eq!(name.get("none"), None);
        assert_eq!(ObjectName::new(":type=T").unwrap().domain(), "", "the default domain");
    }

    #[test]
    fn patterns_are_told_from_names() {
        for (text, is_pattern) in [
            ("d:a=b", false),
            ("*:a=b", true),
            ("d:*", true),
            ("d:a=b,*", true),
            ("d:*,a=b", true),
            ("d:a=b*", true),
            (r#"d:a="b*""#, true),
            (r#"d:a="b\*""#, false),
            (r#"d:a=",*""#, true),
            (r#"d:a=",\*,""#, false),
        ] {
            assert_eq!(ObjectName::new(text).unwrap().is_pattern(), is_pattern, "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "no ':'"),
            ("d", "no ':'"),
            ("d:", "no property"),
            ("d:a", "no key=value"),
            ("d:a=b,", "no key=value"),
            ("d:=b", "empty"),
            ("d:a=b,a=c", "twice"),
            ("d:a=b:c", "':'"),
            ("d:a=b=c", "'='"),
            ("d:a*=b", "'*'"),
            ("d:a=\"b", "does not end"),
            ("d:a=\"b\"c", "does not end"),
            ("d:a=b\n", "line break"),
        ] {
            let error = ObjectName::new(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_value_survives_quoting(value in any::<String>()) {
            let name = ObjectName::new(&format!("d:a={},b=c", quote(&value))).unwrap();
            prop_assert_eq!(name.get("a").unwrap(), value);
            prop_assert_eq!(name.get("b").unwrap(), "c");
            prop_assert!(!name.is_pattern());
        }

        #[test]
        fn no_text_breaks_the_parser(text in "[a:=,*?\"\\\\ü\n]{0,12}") {
            if let Ok(name) = ObjectName::new(&text) {
                prop_assert!(name.is_pattern() || name.properties().count() > 0);
                prop_assert_eq!(name.as_str(), text);
            }
        }
    }
}
