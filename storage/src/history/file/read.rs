//! Reading a log from one file, damaged or not.
//!
//! Owns [`LogFile`]. Opening reads the file once, checks each block and remembers where it is; entries are then read
//! block by block. Of a block that is damaged or cut off the entries are kept whose own checks continue each other
//! (`salvage.rs`). What lies between is passed over and told.
//!
//! Invariants: 1. whatever the bytes are, nothing panics and no more is held in memory than one block and the places of
//! the blocks; 2. entries come in order, each once; 3. none is handed over that neither its block's check nor its own vouches
//! for.

use std::fmt;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};

use landfall_core::Seq;

use super::salvage::{Salvage, salvage, salvage_headless};
use super::{
    BASE_MARK, BLOCK_BYTES_MAX, BLOCK_HEAD_LEN, BLOCK_MARK, END_LEN, END_MARK, HEAD_JSON_MAX, HEAD_LEN, Head,
    MAGIC, SEQ_MAX, VERSION,
};
use crate::codec;
use crate::error::StorageError;
use crate::history::{DAMAGE_MAX, Damage, Visit};

/// How much is looked through for entries where the head of a block is damaged: a block is closed at a quarter of it.
const HEADLESS_BYTES_MAX: u64 = 256 * 1024;

/// What a log file is read from.
pub(crate) trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// An exported log.
pub(crate) struct LogFile {
    source: Mutex<Box<dyn Source>>,
    /// `None` if it is damaged.
    pub(crate) head: Option<Head>,
    blocks: Vec<Block>,
    /// Blocks of the base, by the numbers of its entries.
    base: Vec<Block>,
    /// The newest entry that was written, by the end mark; `None` if that is damaged or was cut off.
    pub(crate) newest: Option<Seq>,
    /// What is wrong with the file, at most [`DAMAGE_MAX`].
    pub(crate) damage: Vec<Damage>,
}

/// Where a sound block is, or what is sound of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) at: u64,
    pub(super) length: usize,
    pub(super) first: Seq,
    pub(super) last: Seq,
}

impl fmt::Debug for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogFile({} blocks)", self.blocks.len())
    }
}

