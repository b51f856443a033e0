//! What runs in the pod of `verify`: one line in the form of EMCO's services, then nothing.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::process::{self, block_on, end_after};

/// Writes `text` as a line and waits for SIGTERM.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn say(text: &str) -> Result<()> {
    let line = json!({
        "SOURCE": "file[line.go:1] func[verify.Say]",
        "level": "info",
        "msg": text,
        "time": jiff::Timestamp::now().to_string(),
    });
    process::say(&mut std::io::stdout(), &format!("{line}\n"))?;
    block_on(async {
        end_after(Duration::ZERO)?.stop.cancelled().await;
        Ok(())
    })
}
