//! Cross-crate behaviour of Landfall; the tests are in `it/`.
