//! How a lane gets the document of an entry.

use model::document::Document;

use crate::entry::Entry;

/// The text of an entry cannot be had any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry cannot be rendered: {label}")]
pub struct Lost {
    /// Bounded reason for metrics, e.g. `source_gone`.
    pub label: &'static str,
}

/// Makes documents from entries: re-reads the extents of a line from its file and decodes them.
pub trait Documents: Send + 'static {
    /// Shows the document of `entry` to `with`, exactly once, or says why there is none.
    fn document(
        &mut self,
        entry: Entry<'_>,
        with: &mut dyn FnMut(&Document<'_>),
    ) -> Result<(), Lost>;

    /// Called when the lane has caught up and will wait: a moment to give memory back.
    fn idle(&mut self) {}
}
