//! Tables by name, and ranges of their keys.
//!
//! Owns [`KvTable`] and [`KvRange`]. Does not read.

use std::ops::{Bound, RangeBounds};

use redb::TableDefinition;

/// Longest name of a table, in bytes: each change in the journal names its table.
const NAME_BYTES_MAX: usize = 255;

/// A table of a [`KvStore`](super::KvStore), by name; end the name in the version of its form, such as `base-1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KvTable(&'static str);

impl KvTable {
    /// The table of that name; it comes into being with its first row.
    ///
    /// # Panics
    /// If the name is empty, holds a blank, as those of the store's own tables do, or has more than 255 bytes; in a constant, when it is
    /// compiled.
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(
            !bytes.is_empty() && bytes.len() <= NAME_BYTES_MAX,
            "the name of a table is a word or two"
        );
        let mut at = 0;
        while at < bytes.len() {
            assert!(bytes[at] != b' ', "the name of a table holds no blank");
            at += 1;
        }
        Self(name)
    }

    pub(super) fn name(self) -> &'static str {
        self.0
    }

    pub(super) fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.0)
    }
}

/// Which keys a scan visits, and in which direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvRange {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    pub(super) descending: bool,
}

impl KvRange {
    /// Every key.
    pub fn all() -> Self {
        Self {
            from: Bound::Unbounded,
            to: Bound::Unbounded,
            descending: false,
        }
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let to = after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        Self {
            from: Bound::Included(prefix.to_vec()),
            to,
            descending: false,
        }
    }

    /// Every key between the bounds.
    pub fn between(from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Self {
        Self {
            from,
            to,
            descending: false,
        }
    }

    /// The same keys from the greatest to the smallest.
    #[must_use]
    pub fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    /// Leaves out `key` and everything that a scan in this direction visits before it.
    #[must_use]
    pub fn after(mut self, key: &[u8]) -> Self {
        let bound = Bound::Excluded(key.to_vec());
        if self.descending {
            self.to = bound;
        } else {
            self.from = bound;
        }
        self
    }

    /// Where the range ends on the side of the greater keys.
    pub fn end(&self) -> Bound<Vec<u8>> {
        self.to.clone()
    }

    /// Whether a key is inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.bounds().contains(&key)
    }

    /// Whether no key can be inside; redb panics on a range that ends before it starts.
    pub(super) fn is_empty(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
                from >= to
            }
        }
    }

    pub(super) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (
            self.from.as_ref().map(Vec::as_slice),
            self.to.as_ref().map(Vec::as_slice),
        )
    }
}

/// The smallest key that is greater than every key with this prefix; `None` if there is none.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}
