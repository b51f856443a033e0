//! Jaeger: where a person's trace has to be found. Its query interface is served; the pages are not
//! part of its module.

use std::path::Path;

use anyhow::Result;

use super::go::{Go, Module};
use super::recipe;

/// Jaeger 2.13, whose module counts as 1.76. It is a distribution of the OpenTelemetry Collector.
pub(super) const MODULE: Module = Module {
    path: "github.com/jaegertracing/jaeger",
    version: "v1.76.0",
    files: "h1:sWCOOF1dr+NL0PLil7mFo3BqqQL8k4WiM7aguFbc14g=",
    manifest: "h1:hqcuJlLDTv7G2x5eFd/BhwcPdLxj3N+90aKhIzdOcKo=",
};

/// Installs `<dir>/jaeger/jaeger`.
pub(crate) fn install(dir: &Path) -> Result<()> {
    let text = format!("{MODULE:?}");
    recipe::make(&dir.join("jaeger"), &text, |folder| {
        let go = Go::find(dir)?;
        let source = folder.join("source");
        go.fetch(&MODULE, &source)?;
        go.build(&source, "./cmd/jaeger", &[], &folder.join("jaeger"))?;
        recipe::clear(&source)
    })
}
