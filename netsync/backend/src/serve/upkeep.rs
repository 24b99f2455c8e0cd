//! What those ask who run the server: whether it is well, and what it counts.
//!
//! Owns `/health` and `/metrics`. Neither asks for credentials, and neither tells what is stored.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::shell::Shell;

/// Answers 200 while rows can be read, else 503.
pub(super) async fn health(State(shell): State<Shell>) -> Response {
    let backend = Arc::clone(&shell.backend);
    let stored = tokio::task::spawn_blocking(move || backend.stored_rows().map(|_| ())).await;
    let (status, text) = match stored {
        Ok(Ok(())) => (StatusCode::OK, r#"{"status":"ok"}"#),
        Ok(Err(error)) => {
            tracing::error!(%error, "the store cannot be read");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                r#"{"status":"failing","cause":"the store cannot be read"}"#,
            )
        }
        Err(error) => {
            tracing::error!(%error, "the look at the store died");
            (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"failing"}"#)
        }
    };
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Answers with all metrics.
pub(super) async fn metrics(State(shell): State<Shell>) -> Response {
    let sockets = shell
        .options
        .sockets_max
        .saturating_sub(shell.places.available_permits());
    let page = tokio::task::spawn_blocking(move || shell.metrics.page(&shell.backend, sockets)).await;
    match page {
        Ok(page) => (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            page,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
