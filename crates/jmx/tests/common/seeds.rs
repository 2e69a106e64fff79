//! Streams to start damaging from.

use std::fmt::Write as _;

const TRACE: &str = include_str!("../fixtures/jrmp-trace.hex");
/// Longer answers are left out: they say nothing that the shorter ones do not.
const LONGEST: usize = 4096;

/// Serialized objects: the answers and calls of a recorded conversation, and what they do not contain.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let recorded = TRACE.lines().filter_map(|line| {
        let bytes = unhex(line.split_once(' ')?.1);
        let is_message = matches!(bytes.first(), Some(0x50 | 0x51)) && bytes.len() < LONGEST;
        is_message.then(|| bytes[1..].to_vec())
    });
    recorded.chain(made().into_iter().map(|body| unhex(&format!("aced0005{body}")))).collect()
}

/// One of everything, in hex.
fn made() -> Vec<String> {
    let class = |name: &str, flags: u8, fields: &str| {
        let mut hex = String::new();
        for byte in name.bytes() {
            let _ = write!(hex, "{byte:02x}");
        }
        format!("72{:04x}{hex}0000000000000000{flags:02x}{fields}7870", name.len())
    };
    let none = "0000";
    let map = class("java.util.TreeMap", 3, none);
    let composite = class(
        "javax.management.openmbean.CompositeDataSupport",
        2,
        "0002 4c0008 636f6e74656e7473 740001 4c 4c000d 636f6d706f7369746554797065 71007e0001",
    );
    vec![
        // Tags that a client rarely meets.
        format!("7e{} 740001 41", class("E", 0x12, none)),
        "79 7c0000000000000003 616263 7a00000002 0102".to_owned(),
        format!("76{} 71007e0000", class("K", 2, none)),
        format!("73 7d00000001 000141 78 {} 0000002a", class("P", 2, "0001 49 000169")),
        format!("73{} 7701ff 740001 61 78", class("X", 0xc, none)),
        // A composite with one item, a table without rows, a set, a list, and an object inside itself.
        format!(
            "73{composite} 73{map} 770400000001 740001 61 73{} 00000001 78 70",
            class("java.lang.Integer", 2, "0001 490005 76616c7565")
        ),
        format!("73{} 770c000000103f40000000000002 740001 61 70 78", class("java.util.HashSet", 3, none)),
        format!(
            "73{} 00000001 770400000001 740001 61 78",
            class("java.util.ArrayList", 3, "0001 490004 73697a65")
        ),
        format!("73{} 71007e0002", class("T", 2, "0001 4c0005 6361757365 740002 4c3b")),
        format!("75{} 00000002 75 71007e0000 00000000 70", class("[[J", 2, none)),
    ]
}

fn unhex(hex: &str) -> Vec<u8> {
    let hex: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    hex.chunks(2)
        .map(|pair| {
            pair.iter().fold(0, |byte, digit| byte << 4 | char::from(*digit).to_digit(16).unwrap_or(0) as u8)
        })
        .collect()
}

/// A stream of tags and of what may follow them, in an order that the choices say: much of it is nearly right.
pub(crate) fn stream_of_tokens(choices: impl IntoIterator<Item = u16>) -> Vec<u8> {
    const TOKENS: [&[u8]; 24] = [
        &[0x70],
        &[0x71, 0, 0x7e, 0, 0],
        &[0x71, 0, 0x7e, 0, 1],
        &[0x71, 0, 0x7e, 0, 2],
        &[0x71, 0, 0x7e, 0, 3],
        b"\x72\0\x01A\0\0\0\0\0\0\0\0\x02\0\0\x78",
        b"\x72\0\x01B\0\0\0\0\0\0\0\0\x03\0\x01L\0\x01f\x74\0\x01L\x78",
        b"\x72\0\x02[B\0\0\0\0\0\0\0\0\x02\0\0\x78\x70",
        b"\x72\0\x02[L\0\0\0\0\0\0\0\0\x02\0\0\x78\x70",
        b"\x72\0\x12java.util.HashMap\0\0\0\0\0\0\0\0\x03\0\0\x78\x70",
        b"\x72\0\x11java.util.HashSet\0\0\0\0\0\0\0\0\x03\0\0\x78\x70",
        &[0x73],
        &[0x74, 0, 1, b'x'],
        &[0x75],
        &[0, 0, 0, 2],
        &[0x76],
        &[0x77, 2, 1, 2],
        &[0x78],
        &[0x79],
        &[0x7a, 0, 0, 0, 1, 9],
        &[0x7b],
        &[0x7c, 0, 0, 0, 0, 0, 0, 0, 1, b'y'],
        &[0x7d, 0, 0, 0, 1, 0, 1, b'I', 0x78],
        &[0x7e],
    ];
    let mut bytes = vec![0xac, 0xed, 0, 5];
    for choice in choices {
        bytes.extend(TOKENS[usize::from(choice) % TOKENS.len()]);
    }
    bytes
}
