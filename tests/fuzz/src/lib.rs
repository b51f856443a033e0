//! One fuzz target for each reader of foreign bytes.
//!
//! A target takes any bytes and panics if a promise of the product does not hold for them. It is run
//! in two ways:
//!
//! | how | what |
//! |---|---|
//! | `cargo xtask fuzz` | libFuzzer looks for inputs that break a promise, in an instrumented build |
//! | `cargo nextest run -p fuzz` | `seeds/` (small inputs of our own) and `regressions/` (what was found, made small) are replayed, in the ordinary build |
//!
//! | target | reads | promises |
//! |---|---|---|
//! | `framer` | container log files | each byte is in exactly one record; the cut into chunks does not matter; a record can be read again from its extents |
//! | `decoder` | one line in any dialect | fields are valid text and come once; both encodings are valid and say the same; what no dialect claims is whole |
//! | `secrets` | a line around a planted secret | no output has it |
//! | `spans` | a body of spans | taken exactly when it is an array of objects; the spans in it are those a JSON parser sees; the cut into frames does not matter |
//! | `journal` | a journal record | shown exactly when it holds whole spans |
//! | `traces` | a body of spans with a planted secret | each span is exported once, nothing exported has the secret |
//! | `spool` | damaged segments | what lies before the damage, or in other segments, is there and as it was |
//! | `verdict_log` | a damaged verdict log | no entry is another than was written; what a lane will not see is not covered, so that it is read again |
//! | `verdict_batch` | foreign batches and checkpoints with right checksums | they are judged, and the log goes on |
//! | `dead_letters` | foreign letters with right checksums | each is shown |
//! | `plain_state` | the state file of plain files | the files are read whole all the same |
//! | `forward` | what a forward receiver says | a batch is delivered only if its own chunk was acknowledged; each batch has one answer |
//! | `bulk` | the answer to a bulk request | an item is delivered only if its status says so |
//! | `manifests` | manifests of pods, as YAML or JSON | what gets a sidecar has just that the second time, and without it is what it was |
//! | `hub` | requests to the hub, the gateway's access log | all facts and lines are counted; a sidecar cannot say whose a trace is |
//!
//! It knows the crates only through what they offer to everybody.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what is not as it should be has to panic: that is a finding"
)]

mod folder;
mod input;
mod render;
mod targets;

/// A reader under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name; its inputs are in folders of this name.
    pub name: &'static str,
    /// Reads `data` and checks what it promises.
    pub run: fn(data: &[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target("framer", targets::framer::run),
    target("decoder", targets::decoder::run),
    target("secrets", targets::secrets::run),
    target("spans", targets::spans::run),
    target("journal", targets::journal::run),
    target("traces", targets::traces::run),
    target("spool", targets::spool::run),
    target("verdict_log", targets::verdict_log::run),
    target("verdict_batch", targets::verdict_batch::run),
    target("dead_letters", targets::dead_letters::run),
    target("plain_state", targets::plain_state::run),
    target("forward", targets::forward::run),
    target("bulk", targets::bulk::run),
    target("hub", targets::hub::run),
    target("manifests", targets::manifests::run),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
