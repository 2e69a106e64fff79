//! Java's "modified UTF-8": NUL takes two bytes, and a character outside the basic plane is written as two surrogates
//! of three bytes each.

/// Decodes. What is no modified UTF-8, and a surrogate without its partner, becomes U+FFFD.
pub(super) fn decode(bytes: &[u8]) -> String {
    // Nearly all names are ASCII, where the two encodings agree.
    if bytes.is_ascii() {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((unit, length)) = decode_unit(rest) {
        units.push(unit);
        rest = rest.get(length..).unwrap_or_default();
    }
    String::from_utf16_lossy(&units)
}

/// The first UTF-16 unit, and how many bytes it took.
fn decode_unit(bytes: &[u8]) -> Option<(u16, usize)> {
    const REPLACEMENT: u16 = 0xfffd;
    let continuation = |byte: u8| (byte & 0xc0 == 0x80).then_some(u16::from(byte & 0x3f));
    let first = *bytes.first()?;
    let second = bytes.get(1).copied().and_then(continuation);
    let third = bytes.get(2).copied().and_then(continuation);
    Some(match (first, second, third) {
        (0..=0x7f, _, _) => (u16::from(first), 1),
        (0xc0..=0xdf, Some(low), _) => (u16::from(first & 0x1f) << 6 | low, 2),
        (0xe0..=0xef, Some(middle), Some(low)) => (u16::from(first & 0xf) << 12 | middle << 6 | low, 3),
        _ => (REPLACEMENT, 1),
    })
}

/// Encodes.
pub(super) fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        // Truncation is meant: each byte takes the bits that are its own.
        let low = |shift: u16| (unit >> shift & 0x3f) as u8 | 0x80;
        match unit {
            1..=0x7f => bytes.push(unit as u8),
            0 | 0x80..=0x7ff => bytes.extend([(unit >> 6) as u8 | 0xc0, low(0)]),
            _ => bytes.extend([(unit >> 12) as u8 | 0xe0, low(6), low(0)]),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn characters_take_the_bytes_that_java_gives_them() {
        for (text, bytes) in [
            ("a\0é", &[0x61, 0xc0, 0x80, 0xc3, 0xa9][..]),
            ("€", &[0xe2, 0x82, 0xac]),
            ("😀", &[0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]),
        ] {
            assert_eq!(encode(text), bytes, "{text:?}");
            assert_eq!(decode(bytes), text, "{bytes:x?}");
        }
    }

    #[test]
    fn broken_bytes_become_replacement_characters() {
        assert_eq!(decode(&[0x61, 0xff, 0x62]), "a\u{fffd}b");
        assert_eq!(decode(&[0xc3]), "\u{fffd}");
        assert_eq!(decode(&[0xed, 0xa0, 0xbd, 0x61]), "\u{fffd}a", "a high surrogate alone");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in any::<String>()) {
            prop_assert_eq!(decode(&encode(&text)), text);
        }

        #[test]
        fn any_bytes_are_decoded_to_no_more_than_thrice_their_length(bytes in any::<Vec<u8>>()) {
            prop_assert!(decode(&bytes).len() <= 3 * bytes.len());
        }
    }
}
