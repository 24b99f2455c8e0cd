//! Scratch.
use std::sync::Arc;
#[tokio::main]
async fn main() {
    let path = std::env::args().nth(1).unwrap();
    let port: u16 = std::env::args().nth(2).unwrap().parse().unwrap();
    let strategy = std::env::args().nth(3).unwrap_or_default();
    let text = std::fs::read_to_string(&path).unwrap();
    let schema = landfall_codegen::parse_sdl(&path, &text).unwrap();
    let mut config = landfall_backend::BackendConfig::with_api_key("da2-x");
    if strategy == "occ" { config.conflict = landfall_backend::ConflictStrategy::OptimisticConcurrency; }
    let kv = landfall_storage::kv::KvStore::in_memory().unwrap();
    let backend = landfall_backend::Backend::new(Arc::new(schema), config, kv, landfall_backend::os_entropy()).unwrap();
    let handle = landfall_backend::serve(([127,0,0,1], port).into(), Arc::new(backend)).await.unwrap();
    println!("{}", handle.endpoint());
    std::future::pending::<()>().await;
}
