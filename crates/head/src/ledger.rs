//! The ledger as the parts of the sidecar share it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use correlate::Ledger;

/// The ledger, shared by those who bring evidence and the head, which asks for verdicts.
#[derive(Clone, Debug)]
pub struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    /// Shares `ledger`.
    pub fn new(ledger: Ledger) -> Self {
        Self(Arc::new(Mutex::new(ledger)))
    }

    /// The ledger, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
