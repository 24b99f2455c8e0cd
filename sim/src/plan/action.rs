//! What users do: the actions of a plan, step by step.
//!
//! Owns [`Action`]. Records are named by numbers, not identifiers, so that an action still means something after the
//! one before it was left out: what cannot be done then is passed over.

use serde::{Deserialize, Serialize};

/// Something that a user does at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionStep {
    /// When, in virtual milliseconds; later if the client is busy or switched off then.
    pub at_ms: u64,
    /// Who, by position in the plan.
    pub client: usize,
    /// What.
    #[serde(flatten)]
    pub action: Action,
}

/// Something that a user does.
///
/// Notes and pairs belong to one client, lists and boards to all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
pub enum Action {
    /// Makes a note, also one that was deleted before (which a server with a tombstone refuses).
    Create {
        /// Its number.
        note: u32,
    },
    /// Changes a note.
    Update {
        /// Its number.
        note: u32,
    },
    /// Changes a note several times in a row, faster than any answer comes.
    Chain {
        /// Its number.
        note: u32,
        /// How often.
        times: u32,
    },
    /// Reads a note, thinks, and saves what was read with one field changed.
    EditStale {
        /// Its number.
        note: u32,
        /// How long the user thinks, in milliseconds.
        hold_ms: u64,
    },
    /// Changes a note if its count is above a bound.
    UpdateIf {
        /// Its number.
        note: u32,
        /// The bound.
        above: i64,
    },
    /// Deletes a note.
    Delete {
        /// Its number.
        note: u32,
    },
    /// Writes two notes in one transaction.
    Pair {
        /// Number of the pair.
        pair: u32,
    },
    /// Changes the title of a shared board; the first client makes it if there is none.
    Retitle {
        /// Its number.
        board: u32,
    },
    /// Changes the stars of a shared board.
    Star {
        /// Its number.
        board: u32,
    },
    /// Reads a shared board, thinks, and saves what was read with a new title and number of stars.
    Revise {
        /// Its number.
        board: u32,
        /// How long the user thinks, in milliseconds.
        hold_ms: u64,
    },
    /// Adds to the tags of a shared board.
    Tag {
        /// Its number.
        board: u32,
    },
    /// Deletes a shared board.
    DropBoard {
        /// Its number.
        board: u32,
    },
    /// Makes a list.
    MakeList {
        /// Its number.
        list: u32,
    },
    /// Makes an item of a list.
    AddItem {
        /// Number of the list.
        list: u32,
        /// Number of the item.
        item: u32,
    },
    /// Changes an item.
    EditItem {
        /// Number of the item.
        item: u32,
    },
    /// Moves an item to another list.
    MoveItem {
        /// Number of the item.
        item: u32,
        /// Number of the list.
        list: u32,
    },
    /// Deletes a list and what belongs to it.
    DropList {
        /// Its number.
        list: u32,
    },
    /// Gives up the changes that the server refused.
    DiscardRefused,
    /// Has the changes that the server refused sent again.
    RetryRefused,
    /// Has the app that is explored act ([`App::act`](crate::App::act)); passed over where none is.
    Turn {
        /// Its number; what the app leaves to chance follows from it.
        turn: u32,
    },
}

impl Action {
    /// A short name, for timelines.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Update { .. } => "update",
            Self::Chain { .. } => "chain",
            Self::EditStale { .. } => "edit stale",
            Self::UpdateIf { .. } => "update if",
            Self::Delete { .. } => "delete",
            Self::Pair { .. } => "pair",
            Self::Retitle { .. } => "retitle",
            Self::Star { .. } => "star",
            Self::Revise { .. } => "revise",
            Self::Tag { .. } => "tag",
            Self::DropBoard { .. } => "drop board",
            Self::MakeList { .. } => "make list",
            Self::AddItem { .. } => "add item",
            Self::EditItem { .. } => "edit item",
            Self::MoveItem { .. } => "move item",
            Self::DropList { .. } => "drop list",
            Self::DiscardRefused => "discard refused",
            Self::RetryRefused => "retry refused",
            Self::Turn { .. } => "turn",
        }
    }
}
