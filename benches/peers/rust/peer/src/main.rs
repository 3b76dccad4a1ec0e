//! What a team that knows Rust would write: the same work as amoiq's `POST /webchat/message` and its sockets, with axum,
//! socketioxide, and a database. A message is answered once its commit is durable, has the next number of its session,
//! is stored once however often it is sent, and reaches everybody in the session's room.
//!
//! ```sh
//! PORT=4100 DATABASE_URL=postgres://… peer postgres           # one insert a message
//! PORT=4100 DATABASE_URL=postgres://… peer postgres-grouped   # what waits is one transaction
//! PORT=4100 DATABASE_PATH=…/messages.db peer sqlite           # one writer thread, what waits is one transaction
//! ```

mod message;
mod sockets;
mod store;
mod web;

use std::env;

use anyhow::{Context, bail};
use axum::serve::ListenerExt;
use mimalloc::MiMalloc;
use socketioxide::SocketIo;
use store::{GroupedPostgres, MessageStore, SqliteWriter, UngroupedPostgres};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let kind = env::args().nth(1).context("postgres, postgres-grouped or sqlite")?;
    let store = match &*kind {
        "postgres" => MessageStore::Ungrouped(UngroupedPostgres::open(&env::var("DATABASE_URL")?).await?),
        "postgres-grouped" => MessageStore::Grouped(GroupedPostgres::open(&env::var("DATABASE_URL")?).await?),
        "sqlite" => MessageStore::Sqlite(SqliteWriter::open(&env::var("DATABASE_PATH")?)?),
        other => bail!("{other} is none of postgres, postgres-grouped, sqlite"),
    };
    let (layer, io) = SocketIo::new_layer();
    let chat = message::ChatServer::new(store, io.clone());
    sockets::serve(&io, &chat);
    let app = web::router(chat).layer(layer);
    let listener = TcpListener::bind(("127.0.0.1", env::var("PORT")?.parse()?)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("a connection waits for its acknowledgements: {error}");
        }
    });
    Ok(axum::serve(listener, app).await?)
}
