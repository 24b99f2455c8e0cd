//! Writing a log to one file.
//!
//! Owns [`History::export`]. It streams: one block is held in memory, whatever the length of the log.

use std::io::Write;
use std::ops::ControlFlow;

use landfall_core::{Seq, schema_to_json};

use super::{
    BASE_MARK, BLOCK_BYTES, BLOCK_HEAD_LEN, BLOCK_MARK, END_LEN, END_MARK, Head, MAGIC, VERSION,
    VERSION_WITHOUT_BASE,
};
use crate::base;
use crate::codec;
use crate::error::StorageError;
use crate::history::History;
use crate::history::redact::Redaction;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Entries.
    pub entries: u64,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Entries that were left out, because what cannot be read cannot be redacted.
    pub left_out: u64,
}

impl History {
    /// Writes the log to a file, or to whatever takes bytes; with values replaced if a redaction is given. Of a log that was
    /// trimmed the file has what it goes on from as well, if that is there.
    ///
    /// # Errors
    /// [`StorageError::Io`] and [`StorageError::Full`] for either side.
    ///
    /// # Panics
    /// If an entry or a schema is longer than 4 GiB, which validation of records and schemas excludes.
    pub fn export(
        &self,
        out: &mut dyn Write,
        redaction: Option<&Redaction>,
    ) -> Result<Exported, StorageError> {
        let mut writer = Writer::begin(out, &self.head_of_export(redaction.is_some())?)?;
        let mut redacted = Vec::new();
        self.each_of_base(&mut |seq, bytes| {
            if let Some(redaction) = redaction {
                redacted.clear();
                let entry = redaction.entry(codec::entry::decode(seq, bytes)?);
                codec::entry::encode(&mut redacted, &entry, base::CHAIN);
                writer.base(&redacted)?;
            } else {
                writer.base(bytes)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        writer.end_base()?;
        let mut chain = self.start_check;
        self.scan(self.start..=self.end, &mut |seq, bytes| {
            let bytes = match redaction {
                None => bytes,
                Some(redaction) => match codec::entry::decode(seq, bytes) {
                    Ok(entry) => {
                        redacted.clear();
                        chain = codec::entry::encode(&mut redacted, &redaction.entry(entry), chain);
                        redacted.as_slice()
                    }
                    Err(_) => {
                        writer.done.left_out += 1;
                        return Ok(ControlFlow::Continue(()));
                    }
                },
            };
            writer.entry(seq, bytes)?;
            Ok(ControlFlow::Continue(()))
        })?;
        writer.end()
    }

    fn head_of_export(&self, redacted: bool) -> Result<Head, StorageError> {
        Ok(Head {
            start: self.start,
            start_check: self.start_check,
            end: self.end,
            redacted: redacted || self.is_redacted(),
            based: self.has_base()?,
            base: self.base_len()?,
            schema: self.schema.as_ref().map(|schema| schema_to_json(schema)),
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}

pub(crate) struct Writer<'o> {
    out: &'o mut dyn Write,
    done: Exported,
    block: Vec<u8>,
    first: Seq,
    entries: u32,
    newest: Seq,
    /// Entries of the base that were written.
    based: u64,
}

impl<'o> Writer<'o> {
    /// Writes the head.
    pub(crate) fn begin(out: &'o mut dyn Write, head: &Head) -> Result<Self, StorageError> {
        let mut writer = Writer {
            out,
            done: Exported::default(),
            block: Vec::with_capacity(BLOCK_BYTES * 2),
            first: head.start,
            entries: 0,
            newest: Seq(head.start.0.saturating_sub(1)),
            based: 0,
        };
        writer.head(head)?;
        Ok(writer)
    }

    fn head(&mut self, head: &Head) -> Result<(), StorageError> {
        let json = serde_json::to_vec(head).expect("writing JSON to memory cannot fail");
        let mut bytes = MAGIC.to_vec();
        let version = head.base.map_or(VERSION_WITHOUT_BASE, |_| VERSION);
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&length_of(&json).to_le_bytes());
        bytes.extend_from_slice(&json);
        let check = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        self.put(&bytes)
    }

    /// Writes an entry of the base; all of them come before the first of the log.
    fn base(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        if self.block.len() >= BLOCK_BYTES {
            self.end_base()?;
        }
        self.based += 1;
        if self.entries == 0 {
            self.first = Seq(self.based);
        }
        self.hold(bytes);
        Ok(())
    }

    fn end_base(&mut self) -> Result<(), StorageError> {
        if self.entries > 0 {
            self.close_block(BASE_MARK)?;
        }
        Ok(())
    }

    pub(crate) fn entry(&mut self, seq: Seq, bytes: &[u8]) -> Result<(), StorageError> {
        if self.entries > 0 && (seq != self.newest.next() || self.block.len() >= BLOCK_BYTES) {
            self.close_block(BLOCK_MARK)?;
        }
        if self.entries == 0 {
            self.first = seq;
        }
        self.hold(bytes);
        self.done.entries += 1;
        self.newest = seq;
        Ok(())
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(&length_of(bytes).to_le_bytes());
        self.block.extend_from_slice(bytes);
        self.entries += 1;
    }

    fn close_block(&mut self, mark: [u8; 4]) -> Result<(), StorageError> {
        let mut head = Vec::with_capacity(BLOCK_HEAD_LEN);
        head.extend_from_slice(&mark);
        head.extend_from_slice(&length_of(&self.block).to_le_bytes());
        head.extend_from_slice(&self.first.0.to_le_bytes());
        head.extend_from_slice(&self.entries.to_le_bytes());
        head.extend_from_slice(&crc32fast::hash(&self.block).to_le_bytes());
        let check = crc32fast::hash(&head);
        head.extend_from_slice(&check.to_le_bytes());
        self.put(&head)?;
        let block = std::mem::take(&mut self.block);
        self.put(&block)?;
        self.block = block;
        self.block.clear();
        self.entries = 0;
        Ok(())
    }

    pub(crate) fn end(mut self) -> Result<Exported, StorageError> {
        if self.entries > 0 {
            self.close_block(BLOCK_MARK)?;
        }
        let mut end = Vec::with_capacity(END_LEN);
        end.extend_from_slice(&END_MARK);
        end.extend_from_slice(&self.done.entries.to_le_bytes());
        end.extend_from_slice(&self.newest.0.to_le_bytes());
        let check = crc32fast::hash(&end);
        end.extend_from_slice(&check.to_le_bytes());
        self.put(&end)?;
        self.out.flush()?;
        Ok(self.done)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.out.write_all(bytes)?;
        self.done.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("entries and schemas are far shorter than 4 GiB")
}
