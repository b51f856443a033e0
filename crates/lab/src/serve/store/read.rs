//! A few read-only connections that queries share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{Error, schema};

/// Queries that run at the same time; more wait.
const READERS: usize = 4;

/// Opens connections when they are needed and keeps them.
pub(super) struct Readers {
    path: PathBuf,
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            turns: Arc::new(Semaphore::new(READERS)),
            idle: Mutex::new(Vec::new()),
        }
    }

    pub(super) async fn run<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| Error::Closed)?;
        let task = tokio::task::spawn_blocking(move || {
            // Held by the thread, not by the caller, who may go away before the query ends.
            let _turn = turn;
            let connection = self.take().map_err(Error::sqlite("opening the store"))?;
            let result = work(&connection).map_err(Error::sqlite("reading the store"));
            self.lock().push(connection);
            result
        });
        task.await.unwrap_or(Err(Error::Closed))
    }

    fn take(&self) -> rusqlite::Result<Connection> {
        let idle = self.lock().pop();
        idle.map_or_else(|| schema::open_reader(&self.path), Ok)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
