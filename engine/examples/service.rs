//! An HTTP service that embeds a store: requests read and write local data, a page at a time, and never wait for a
//! network.
//!
//! `GET /notes?after=CURSOR`, `GET /notes/ID`, `POST /notes` with `{"text": "..."}`.
//!
//! Run with `cargo run -p landfall --example service`, then `curl http://127.0.0.1:3000/notes`.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use landfall::{Cursor, DataStore, Error, ModelQuery};
use serde::Deserialize;
use serde_json::{Value, json};

landfall::inline_schema!("type Note @model { text: String! likes: Int @default(value: \"0\") }");

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Notes on a page.
const PAGE_LEN: usize = 2;

/// What a request answers if it cannot be carried out.
struct Failed(StatusCode, String);

impl axum::response::IntoResponse for Failed {
    fn into_response(self) -> axum::response::Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let status = match error {
            // What the client sent, not what went wrong here.
            Error::Refused(_) | Error::BadPredicate(_) => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

#[derive(Deserialize)]
struct Paging {
    after: Option<String>,
}

#[derive(Deserialize)]
struct NewNote {
    text: String,
}

fn shown(note: &Note) -> Value {
    json!({ "id": note.id, "text": note.text, "likes": note.likes })
}

async fn list(State(store): State<DataStore>, Query(paging): Query<Paging>) -> Result<Json<Value>, Failed> {
    let after = paging.after.map(|text| text.parse::<Cursor>()).transpose();
    let after = after.map_err(|error| Failed(StatusCode::BAD_REQUEST, error.to_string()))?;
    let notes = ModelQuery::<Note>::all().sort(Note::text().asc()).limit(PAGE_LEN);
    let page = store.page(notes, after.as_ref())?;
    Ok(Json(json!({
        "notes": page.items.iter().map(shown).collect::<Vec<_>>(),
        "next": page.next.map(|next| next.to_string()),
    })))
}

async fn one(State(store): State<DataStore>, Path(id): Path<String>) -> Result<Json<Value>, Failed> {
    match store.get::<Note>(id)? {
        Some(note) => Ok(Json(shown(&note))),
        None => Err(Failed(StatusCode::NOT_FOUND, "there is no such note".to_owned())),
    }
}

async fn create(
    State(store): State<DataStore>,
    Json(new): Json<NewNote>,
) -> Result<(StatusCode, Json<Value>), Failed> {
    let note = Note::builder().text(new.text).build();
    let note = note.map_err(|error| Failed(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    let saved = store.save(note).await?;
    Ok((StatusCode::CREATED, Json(shown(&saved))))
}

fn router(store: DataStore) -> Router {
    Router::new()
        .route("/notes", get(list).post(create))
        .route("/notes/{id}", get(one))
        .with_state(store)
}

#[tokio::main]
async fn main() -> Outcome {
    let store = DataStore::builder(schema())
        .directory("notes-data")
        .open()
        .await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router(store.clone()))
        .with_graceful_shutdown(async {
            tokio::signal::ctrl_c().await.unwrap_or(());
        })
        .await?;
    // The files are closed before the process ends.
    store.close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Sends a request as a client would; returns the status and the body.
    async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut socket = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: notes\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket
            .write_all(request.as_bytes())
            .await
            .expect("it takes requests");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head[9..12].parse().expect("a status");
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    #[tokio::test]
    async fn notes_are_made_and_paged_through() {
        let store = DataStore::builder(schema()).open().await.expect("memory");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let client = async {
            for text in ["c", "a", "b"] {
                let body = json!({ "text": text }).to_string();
                let (status, note) = ask(address, "POST", "/notes", &body).await;
                assert_eq!(
                    (status, &note["text"], &note["likes"]),
                    (201, &json!(text), &json!(0))
                );
            }
            let (_, first) = ask(address, "GET", "/notes", "").await;
            assert_eq!(
                (&first["notes"][0]["text"], &first["notes"][1]["text"]),
                (&json!("a"), &json!("b"))
            );
            let next = first["next"].as_str().expect("there is more");
            let (_, second) = ask(address, "GET", &format!("/notes?after={next}"), "").await;
            assert_eq!(
                (&second["notes"][0]["text"], &second["next"]),
                (&json!("c"), &Value::Null)
            );
            let id = second["notes"][0]["id"].as_str().expect("an identifier");
            assert_eq!(ask(address, "GET", &format!("/notes/{id}"), "").await.0, 200);
            assert_eq!(ask(address, "GET", "/notes/nobody", "").await.0, 404);
            assert_eq!(ask(address, "GET", "/notes?after=nonsense", "").await.0, 400);
        };
        tokio::select! {
            served = axum::serve(listener, router(store)) => panic!("the service ended: {served:?}"),
            () = client => {}
        }
    }
}
