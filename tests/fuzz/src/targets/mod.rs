//! The targets; what each promises is said in the crate's header.

pub(crate) mod bulk;
pub(crate) mod dead_letters;
pub(crate) mod decoder;
pub(crate) mod forward;
pub(crate) mod framer;
pub(crate) mod hub;
pub(crate) mod journal;
pub(crate) mod manifests;
pub(crate) mod plain_state;
pub(crate) mod runtime;
pub(crate) mod secrets;
pub(crate) mod spans;
pub(crate) mod spool;
pub(crate) mod traces;
pub(crate) mod verdict_batch;
pub(crate) mod verdict_log;
