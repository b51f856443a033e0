//! The OpenTelemetry Collector with the parts the tests need: Zipkin and OTLP in; batches; OTLP and
//! files out.
//!
//! It is built among Jaeger's sources, whose module pins the Collector and all of its parts but the
//! exporter to files: what was compiled for the one is not compiled again for the other.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::go::{Go, Module};
use super::{jaeger, recipe};

const MAIN: &str = include_str!("../../peers/collector/main.go");

/// What Jaeger's module does not pin.
const MORE: [Module; 3] = [
    Module {
        path: "github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter",
        version: "v0.139.0",
        files: "h1:QJgMzOfN1LAsDx5mK8tmdxnARkmZIW14HHyL0mnH0w0=",
        manifest: "h1:alvQHqc6nmNM05X4kxX4PcTU6R6YdvTPohg42fDFeks=",
    },
    Module {
        path: "github.com/open-telemetry/opentelemetry-collector-contrib/internal/sharedcomponent",
        version: "v0.139.0",
        files: "h1:FOslvWsQFUrOwyA1demkHmpSO7AFw10gkWhGgsXiQI8=",
        manifest: "h1:YuaOyL8klYkHL6tDwv45tz+wwgBFL2iuoUz8Vxzk89E=",
    },
    Module {
        path: "gopkg.in/natefinch/lumberjack.v2",
        version: "v2.2.1",
        files: "h1:bBRl1b0OH9s/DuPhuXpNl+VtCaJXFZ5/uEFST95x9zc=",
        manifest: "h1:YD8tP3GAjkrDg1eZH7EGmyESg/lsYskCTPBJVb9jqSc=",
    },
];

/// Installs `<dir>/collector/collector`.
pub(crate) fn install(dir: &Path) -> Result<()> {
    let text = format!("{:?}{MORE:?}{MAIN}", jaeger::MODULE);
    recipe::make(&dir.join("collector"), &text, |folder| {
        let go = Go::find(dir)?;
        let source = folder.join("source");
        go.fetch(&jaeger::MODULE, &source)?;
        recipe::write(&source.join("cmd/collector/main.go"), MAIN)?;
        let requirements: String = MORE.iter().map(Module::requirement).collect();
        append(&source.join("go.mod"), &requirements)?;
        let sums: String = MORE.iter().map(Module::sums).collect();
        append(&source.join("go.sum"), &sums)?;
        go.build(&source, "./cmd/collector", &[], &folder.join("collector"))?;
        recipe::clear(&source)
    })
}

fn append(path: &Path, text: &str) -> Result<()> {
    File::options()
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(format!("\n{text}").as_bytes()))
        .with_context(|| format!("add to {}", path.display()))
}
