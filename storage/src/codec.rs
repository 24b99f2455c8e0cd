//! Bytes of rows, heads and entries: one place through which everything that is stored passes.

pub(crate) mod entry;
mod form;
pub(crate) mod head;
pub(crate) mod nesting;
pub(crate) mod row;
