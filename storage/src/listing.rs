//! Which records of a model the server is known to have, in bounded portions.
//!
//! Owns [`Snapshot::settled`]. Reads heads only; an expression is tested on encoded rows, and none is decoded.

use std::ops::Bound;

use landfall_core::{BoundPredicate, RecordId, SyncMetadata, keycode};

use crate::codec::head::HeadRef;
use crate::error::StorageError;
use crate::snapshot::Snapshot;
use crate::tables::{model_prefix, prefix_end, record_key_of};

/// A portion of the records of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Visible records that the server had when it was last heard, last changed before the time that was asked for, and of
    /// which nothing waits to be sent.
    pub ids: Vec<RecordId>,
    /// Such records that the expression does not select as they are in the store, whenever they changed, each with what the
    /// server said of it then.
    pub outside: Vec<(RecordId, SyncMetadata)>,
    /// Where the next portion begins; `None` after the last.
    pub next: Option<RecordId>,
}

impl Snapshot {
    /// The visible records of a model that the server had when it was last heard, last changed before `before_ms` of
    /// its clock, and of which nothing waits to be sent; apart from them those that the expression does not select, whenever
    /// they changed. Looks at `limit` records after `after`, in the order of identifiers.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`] and the disk's faults.
    pub fn settled(
        &self,
        model: &str,
        after: Option<&RecordId>,
        before_ms: i64,
        expression: Option<&BoundPredicate>,
        limit: usize,
    ) -> Result<Listing, StorageError> {
        self.said(|| {
            let model = self.catalog().model(model)?;
            let name = &model.def.name;
            let prefix = model_prefix(name);
            let end = prefix_end(&prefix);
            let start = after.map_or_else(|| prefix.clone(), |after| record_key_of(name, after));
            let range = (
                if after.is_some() {
                    Bound::Excluded(start.as_slice())
                } else {
                    Bound::Included(start.as_slice())
                },
                end.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
            );
            let mut listing = Listing::default();
            let mut last = None;
            for (looked_at, item) in self.records().range::<&[u8]>(range)?.enumerate() {
                if looked_at == limit {
                    listing.next = last;
                    break;
                }
                let (key, head) = item?;
                let id = keycode::decode_id(&key.value()[prefix.len()..])?;
                let head = HeadRef::parse(head.value())?;
                let known = head.sync.filter(|sync| !sync.deleted);
                if let (Some(sync), Some(row), None) = (known, head.row, head.pending().next()) {
                    // What cannot be read is told by whoever reads it.
                    let is_outside = expression
                        .is_some_and(|expression| model.row(row).is_ok_and(|row| !expression.matches(&row)));
                    if is_outside {
                        listing.outside.push((id.clone(), sync));
                    } else if sync.last_changed_at_ms < before_ms {
                        listing.ids.push(id.clone());
                    }
                }
                last = Some(id);
            }
            Ok(listing)
        })
    }
}

#[cfg(test)]
mod tests {
    use landfall_core::{Op, Predicate};

    use super::*;
    use crate::test_support::{append, arrived, in_memory, post, save, snapshot};

    #[test]
    fn what_the_server_has_is_listed_in_portions_without_what_waits_or_is_gone() {
        let mut store = in_memory();
        for (id, text) in [
            ("p1", "id=p1 title=a"),
            ("p2", "id=p2 title=a"),
            ("p3", "deleted"),
            ("p4", "id=p4 title=a"),
        ] {
            append(&mut store, arrived(&post(id), 1, text)).unwrap();
        }
        save(&mut store, "Post", "id=p2 title=b");
        save(&mut store, "Post", "id=p5 title=b");
        let snapshot = snapshot(&store);
        let portion = |after: Option<&RecordId>, before_ms| {
            let listing = snapshot.settled("Post", after, before_ms, None, 2).unwrap();
            let ids: Vec<String> = listing.ids.iter().map(ToString::to_string).collect();
            (ids.join(" "), listing.next)
        };
        assert_eq!(portion(None, 11), ("p1".to_owned(), Some(post("p2").id)));
        assert_eq!(
            portion(Some(&post("p2").id), 11),
            ("p4".to_owned(), Some(post("p4").id))
        );
        assert_eq!(portion(Some(&post("p4").id), 11), (String::new(), None));
        assert_eq!(portion(None, 10).0, "", "they changed at 10");
        assert!(snapshot.settled("Nothing", None, 0, None, 2).is_err());
    }

    #[test]
    fn what_the_expression_does_not_select_is_listed_whenever_it_changed_unless_something_of_it_waits() {
        let mut store = in_memory();
        for (id, text) in [
            ("p1", "id=p1 title=mine"),
            ("p2", "id=p2 title=yours"),
            ("p3", "deleted"),
            ("p4", "id=p4 title=yours"),
        ] {
            append(&mut store, arrived(&post(id), 1, text)).unwrap();
        }
        save(&mut store, "Post", "id=p4 title=theirs");
        save(&mut store, "Post", "id=p5 title=yours");
        let snapshot = snapshot(&store);
        let def = snapshot.schema().model("Post").unwrap();
        let mine = Predicate::field("title", Op::Eq("mine".into()))
            .bind(def)
            .unwrap();
        let listed = |before_ms, expression| {
            let listing = snapshot.settled("Post", None, before_ms, expression, 9).unwrap();
            (listing.ids.len(), listing.outside)
        };
        let p2 = snapshot.state(&post("p2")).unwrap();
        let p2 = vec![(post("p2").id, p2.sync.unwrap())];
        // They changed at 10.
        assert_eq!(listed(10, Some(&mine)), (0, p2.clone()));
        assert_eq!(listed(11, Some(&mine)), (1, p2));
        assert_eq!(listed(11, None), (2, Vec::new()), "everything is selected");
    }
}
