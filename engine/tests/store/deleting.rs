//! Deletes that take children along, however deep the family goes.

use landfall::{DataStore, TypedPredicate};

landfall::inline_schema!("type Node @model { name: String! children: [Node] @hasMany }");

/// Deeper than the stack of the writer's thread would carry, if each generation took a frame of it.
const GENERATIONS: usize = 20_000;

#[tokio::test]
async fn a_chain_of_many_generations_goes_as_one() {
    let store = DataStore::builder(schema()).open().await.unwrap();
    let mut chain: Vec<Node> = Vec::with_capacity(GENERATIONS);
    for generation in 0..GENERATIONS {
        let node = Node::builder().name(format!("generation {generation}"));
        let node = match chain.last() {
            Some(parent) => node.node_children_id(parent.id.clone()),
            None => node,
        };
        chain.push(node.build().unwrap());
    }
    let root = chain[0].clone();
    store.save_all(chain).await.unwrap();
    let deleted = store.delete(&root).await.unwrap();
    assert_eq!(deleted.map(|root| root.name), Some("generation 0".to_owned()));
    assert_eq!(store.count(TypedPredicate::<Node>::all()).unwrap(), 0);
}

#[tokio::test]
async fn nodes_that_are_each_other_s_parents_go_together() {
    let store = DataStore::builder(schema()).open().await.unwrap();
    let mut first = Node::builder().name("first").build().unwrap();
    let second = Node::builder()
        .name("second")
        .node_children_id(first.id.clone())
        .build()
        .unwrap();
    store.save(first.clone()).await.unwrap();
    store.save(second.clone()).await.unwrap();
    first.node_children_id = Some(second.id.clone());
    store.save(first).await.unwrap();
    store.delete(&second).await.unwrap();
    assert_eq!(store.count(TypedPredicate::<Node>::all()).unwrap(), 0);
}
