//! Our own authority and the certificate it signs: made, renewed and replaced without anybody's help.
//!
//! Both are in one Secret, which any replica may write; the API server refuses whoever did not see the
//! last state of it, so that no leader is needed. A new authority is published (in the webhook's
//! `caBundle` and in a ConfigMap for sidecars) before anything is signed by it, and the old one goes
//! after the last certificate it signed is out of use:
//!
//! ```text
//! authority 1  ├── signs ───────────────────────────┤ trusted ┤
//! authority 2                  ├ published, settles ┼── signs ─────────────
//! caBundle       1             │ 1 + 2                        │ 2
//! ```
//! | module | knows |
//! |---|---|
//! | `authority` | one authority, one certificate; no clock |
//! | `chain` | what is kept, and what is to be done when: pure |
//! | `secret` | the form in which a Secret keeps it |
//! | `keeper` | the Kubernetes API |

mod authority;
mod chain;
mod keeper;
mod secret;

pub use authority::Unusable;
pub use chain::{Chain, Policy};
pub use keeper::{Keeper, Names};
