//! What is whole of a block that is not.
//!
//! Owns [`salvage`]. Every entry carries a check of itself and of the check before it, so each can be tried alone as long as the
//! lengths before it are right. Invariant: an entry is kept only if its check says that it is the one of that number, behind
//! the one before it.

use landfall_core::Seq;

use super::read::{Block, Entries};
use crate::codec::entry::{stored_check, verify};

/// What was found of a block.
#[derive(Debug, Default)]
pub(super) struct Salvage {
    /// Entries that are whole, in order; those without a gap are together.
    pub(super) runs: Vec<Block>,
    /// What is lost: the first and the last entry of each gap.
    pub(super) lost: Vec<(Seq, Seq)>,
    /// The check of the last entry of the block, if that is whole.
    pub(super) chain: Option<u32>,
}

/// Tries each entry of a block, of which `payload` is there; `before` is the check of the entry before it, if that is known.
pub(super) fn salvage(block: Block, payload: &[u8], before: Option<u32>) -> Salvage {
    let mut found = Salvage::default();
    let (mut at, mut seq, mut chain) = (block.at, block.first, before);
    for entry in Entries(payload) {
        let Some(entry) = entry.filter(|_| seq <= block.last) else {
            break;
        };
        let length = entry.len() + LENGTH_LEN;
        let sound = chain.is_some_and(|before| verify(seq, entry, before).is_ok());
        // What is stored behind an altered entry is as a rule what the next one was chained to.
        chain = stored_check(entry);
        if sound {
            found.keep(at, length, seq);
        } else {
            found.lose(seq, seq);
        }
        at += length as u64;
        seq = seq.next();
    }
    if seq <= block.last {
        found.lose(seq, block.last);
    } else {
        let is_whole = found.runs.last().is_some_and(|run| run.last == block.last);
        found.chain = chain.filter(|_| is_whole);
    }
    found
}

/// The entries of a block whose head is damaged, up to the first that is not whole: how many there were is not known.
pub(super) fn salvage_headless(block: Block, payload: &[u8], before: u32) -> Salvage {
    let mut found = Salvage::default();
    let (mut at, mut seq, mut chain) = (block.at, block.first, before);
    for entry in Entries(payload).map_while(|entry| entry) {
        let Ok(check) = verify(seq, entry, chain) else {
            break;
        };
        let length = entry.len() + LENGTH_LEN;
        found.keep(at, length, seq);
        at += length as u64;
        (seq, chain) = (seq.next(), check);
    }
    found.chain = Some(chain);
    found
}

/// Bytes of the length before each entry.
const LENGTH_LEN: usize = 4;

impl Salvage {
    fn keep(&mut self, at: u64, length: usize, seq: Seq) {
        match self.runs.last_mut() {
            Some(run) if run.last.next() == seq => {
                run.length += length;
                run.last = seq;
            }
            _ => self.runs.push(Block {
                at,
                length,
                first: seq,
                last: seq,
            }),
        }
    }

    fn lose(&mut self, first: Seq, last: Seq) {
        match self.lost.last_mut() {
            Some(gap) if gap.1.next() == first => gap.1 = last,
            _ => self.lost.push((first, last)),
        }
    }
}
