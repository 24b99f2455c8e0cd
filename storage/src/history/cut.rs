//! The log of a store's file that does not open as it is: it was cut short, lengthened, or damaged at its head.
//!
//! Owns [`open_damaged`]. The file is made as long as it has to be, and its head is mended, on changes in memory. If a store opens on
//! that and its log can be read from front to back, that store is looked at; if not, what is whole of the log is copied to a file
//! without a name, up to the first entry that is not. Invariant: whichever it is, the damage is told with it.

use std::io::{BufWriter, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::Path;

use landfall_core::{Seq, schema_to_json};
use redb::{ReadTransaction, ReadableDatabase, ReadableTableMetadata};

use super::file::{Head, LogFile, LogWriter};
use super::open::open_on;
use super::{Damage, History};
use crate::disk::{mend_over, open_mended};
use crate::error::StorageError;
use crate::open::schema_in;
use crate::overlay::Overlay;
use crate::panics::unless_it_panics;
use crate::remake::Sound;
use crate::tables::{LOG, META};

/// Opens what there is of the log; `what` is wrong with the file.
pub(super) fn open_damaged(overlay: &Overlay, file: &Path, what: &str) -> Result<History, StorageError> {
    let mut history = match whole(overlay, file) {
        Ok(history) => history,
        Err(_) => unless_it_panics(|| copy(overlay, file)).map_err(|_| StorageError::LogDamaged {
            path: Some(file.to_owned()),
            what: what.to_owned(),
            sound: None,
        })?,
    };
    history.damage.push(Damage {
        seq: history.start,
        what: format!("the file is damaged: {what}"),
    });
    Ok(history)
}

/// The store on the mended file, if its log can be read from front to back.
fn whole(overlay: &Overlay, file: &Path) -> Result<History, StorageError> {
    unless_it_panics(|| mend_over(overlay, file))?;
    let history = open_on(overlay, file)?;
    let mut entries = 0;
    unless_it_panics(|| {
        history.scan(history.start..=history.end, &mut |_, _| {
            entries += 1;
            Ok(ControlFlow::Continue(()))
        })
    })?;
    if entries == history.len() {
        Ok(history)
    } else {
        Err(StorageError::corrupt("not all of its log can be read"))
    }
}

/// A copy of the entries before the first that cannot be read.
fn copy(overlay: &Overlay, file: &Path) -> Result<History, StorageError> {
    let opened = open_mended(overlay, file)?;
    let transaction = opened.database.begin_read()?;
    let sound = Sound::of(&transaction, &opened);
    let Some((first, last)) = sound.entries_there() else {
        return Err(StorageError::corrupt("none of its entries can be read"));
    };
    let mut copy = tempfile::tempfile()?;
    write(&mut copy, &transaction, &sound, (first, last))?;
    copy.seek(SeekFrom::Start(0))?;
    let mut history = History::of_file(LogFile::open(Box::new(copy))?);
    if let Some(what) = sound.damage {
        // How far the log went is not known, so nobody may take what is there for all.
        (history.end, history.end_is_known) = (last.next(), false);
        history.damage.push(Damage {
            seq: last.next(),
            what,
        });
    }
    Ok(history)
}

fn write(
    to: &mut std::fs::File,
    from: &ReadTransaction,
    sound: &Sound,
    (first, last): (Seq, Seq),
) -> Result<(), StorageError> {
    let schema = unless_it_panics(|| schema_in(&from.open_table(META)?))
        .ok()
        .flatten();
    let based = unless_it_panics(|| match crate::base::of(from)? {
        Some(base) => Ok(!base.is_empty()?),
        None => Ok(false),
    });
    let head = Head {
        start: first,
        start_check: sound.start.check,
        end: last,
        redacted: false,
        // A base that cannot be read is none to go on from.
        based: based.unwrap_or(true),
        base: None,
        schema: schema.as_ref().or(sound.schema.as_ref()).map(schema_to_json),
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut out = BufWriter::new(to);
    let mut writer = LogWriter::begin(&mut out, &head)?;
    for item in from.open_table(LOG)?.range(..=sound.end.seq.0)? {
        let (seq, bytes) = item?;
        writer.entry(Seq(seq.value()), bytes.value())?;
    }
    for found in &sound.journaled {
        writer.entry(found.seq, &found.bytes)?;
    }
    writer.end()?;
    Ok(())
}
