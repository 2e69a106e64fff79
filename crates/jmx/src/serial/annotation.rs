//! Reads what a `writeObject` wrote, as its `readObject` would.

use super::{Content, Value, mutf8};

/// A cursor over the items of an annotation. Every method gives `None` if what comes next is something else.
#[derive(Debug, Clone)]
pub struct Annotation<'a> {
    items: &'a [Content],
    /// How much of the first item, a block, is read.
    used: usize,
}

impl<'a> Annotation<'a> {
    /// A cursor at the start of `items`.
    pub fn new(items: &'a [Content]) -> Annotation<'a> {
        Annotation { items, used: 0 }
    }

    /// The next `N` bytes of primitive data.
    pub fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        loop {
            let (Content::Block(block), rest) = self.items.split_first()? else { return None };
            if let Some(byte) = block.get(self.used) {
                self.used += 1;
                return Some(*byte);
            }
            (self.items, self.used) = (rest, 0);
        }
    }

    /// What `writeInt` wrote.
    pub fn int(&mut self) -> Option<i32> {
        self.bytes().map(i32::from_be_bytes)
    }

    /// What `writeLong` wrote.
    pub fn long(&mut self) -> Option<i64> {
        self.bytes().map(i64::from_be_bytes)
    }

    /// What `writeUTF` wrote.
    pub fn utf(&mut self) -> Option<String> {
        let length = u16::from_be_bytes(self.bytes()?);
        let mut bytes = Vec::new();
        for _ in 0..length {
            bytes.push(self.byte()?);
        }
        Some(mutf8::decode(&bytes))
    }

    /// What `writeObject` wrote.
    pub fn value(&mut self) -> Option<Value> {
        loop {
            let (first, rest) = self.items.split_first()?;
            match first {
                Content::Value(value) => {
                    (self.items, self.used) = (rest, 0);
                    return Some(*value);
                }
                // The rest of a block must be read first; one that is read, or empty, hides nothing.
                Content::Block(block) if block.len() == self.used => (self.items, self.used) = (rest, 0),
                Content::Block(_) => return None,
            }
        }
    }

    /// All values that follow, over primitive data between them.
    pub fn values(&self) -> impl Iterator<Item = Value> + use<'a> {
        self.items.iter().filter_map(|item| match item {
            Content::Value(value) => Some(*value),
            Content::Block(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primitives_may_be_split_over_blocks_but_not_over_objects() {
        let items = [
            Content::Block(vec![0, 0]),
            Content::Block(vec![]),
            Content::Block(vec![1, 2, 0, 1, b'x']),
            Content::Value(Value::Null),
            Content::Block(vec![9]),
        ];
        let mut annotation = Annotation::new(&items);
        assert_eq!(annotation.value(), None, "primitive data comes first");
        assert_eq!(annotation.int(), Some(0x0102));
        assert_eq!(annotation.utf().as_deref(), Some("x"));
        assert_eq!(annotation.int(), None, "an object comes next");
        let mut annotation = Annotation::new(&items[1..]);
        assert_eq!(annotation.bytes::<5>(), Some([1, 2, 0, 1, b'x']));
        assert_eq!(annotation.value(), Some(Value::Null));
        assert_eq!(annotation.int(), None, "one byte is no int");
        assert_eq!(Annotation::new(&items).values().count(), 1);
    }
}
