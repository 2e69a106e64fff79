//! As much of JSON Web Tokens (RFC 7519) as a client needs: nothing is verified here, that is up to the broker.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

/// Base64 in the alphabet of URLs, padded or not.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// When a token ends by its own word (`exp`), since the Unix epoch. `None`: it does not say, or is no such token.
pub(super) fn expiry(token: &str) -> Option<Duration> {
    let claims = LENIENT.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    Duration::try_from_secs_f64(claims.get("exp")?.as_f64()?).ok()
}

/// A token with these claims and no signature (RFC 7519, section 6).
pub(super) fn unsecured(claims: &Value) -> String {
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&claims.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_says_when_it_ends() {
        // Header and claims of RFC 7519, section 3.1.
        let example = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                       eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.x";
        assert_eq!(expiry(example), Some(Duration::from_secs(1_300_819_380)));
        assert_eq!(expiry(&unsecured(&json!({ "exp": 1.5 }))), Some(Duration::from_millis(1500)));
        for claims in
            [json!({}), json!({ "exp": "soon" }), json!({ "exp": -1 }), json!({ "exp": 1e300 }), json!([])]
        {
            assert_eq!(expiry(&unsecured(&claims)), None, "{claims}");
        }
        assert_eq!(expiry("opaque"), None);
        assert_eq!(expiry("a.%.c"), None);
    }

    #[test]
    fn an_unsecured_token_has_an_empty_signature() {
        assert_eq!(unsecured(&json!({ "sub": "a" })), "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|[.=A-Za-z0-9_-]){0,60}") {
            let _ = expiry(&text);
        }
    }
}
