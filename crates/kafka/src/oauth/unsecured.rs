//! The token that Kafka's clients make for themselves where no identity provider is configured: who they are, in plain
//! words and without a signature. Brokers with Kafka's default validator take it; it proves nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Fresh, jwt};

const PREFIX: &str = "unsecuredLogin";
/// Kafka's default of `unsecuredLoginLifetimeSeconds`.
const LIFETIME_SECONDS: u64 = 3600;

/// What an unsecured token says.
#[derive(Debug, PartialEq)]
pub(crate) struct Claims {
    claims: Map<String, Value>,
    lifetime_seconds: u64,
}

impl Claims {
    /// Whether one of a login module's options makes a claim of an unsecured token.
    pub(crate) fn are_in(options: &BTreeMap<String, String>) -> bool {
        options.keys().any(|name| name.starts_with(PREFIX) && name.contains("Claim_"))
    }

    /// Reads the options `unsecuredLogin…` of the login module.
    ///
    /// # Errors
    ///
    /// What is wrong with one of them. It repeats no value.
    pub(crate) fn read(options: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut claims = Map::new();
        for (option, text) in options {
            let Some((kind, name)) = option.strip_prefix(PREFIX).and_then(|rest| rest.split_once("Claim_"))
            else {
                continue;
            };
            let value = match kind {
                "String" => Value::from(text.as_str()),
                "Number" => text
                    .trim()
                    .parse::<f64>()
                    .ok()
                    .and_then(|number| serde_json::Number::from_f64(number).map(Value::Number))
                    .ok_or_else(|| format!("{option} is no number"))?,
                "List" => list(text),
                _ => return Err(format!("there is no option {option}")),
            };
            if matches!(name, "iat" | "exp") {
                return Err(format!("{option}: this claim is computed and cannot be set"));
            }
            claims.insert(name.to_owned(), value);
        }
        let option =
            |name: &str| options.get(&format!("{PREFIX}{name}")).map(|v| v.trim()).filter(|v| !v.is_empty());
        let principal = option("PrincipalClaimName").unwrap_or("sub");
        if claims.get(principal).and_then(Value::as_str).is_none_or(|name| name.trim().is_empty()) {
            return Err(format!("{PREFIX}StringClaim_{principal}=\"…\" is missing: it names who logs in"));
        }
        let lifetime_seconds = match option("LifetimeSeconds") {
            None => LIFETIME_SECONDS,
            Some(text) => text
                .parse()
                .ok()
                .filter(|seconds| *seconds > 0)
                .ok_or_else(|| format!("{PREFIX}LifetimeSeconds is no number of seconds"))?,
        };
        Ok(Self { claims, lifetime_seconds })
    }

    /// A token that is made at `now`, the time since the Unix epoch.
    pub(super) fn token(&self, now: Duration) -> Fresh {
        let mut claims = self.claims.clone();
        claims.insert("iat".to_owned(), now.as_secs().into());
        claims.insert("exp".to_owned(), now.as_secs().saturating_add(self.lifetime_seconds).into());
        Fresh {
            value: jwt::unsecured(&Value::Object(claims)),
            valid_for: Some(Duration::from_secs(self.lifetime_seconds)),
        }
    }
}

/// A list as Kafka writes it in one option: its first character separates the elements.
fn list(text: &str) -> Value {
    let mut chars = text.chars();
    match chars.next() {
        Some(separator) if !chars.as_str().is_empty() => chars.as_str().split(separator).collect(),
        _ => Value::Array(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<Claims, String> {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Claims::read(&options.collect())
    }

    #[test]
    fn says_who_logs_in_and_until_when() {
        let claims = read(&[
            ("unsecuredLoginStringClaim_sub", "alice"),
            ("unsecuredLoginListClaim_scope", "|a|b"),
            ("unsecuredLoginNumberClaim_n", "2"),
            ("unsecuredLoginLifetimeSeconds", "60"),
            ("unsecuredLoginExtension_x", "not a claim"),
        ]);
        let token = claims.expect("claims").token(Duration::from_millis(1_000_500));
        assert_eq!(token.valid_for, Some(Duration::from_secs(60)));
        let claims = token.value.split('.').nth(1).expect("claims");
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("text");
        assert_eq!(claims, r#"{"exp":1060,"iat":1000,"n":2.0,"scope":["a","b"],"sub":"alice"}"#);
    }

    #[test]
    fn says_what_is_wrong_with_an_option() {
        for (options, expected) in [
            (&[][..], "unsecuredLoginStringClaim_sub=\"…\" is missing"),
            (&[("unsecuredLoginStringClaim_sub", " ")], "unsecuredLoginStringClaim_sub=\"…\" is missing"),
            (
                &[("unsecuredLoginStringClaim_sub", "a"), ("unsecuredLoginPrincipalClaimName", "user")],
                "unsecuredLoginStringClaim_user=\"…\" is missing",
            ),
            (
                &[("unsecuredLoginStringClaim_exp", "1")],
                "unsecuredLoginStringClaim_exp: this claim is computed",
            ),
            (&[("unsecuredLoginNumberClaim_n", "x")], "unsecuredLoginNumberClaim_n is no number"),
            (&[("unsecuredLoginMapClaim_n", "x")], "there is no option unsecuredLoginMapClaim_n"),
            (
                &[("unsecuredLoginStringClaim_sub", "a"), ("unsecuredLoginLifetimeSeconds", "0")],
                "unsecuredLoginLifetimeSeconds is no number of seconds",
            ),
        ] {
            let error = read(options).expect_err("an error");
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_list_is_separated_by_its_first_character() {
        assert_eq!(list("").to_string(), "[]");
        assert_eq!(list("|").to_string(), "[]");
        assert_eq!(list(",a,b|c").to_string(), r#"["a","b|c"]"#);
    }
}