impl LogFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`StorageError::BadLogFile`] if it is none, or one of a newer version; the disk's faults.
    pub(crate) fn open(mut source: Box<dyn Source>) -> Result<Self, StorageError> {
        let length = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        let mut start = [0; HEAD_LEN];
        if length < HEAD_LEN as u64 {
            return Err(bad("it is shorter than the head of a log file"));
        }
        source.read_exact(&mut start)?;
        check_start(&start)?;
        let mut walk = Walk {
            source,
            length,
            expected: None,
            chain: None,
            entries: 0,
            blocks: Vec::new(),
            base: Vec::new(),
            ended_at: None,
            damage: Vec::new(),
        };
        let (head, after) = walk.head(&start)?;
        walk.expected = head.as_ref().map(|head| head.start);
        walk.chain = head.as_ref().map(|head| head.start_check);
        walk.blocks_from(after)?;
        walk.check_base(head.as_ref());
        Ok(Self {
            source: Mutex::new(walk.source),
            head,
            blocks: walk.blocks,
            base: walk.base,
            newest: walk.ended_at,
            damage: walk.damage,
        })
    }

    /// First and newest entry of the sound blocks.
    pub(crate) fn bounds(&self) -> Option<(Seq, Seq)> {
        Some((self.blocks.first()?.first, self.blocks.last()?.last))
    }

    /// Whether the log goes on from a base, be it there or not.
    pub(crate) fn has_base(&self) -> bool {
        // What a damaged head says of it is not known.
        !self.base.is_empty() || self.head.as_ref().is_some_and(|head| head.based)
    }

    /// How many entries the base has; `None` if it is not there, or not as a whole.
    pub(crate) fn base_len(&self) -> Option<u64> {
        let told = self.head.as_ref()?.base?;
        (told == entries_in(&self.base)).then_some(told)
    }

    /// Hands over every entry of the base as of a position. Returns whether the visitor wants to go on.
    pub(crate) fn each_of_base(&self, at: Seq, visit: &mut Visit<'_>) -> Result<bool, StorageError> {
        let mut payload = Vec::new();
        for block in &self.base {
            self.read_payload(block, &mut payload)?;
            for entry in Entries(&payload) {
                let entry = entry.ok_or_else(|| bad("it was changed while it was read"))?;
                if visit(at, entry)?.is_break() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn read_payload(&self, block: &Block, payload: &mut Vec<u8>) -> Result<(), StorageError> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.seek(SeekFrom::Start(block.at))?;
        payload.resize(block.length, 0);
        source.read_exact(payload)?;
        Ok(())
    }

    /// Hands over the entries from `first` to `last` that are there.
    pub(crate) fn scan(&self, first: Seq, last: Seq, visit: &mut Visit<'_>) -> Result<(), StorageError> {
        let from = self.blocks.partition_point(|block| block.last < first);
        let mut payload = Vec::new();
        for block in self.blocks[from..].iter().take_while(|block| block.first <= last) {
            self.read_payload(block, &mut payload)?;
            let mut seq = block.first;
            for entry in Entries(&payload) {
                let entry = entry.ok_or_else(|| bad("it was changed while it was read"))?;
                if seq > last {
                    return Ok(());
                }
                if seq >= first && visit(seq, entry)?.is_break() {
                    return Ok(());
                }
                seq = seq.next();
            }
        }
        Ok(())
    }
}

fn check_start(start: &[u8; HEAD_LEN]) -> Result<(), StorageError> {
    if start[..8] != MAGIC {
        return Err(bad(if start[1..6] == MAGIC[1..6] {
            "it was changed by a program that took it for text; copy it again as a binary file"
        } else {
            "it is no exported log"
        }));
    }
    let version = u16::from_le_bytes([start[8], start[9]]);
    if version > VERSION {
        return Err(bad(format!(
            "it has version {version} and this program reads up to {VERSION}; update Landfall"
        )));
    }
    Ok(())
}

/// The first look at a file.
struct Walk {
    source: Box<dyn Source>,
    length: u64,
    /// The entry that should come next, if that is known.
    expected: Option<Seq>,
    /// The check of the entry before that one, if that is known.
    chain: Option<u32>,
    entries: u64,
    blocks: Vec<Block>,
    base: Vec<Block>,
    ended_at: Option<Seq>,
    damage: Vec<Damage>,
}

/// What was found at a place.
enum Found {
    /// A block, and where the next one begins.
    Block(u64),
    /// The end mark.
    End,
    /// Neither.
    Nothing,
}

impl Walk {
    /// The head and where the blocks begin, as far as that is known.
    fn head(&mut self, start: &[u8; HEAD_LEN]) -> Result<(Option<Head>, u64), StorageError> {
        let json_len = u32::from_le_bytes([start[12], start[13], start[14], start[15]]) as usize;
        let fits = json_len <= HEAD_JSON_MAX && (HEAD_LEN + json_len + 4) as u64 <= self.length;
        if !fits {
            self.note("the head of the file is damaged, so it is not known which schema the records have");
            return Ok((None, HEAD_LEN as u64));
        }
        let mut rest = vec![0; json_len + 4];
        self.source.read_exact(&mut rest)?;
        let (json, check) = rest.split_at(json_len);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(start);
        hasher.update(json);
        let head: Option<Head> = serde_json::from_slice(json).ok();
        let head = head
            .filter(|_| check == hasher.finalize().to_le_bytes())
            .filter(|head| head.start.0 >= 1 && head.start.0 < SEQ_MAX && head.end.0 < SEQ_MAX);
        if head.is_none() {
            self.note("the head of the file is damaged, so it is not known which schema the records have");
            return Ok((None, HEAD_LEN as u64));
        }
        Ok((head, (HEAD_LEN + rest.len()) as u64))
    }

    fn blocks_from(&mut self, mut at: u64) -> Result<(), StorageError> {
        let mut lost = false;
        loop {
            match self.look(at)? {
                Found::Block(next) => {
                    lost = false;
                    at = next;
                }
                Found::End => {
                    let behind = self.length - at - END_LEN as u64;
                    if behind > 0 {
                        self.note(format!(
                            "{behind} bytes follow the end mark, which are not of this log; cut them off"
                        ));
                    }
                    return Ok(());
                }
                Found::Nothing if at >= self.length => {
                    let newest = self.newest();
                    self.note(format!(
                        "the file ends before its end mark: it was cut off after {newest}"
                    ));
                    return Ok(());
                }
                Found::Nothing => {
                    if !lost {
                        let newest = self.newest();
                        self.note(format!("the file is damaged at byte {at}, after {newest}"));
                        lost = true;
                        self.salvage_headless(at)?;
                    }
                    at = self.next_mark(at + 1)?;
                }
            }
        }
    }

    /// Reads what is at a place; a block is taken in if it is sound.
    fn look(&mut self, at: u64) -> Result<Found, StorageError> {
        let mut head = [0; BLOCK_HEAD_LEN];
        let there = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let there = there.min(BLOCK_HEAD_LEN);
        self.source.seek(SeekFrom::Start(at))?;
        self.source.read_exact(&mut head[..there])?;
        if there >= END_LEN && head.starts_with(&END_MARK) {
            return Ok(self.end(&head));
        }
        let sum_at = BLOCK_HEAD_LEN - 4;
        let is_base = head.starts_with(&BASE_MARK);
        let sound = there == BLOCK_HEAD_LEN
            && (is_base || head.starts_with(&BLOCK_MARK))
            && u32_at(&head, sum_at) == crc32fast::hash(&head[..sum_at]);
        if !sound {
            return Ok(Found::Nothing);
        }
        let length = u32_at(&head, 4) as usize;
        let (first, entries) = (u64_at(&head, 8), u32_at(&head, 16));
        let payload_at = at + BLOCK_HEAD_LEN as u64;
        if length > BLOCK_BYTES_MAX || first == 0 || first >= SEQ_MAX || entries == 0 {
            return Ok(Found::Nothing);
        }
        let (first, last) = (Seq(first), Seq(first + u64::from(entries) - 1));
        let next = (payload_at + length as u64).min(self.length);
        let there = usize::try_from(next - payload_at).unwrap_or(length);
        let mut payload = vec![0; there];
        self.source.read_exact(&mut payload)?;
        let sound = there == length
            && crc32fast::hash(&payload) == u32_at(&head, 20)
            && Entries(&payload).count_sound() == Some(entries);
        let block = Block {
            at: payload_at,
            length: there,
            first,
            last,
        };
        if is_base {
            self.take_base(block, sound);
            return Ok(Found::Block(next));
        }
        if sound {
            self.chain = Entries(&payload)
                .last()
                .flatten()
                .and_then(codec::entry::stored_check);
            self.take(block);
            return Ok(Found::Block(next));
        }
        let whole_to = self.salvage(block, &payload);
        // Of a file that lacks bytes in its middle the blocks behind them come earlier than they should.
        Ok(Found::Block(if there < length { whole_to } else { next }))
    }

    /// Takes in a block of the base if it is sound. One that is not is missed when all are counted.
    fn take_base(&mut self, block: Block, sound: bool) {
        let expected = self.base.last().map_or(Seq(1), |before| before.last.next());
        if sound && block.first == expected {
            self.base.push(block);
        }
    }

    /// That all of the base is there which the head says.
    fn check_base(&mut self, head: Option<&Head>) {
        let Some(told) = head.and_then(|head| head.base) else {
            return;
        };
        let there = entries_in(&self.base);
        if there != told {
            let start = head.map_or(Seq(1), |head| head.start);
            self.note_at(
                start,
                format!(
                    "what the trimmed log goes on from is damaged: {there} of its {told} entries can be read, so the states that \
                     it came to are not known"
                ),
            );
        }
    }

    /// Takes in what is whole of a block that is not; answers where that ends.
    fn salvage(&mut self, block: Block, payload: &[u8]) -> u64 {
        let before = self.chain.filter(|_| self.expected == Some(block.first));
        let Salvage { runs, lost, chain } = salvage(block, payload, before);
        let whole_to = runs.last().map_or(block.at, |run| run.at + run.length as u64);
        for run in runs {
            self.take(run);
        }
        if lost.is_empty() {
            let (first, last) = (block.first, block.last);
            self.note_at(
                first,
                format!(
                    "the check of the block of {first} to {last} does not agree, though each of them is whole"
                ),
            );
        }
        for (from, to) in lost {
            self.note_at(
                from,
                if from == to {
                    format!("{from} was altered in the file, or cut off")
                } else {
                    format!("{from} to {to} were altered in the file, or cut off")
                },
            );
        }
        (self.expected, self.chain) = (Some(block.last.next()), chain);
        whole_to
    }

    /// Takes in what is whole where the head of a block should be, and is not.
    fn salvage_headless(&mut self, at: u64) -> Result<(), StorageError> {
        let (Some(first), Some(before)) = (self.expected, self.chain) else {
            return Ok(());
        };
        let at = at + BLOCK_HEAD_LEN as u64;
        let there = self.length.saturating_sub(at).min(HEADLESS_BYTES_MAX);
        let mut payload = vec![0; usize::try_from(there).unwrap_or(0)];
        self.source.seek(SeekFrom::Start(at.min(self.length)))?;
        self.source.read_exact(&mut payload)?;
        let block = Block {
            at,
            length: payload.len(),
            first,
            last: first,
        };
        let found = salvage_headless(block, &payload, before);
        for run in found.runs {
            self.take(run);
        }
        self.chain = found.chain;
        Ok(())
    }

    fn take(&mut self, block: Block) {
        if self
            .blocks
            .last()
            .is_some_and(|before| block.first <= before.last)
        {
            let newest = self.newest();
            self.note_at(block.first, format!("{} comes again after {newest}", block.first));
            return;
        }
        self.entries +=
            u64::from(block.last.0 - block.first.0 < SEQ_MAX) * (block.last.0 - block.first.0 + 1);
        self.expected = Some(block.last.next());
        self.blocks.push(block);
    }

    fn end(&mut self, bytes: &[u8]) -> Found {
        let sum_at = END_LEN - 4;
        if u32_at(bytes, sum_at) != crc32fast::hash(&bytes[..sum_at]) {
            return Found::Nothing;
        }
        let (entries, newest) = (u64_at(bytes, 4), Seq(u64_at(bytes, 12)));
        self.ended_at = (newest.0 < SEQ_MAX).then_some(newest);
        if self.damage.is_empty() && entries != self.entries {
            self.note(format!(
                "the file was written with {entries} entries up to {newest}, and has {} up to {}",
                self.entries,
                self.newest()
            ));
        }
        Found::End
    }

    /// The place of the next mark, or the end of the file.
    fn next_mark(&mut self, from: u64) -> Result<u64, StorageError> {
        /// Bytes that are looked through at a time.
        const WINDOW: usize = 64 * 1024;
        let mut window = vec![0; WINDOW];
        let mut at = from;
        while at < self.length {
            self.source.seek(SeekFrom::Start(at))?;
            let count = fill(&mut *self.source, &mut window)?;
            let found = window[..count]
                .windows(BLOCK_MARK.len())
                .position(|bytes| [BLOCK_MARK, BASE_MARK, END_MARK].iter().any(|mark| bytes == mark));
            if let Some(found) = found {
                return Ok(at + found as u64);
            }
            if count < BLOCK_MARK.len() {
                break;
            }
            // A mark may begin in one window and end in the next.
            at += (count - BLOCK_MARK.len() + 1) as u64;
        }
        Ok(self.length)
    }

    fn newest(&self) -> String {
        self.blocks
            .last()
            .map_or_else(|| "the head".to_owned(), |block| block.last.to_string())
    }

    fn note(&mut self, what: impl Into<String>) {
        self.note_at(self.expected.unwrap_or(Seq(1)), what);
    }

    fn note_at(&mut self, seq: Seq, what: impl Into<String>) {
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(Damage {
                seq,
                what: what.into(),
            });
        }
    }
}

/// How many entries are in blocks that follow each other from the first entry on.
fn entries_in(base: &[Block]) -> u64 {
    base.last().map_or(0, |last| last.last.0)
}

/// The entries of a payload; `None` where it is not one entry after the other.
pub(super) struct Entries<'a>(pub(super) &'a [u8]);

impl Entries<'_> {
    fn count_sound(self) -> Option<u32> {
        self.map(|entry| entry.map(|_| 1)).sum()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self
            .0
            .split_first_chunk::<4>()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        match entry {
            Some((entry, rest)) => {
                self.0 = rest;
                Some(Some(entry))
            }
            None => {
                self.0 = &[];
                Some(None)
            }
        }
    }
}

fn fill(source: &mut dyn Source, out: &mut [u8]) -> Result<usize, StorageError> {
    let mut filled = 0;
    while filled < out.len() {
        match source.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn bad(what: impl Into<String>) -> StorageError {
    StorageError::BadLogFile { what: what.into() }
}
