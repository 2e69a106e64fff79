//! Names of files and of nodes for keys.

use super::StoreError;

/// File names are limited to 255 bytes by all common file systems; this leaves room for a suffix.
const MAX_NAME: usize = 240;

/// A name for `key`: bytes other than letters, digits, `-` and `_` are written as `%` and two hexadecimal digits, so that
/// a key can neither leave its directory nor meet another key's name.
pub(super) fn encode(key: &str) -> Result<String, StoreError> {
    let mut name = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME {
        "it is too long for a name"
    } else {
        return Ok(name);
    };
    Err(StoreError::Key { key: key.to_owned(), why })
}

/// The key that has this name; `None` where there can be none.
pub(super) fn decode(name: &str) -> Option<String> {
    let mut rest = name.bytes();
    let mut key = Vec::with_capacity(name.len());
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            key.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        key.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(key).ok()
}
