//! A log in one file, to be kept, sent and read without its store.
//!
//! Owns the form of the file. Writing it is `file/write.rs`, reading it `file/read.rs`.
//!
//! ```text
//! head:   magic 8 bytes · version u16 · zero u16 · length u32 · JSON of that length · check u32 of all before
//! base:   as a block, but marked "LFS1", and in place of the first entry the number of the first one here, from 1
//! block:  "LFB1" · payload length u32 · first entry u64 · entries u32 · payload check u32 · check u32 of these six
//!         payload: for each entry its length u32 and its bytes as in a store (`codec/entry.rs`)
//! end:    "LFE1" · entries u64 · newest entry u64 · check u32 of these three
//! ```
//!
//! Version 2 has the base that a trimmed log goes on from (`base.rs`), and is written of such a log alone: every other file is of
//! version 1, which has no such blocks and which older programs read as well. A base that is damaged is none, and the entries
//! behind it are read all the same.
//!
//! Numbers are little-endian, checks are CRC-32. Entries of a block follow each other without a gap; a gap of the log
//! begins a new block. Each entry also carries the check that chains it to the one before it, by which it is known to be whole
//! where its block is not. None of this protects
//! against somebody who means harm; it finds what disks and networks do.

mod read;
mod salvage;
mod write;

use serde::{Deserialize, Serialize};

use landfall_core::Seq;

pub(crate) use read::LogFile;
pub use write::Exported;
pub(crate) use write::Writer as LogWriter;

/// Begins every exported log. The first byte is no text and the last two are a line end, so that a copy which took the
/// file for text is found out.
pub(crate) const MAGIC: [u8; 8] = *b"\x89LFLOG\r\n";

/// Newest form of the file that this version writes and reads.
const VERSION: u16 = 2;

/// The form of a file without a base, which programs read that know no other.
const VERSION_WITHOUT_BASE: u16 = 1;

/// Where the JSON of the head begins.
const HEAD_LEN: usize = 16;

/// Longest JSON of a head: a schema of thousands of models is shorter.
const HEAD_JSON_MAX: usize = 16 * 1024 * 1024;

const BLOCK_MARK: [u8; 4] = *b"LFB1";

const BASE_MARK: [u8; 4] = *b"LFS1";
const BLOCK_HEAD_LEN: usize = 28;

/// A block is closed once its payload is longer than this: large enough that its head costs nothing, small enough that
/// damage takes few entries along and that reading one entry is quick.
const BLOCK_BYTES: usize = 64 * 1024;

/// Longest payload that is read: a block holds at least one entry, and no record is nearly that long.
const BLOCK_BYTES_MAX: usize = 256 * 1024 * 1024;

const END_MARK: [u8; 4] = *b"LFE1";
const END_LEN: usize = 24;

/// Positions are below this, so that no sum of two overflows; no log gets there.
pub(super) const SEQ_MAX: u64 = 1 << 62;

/// What the head says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    /// The first entry, and the check of the one before it.
    pub(crate) start: Seq,
    pub(crate) start_check: u32,
    /// The newest entry.
    pub(crate) end: Seq,
    /// Whether values were replaced.
    pub(crate) redacted: bool,
    /// Whether the log goes on from a base.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) based: bool,
    /// How many entries the base has, if the file holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base: Option<u64>,
    /// The schema in force at the newest entry, as model-introspection JSON.
    pub(crate) schema: Option<serde_json::Value>,
    /// Version of the program that wrote the file; for people.
    pub(crate) written_by: String,
}
