//! Small scopes that every test run tries.

use super::*;

/// Two changes of each, and nothing goes wrong.
const CALM: Scope = Scope {
    changes: 2,
    losses: 0,
    doubles: 0,
    crashes: 0,
    automerge: true,
};

/// One change of each, and everything goes wrong once.
const ROUGH: Scope = Scope {
    changes: 1,
    losses: 1,
    doubles: 1,
    crashes: 1,
    automerge: true,
};

#[test]
fn every_order_of_a_small_scope_keeps_every_promise() {
    for (scope, states) in [(CALM, 5_000), (ROUGH, 1_000)] {
        for automerge in [true, false] {
            let scope = Scope { automerge, ..scope };
            let explored = exhaust(scope, &mut |_| {}).unwrap_or_else(|found| panic!("{scope:?}: {found}"));
            // Far fewer would mean that something can no longer happen.
            assert!(
                explored.states > states && explored.ends > 0,
                "{scope:?}: {explored:?}"
            );
        }
    }
}

#[cfg(feature = "planted-defects")]
#[test]
fn a_planted_defect_is_found() {
    for defect in [
        "ack-removes-two",
        "conflict-keeps-version",
        "replay-forgets-edits",
        "old-version-taken",
    ] {
        landfall_core::plant(Some(defect));
        let found = exhaust(CALM, &mut |_| {});
        landfall_core::plant(None);
        assert!(found.is_err(), "{defect} survives");
    }
}
