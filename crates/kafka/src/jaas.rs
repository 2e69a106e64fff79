//! The value of `sasl.jaas.config`: one login module with its options.
//!
//! ```text
//! org.apache.kafka.common.security.plain.PlainLoginModule required username="alice" password="…";
//! ```

use std::collections::BTreeMap;
use std::fmt;

/// A login module and its options. Its `Debug` shows no option's value.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct LoginModule {
    /// The class, in full.
    pub(crate) class: String,
    pub(crate) options: BTreeMap<String, String>,
}

impl fmt::Debug for LoginModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginModule")
            .field("class", &self.class)
            .field("options", &self.options.keys())
            .finish()
    }
}

#[derive(PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Equals,
    End,
}

/// Reads one login module. The message of an error repeats nothing of the text, because it holds a password.
pub(crate) fn read(text: &str) -> Result<LoginModule, &'static str> {
    let mut tokens = tokens(text)?.into_iter();
    let Some(Token::Word(class)) = tokens.next() else {
        return Err("it does not begin with the class of a login module");
    };
    match tokens.next() {
        Some(Token::Word(flag))
            if ["required", "requisite", "sufficient", "optional"]
                .iter()
                .any(|f| flag.eq_ignore_ascii_case(f)) => {}
        _ => return Err("`required` is expected behind the login module's class"),
    }
    let mut options = BTreeMap::new();
    loop {
        let name = match tokens.next() {
            Some(Token::End) => break,
            Some(Token::Word(name)) => name,
            Some(_) => return Err("an option is name=\"value\""),
            None => return Err("the semicolon at the end is missing"),
        };
        if tokens.next() != Some(Token::Equals) {
            return Err("an option is name=\"value\"");
        }
        match tokens.next() {
            Some(Token::Word(value) | Token::Quoted(value)) => options.insert(name, value),
            _ => return Err("an option has no value"),
        };
    }
    match tokens.next() {
        None => Ok(LoginModule { class, options }),
        Some(_) => Err("only one login module is possible"),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            c if c.is_whitespace() => {
                chars.next();
            }
            '=' => {
                chars.next();
                tokens.push(Token::Equals);
            }
            ';' => {
                chars.next();
                tokens.push(Token::End);
            }
            '"' | '\'' => {
                chars.next();
                tokens.push(Token::Quoted(quoted(&mut chars, c)?));
            }
            _ => {
                let mut word = String::new();
                while let Some(&c) = chars.peek() {
                    if c.is_whitespace() || matches!(c, '=' | ';' | '"' | '\'') {
                        break;
                    }
                    word.push(c);
                    chars.next();
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

fn quoted(chars: &mut impl Iterator<Item = char>, quote: char) -> Result<String, &'static str> {
    let mut value = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => value.push(chars.next().ok_or("a quote is not closed")?),
            c if c == quote => return Ok(value),
            c => value.push(c),
        }
    }
    Err("a quote is not closed")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_quoted_and_bare_options() {
        let module = read(" a.b.C  required\n user=\"a;l=i\\\"ce\" password='p\"w' bare=x ;").expect("reads");
        assert_eq!(module.class, "a.b.C");
        let options: Vec<_> = module.options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(options, [("bare", "x"), ("password", "p\"w"), ("user", "a;l=i\"ce")]);
    }

    #[test]
    fn says_what_is_missing() {
        for (text, message) in [
            ("", "it does not begin with the class of a login module"),
            ("a.B", "`required` is expected behind the login module's class"),
            ("a.B required x=\"y\"", "the semicolon at the end is missing"),
            ("a.B required x;", "an option is name=\"value\""),
            ("a.B required x=;", "an option has no value"),
            ("a.B required x=\"y;", "a quote is not closed"),
            ("a.B required; a.B required;", "only one login module is possible"),
        ] {
            assert_eq!(read(text), Err(message), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_value() {
        let module = read("a.B required password=\"hunter2\";").expect("reads");
        assert!(!format!("{module:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|[\"'\\\\;=]){0,80}") {
            let _ = read(&text);
        }
    }
}
