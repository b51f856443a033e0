//! What runs in the pod of `verify`: one line in the form of EMCO's services, then nothing.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::serve::stop_on_signals;

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
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .context("cannot write to stdout")?;
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    runtime.block_on(async {
        stop_on_signals()?.cancelled().await;
        Ok(())
    })
}
