//! The published native clients: the documents that they send, and the shapes that they decode the answers into.
//!
//! Owns no client: each module has the documents of one in its own layout (order of fields, names of operations, which
//! variables are declared), `decode.rs` what all of them read. A field that is missing or has another type fails the
//! decoding, as it would fail theirs.
#![allow(missing_docs, reason = "a test is named after what it shows")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod android;
mod decode;
mod flutter;
#[path = "../support/mod.rs"]
mod support;
mod swift;

/// The models that the documents are about.
const SDL: &str = "enum Status { DRAFT LIVE }
type Geo { lat: Float!  lon: Float }
type Blog @model { id: ID!  name: String!  posts: [Post] @hasMany(indexName: \"byBlog\", fields: [\"id\"]) }
type Post @model {
  id: ID!  title: String!  rating: Int  status: Status  tags: [String]  at: AWSDateTime  where: Geo
  blogId: ID @index(name: \"byBlog\")
  blog: Blog @belongsTo(fields: [\"blogId\"])
}";
