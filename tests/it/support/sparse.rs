//! Files that are mostly zeros, kept small: a store's file is megabytes long, of which its first records take kilobytes.
//!
//! Owns the form: a mark, the length of the file, and each stretch that is not zero as its place, its length and its bytes.
//! Numbers are little-endian, of eight bytes.

use std::io::{self, Read};
use std::path::Path;

const MARK: [u8; 8] = *b"LFSPARSE";

/// What lies between two stretches is at least so many zeros, so that their places cost less than they save.
const ZEROS_MIN: usize = 64;

/// Longest file that is unpacked; those that are kept are some megabytes long.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A file's bytes in the form in which they are kept.
pub(crate) fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = MARK.to_vec();
    let number = |packed: &mut Vec<u8>, number: usize| {
        packed.extend_from_slice(&(number as u64).to_le_bytes());
    };
    number(&mut packed, bytes.len());
    let filled = |place: &[u8]| place.iter().any(|byte| *byte != 0);
    let places: Vec<&[u8]> = bytes.chunks(ZEROS_MIN).collect();
    let mut at = 0;
    for stretch in places.chunk_by(|a, b| filled(a) == filled(b)) {
        let length: usize = stretch.iter().map(|place| place.len()).sum();
        if filled(stretch[0]) {
            number(&mut packed, at);
            number(&mut packed, length);
            packed.extend_from_slice(&bytes[at..at + length]);
        }
        at += length;
    }
    packed
}

/// The bytes of a file that was packed.
pub(crate) fn unpack(mut packed: &[u8]) -> io::Result<Vec<u8>> {
    let bad = || io::Error::other("it is no packed file");
    let mut mark = [0; MARK.len()];
    packed.read_exact(&mut mark)?;
    let length = number(&mut packed)?;
    if mark != MARK || length > BYTES_MAX {
        return Err(bad());
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| bad())?];
    while !packed.is_empty() {
        let (at, length) = (number(&mut packed)?, number(&mut packed)?);
        let (at, length) = (usize::try_from(at), usize::try_from(length));
        let (at, length) = (at.map_err(|_| bad())?, length.map_err(|_| bad())?);
        let stretch = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..length));
        packed.read_exact(stretch.ok_or_else(bad)?)?;
    }
    Ok(bytes)
}

fn number(packed: &mut &[u8]) -> io::Result<u64> {
    let mut number = [0; 8];
    packed.read_exact(&mut number)?;
    Ok(u64::from_le_bytes(number))
}

/// Packs a file; nothing that exists is written over.
pub(crate) fn keep(file: &Path, kept: &Path) {
    let bytes = std::fs::read(file).expect("it was made a moment ago");
    std::fs::create_dir_all(kept.parent().expect("it is in a folder")).expect("it can be made");
    let mut to = std::fs::File::create_new(kept).expect("it is not there yet");
    io::Write::write_all(&mut to, &pack(&bytes)).expect("there is room");
}

/// Unpacks a kept file.
pub(crate) fn take_out(kept: &Path, file: &Path) {
    let packed = std::fs::read(kept).unwrap_or_else(|error| panic!("{}: {error}", kept.display()));
    let bytes = unpack(&packed).unwrap_or_else(|error| panic!("{}: {error}", kept.display()));
    std::fs::write(file, bytes).expect("there is room");
}

#[test]
fn what_is_packed_comes_back() {
    for bytes in [
        vec![],
        vec![0; 1_000],
        vec![7; 1_000],
        [vec![0; 100], vec![1], vec![0; 500], vec![2, 3]].concat(),
        [vec![1], vec![0; 63], vec![1], vec![0; 700]].concat(),
    ] {
        let packed = pack(&bytes);
        assert_eq!(unpack(&packed).expect("it was packed"), bytes);
        assert!(packed.len() <= bytes.len() + 64, "{} bytes", packed.len());
    }
    assert!(unpack(b"LFSPARSE").is_err());
    assert!(unpack(&[MARK.as_slice(), &1_u64.to_le_bytes(), &[9; 16]].concat()).is_err());
}
