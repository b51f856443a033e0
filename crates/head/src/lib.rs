//! The head of the sidecar, and what its lanes make documents from: all that runs for every line.
//!
//! ```text
//! in-tail ─▶ Head: framer ─▶ decoder ─▶ ledger ─▶ order ─▶ verdict log
//!                    │          └▶ Recent ─┐                    │
//!                    └─▶ Counting ─▶ /metrics                   ▼
//!                                          └────────▶ FileDocuments ─▶ one lane each
//! ```
//!
//! | module | is |
//! |---|---|
//! | `head` | one reader at the newest data, from chunks of files to entries of the verdict log |
//! | `documents` | from an entry of the verdict log back to a document |
//! | `origin` | what is constant for the documents of one container |
//! | `counting`, `metrics` | what is counted on the way, exactly once over restarts |
//! | `requests`, `remembered` | requests that end: their documents, and how they are counted |
//! | `ledger` | the ledger as the parts of the sidecar share it |
//!
//! Deliberately knows no socket, no destination and no settings, and reads no clock: it is told the
//! time. It is a crate of its own because what runs for every line is compiled for speed, and the
//! program around it for size ([ADR 5](../../docs/adr/0005-hot-and-cold-code.md)).

mod counting;
mod documents;
mod flaws;
mod head;
mod ledger;
mod metrics;
mod origin;
mod readable;
mod remembered;
mod requests;

pub use counting::Counting;
pub use documents::FileDocuments;
pub use flaws::Flaws;
pub use head::{Head, Parts, WAITING_MAX};
pub use ledger::SharedLedger;
pub use metrics::{CallFeed, DependencyCalls};
pub use origin::Origins;
pub use requests::Listener;
