//! Builds what ships: each program as a static binary, and as an image that holds nothing else.
//!
//! ```text
//! sources ─┬─▶ build ─▶ program ─┬─▶ image ─▶ archive ─▶ check, skopeo
//!          ├─▶ notices ──────────┘
//!          └─▶ sbom
//! ```
//!
//! All that is made lies in `target/images/`, with the digests of everything in `SHA256SUMS`. Nothing
//! is pushed and nothing signed: this part knows no registry and no key.

mod build;
mod check;
mod elf;
mod image;
mod notices;
mod sbom;
mod skopeo;
#[cfg(test)]
mod tests;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::{say, workspace};
use build::{PROGRAMS, Program, Target};
use image::{Description, File, Image};
use sbom::Graph;

pub(crate) use build::{given, sidecar};

/// Longest file with system roots, in bytes.
const ROOTS_BYTES_MAX: u64 = 4 << 20;

/// What `cargo xtask dist` is told.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Only this program and its image; may be repeated.
    #[arg(long = "program", value_name = "NAME", value_parser = program)]
    programs: Vec<Program>,
    /// Registry and folder in front of the images' names.
    #[arg(long, value_name = "PREFIX")]
    repository: Option<String>,
    /// Tag of the images.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
    /// PEM file with authorities that the programs trust where no `ca_file` is set.
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
}

fn program(name: &str) -> Result<Program> {
    let found = PROGRAMS.iter().find(|program| program.name == name);
    found.copied().with_context(|| {
        let names = PROGRAMS.map(|program| program.name);
        format!("there are {}", names.join(", "))
    })
}

/// Builds and reports.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let target = Target::choose();
    let seconds = build::seconds()?;
    let created = jiff::Timestamp::from_second(seconds)
        .with_context(|| format!("{seconds} is no time"))?
        .to_string();
    let folder = workspace::target().join("images");
    if folder.is_dir() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let output = Output { folder };
    let named = match args.programs.as_slice() {
        [] => &PROGRAMS,
        programs => programs,
    };
    for program in named {
        ship(args, *program, target, &created, &output)?;
    }
    output.sum()?;
    Ok(ExitCode::SUCCESS)
}

/// Makes everything of one program.
fn ship(
    args: &Args,
    program: Program,
    target: Target,
    created: &str,
    output: &Output,
) -> Result<()> {
    let built = build::build(program, target)?;
    let content = build::read(&built.path)?;
    let graph = Graph::of(program, target)?;
    let bill = sbom::make(program, target, &graph, &image::hex(&content), created)?;
    let notices = notices::make(&graph, target)?;
    let files = files(program, &content, &notices, args.roots.as_deref())?;
    let description = describe(args, program, created, &content)?;
    let image = image::pack(&description, &files)?;
    let stem = format!(
        "{}-{}-linux-{}",
        program.name, description.version, description.architecture
    );
    let archive = output.write(&format!("{stem}.tar"), &image.archive)?;
    output.write(&format!("{stem}.cdx.json"), &bill)?;
    output.write(&format!("{stem}.licenses.txt"), notices.as_bytes())?;
    output.write_program(&stem, &content)?;
    prove(program, &image, &archive)?;
    say::result(format_args!("{} {}", description.reference(), image.digest));
    say::result(format_args!(
        "  {}: image {} bytes, program {} bytes, static with {}",
        archive.display(),
        image.bytes,
        built.bytes,
        target.c_library(),
    ));
    Ok(())
}

fn describe(args: &Args, program: Program, created: &str, content: &[u8]) -> Result<Description> {
    let architecture = elf::Elf::parse(content)?.architecture;
    Ok(Description {
        name: program.name.to_owned(),
        summary: program.description.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: build::revision(),
        licence: env!("CARGO_PKG_LICENSE").to_owned(),
        created: created.to_owned(),
        repository: args.repository.clone(),
        tag: args.tag.clone(),
        architecture: architecture
            .context("images know no name for this machine")?
            .to_owned(),
    })
}

/// What is in an image: the program, licences, and roots if they are given.
fn files(
    program: Program,
    content: &[u8],
    notices: &str,
    roots: Option<&Path>,
) -> Result<Vec<File>> {
    let licence = workspace::read_text(&workspace::root().join("LICENSE"))?;
    let file = |path: &str, content: &[u8]| File {
        path: path.to_owned(),
        content: content.to_vec(),
        is_executable: false,
    };
    let mut files = vec![
        File {
            is_executable: true,
            ..file(program.name, content)
        },
        file("licenses/LICENSE", licence.as_bytes()),
        file("licenses/third-party.txt", notices.as_bytes()),
    ];
    if let Some(path) = roots {
        let content = workspace::read_bytes(path, ROOTS_BYTES_MAX)?;
        let is_pem = String::from_utf8_lossy(&content).contains("-----BEGIN CERTIFICATE-----");
        ensure!(is_pem, "{} has no certificate", path.display());
        files.push(file(image::ROOTS, &content));
    }
    Ok(files)
}

/// The image is whole, others can read it, and it is as small as promised.
fn prove(program: Program, image: &Image, archive: &Path) -> Result<()> {
    let checked =
        check::check(&image.archive).with_context(|| format!("check {}", archive.display()))?;
    ensure!(
        checked.digest == image.digest,
        "the image has another digest than its archive"
    );
    skopeo::read(archive, &image.digest)?;
    let bytes = image.bytes.max(checked.bytes_unpacked);
    if bytes > program.bytes_max {
        bail!(
            "the image of {} has {bytes} bytes, more than {}",
            program.name,
            program.bytes_max
        );
    }
    Ok(())
}

/// Where everything is written to.
struct Output {
    folder: PathBuf,
}

impl Output {
    fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    fn write_program(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.write(name, content)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o755))
            .with_context(|| format!("make {} executable", path.display()))
    }

    /// Writes the digest of each file, as `sha256sum --check` reads it.
    fn sum(&self) -> Result<()> {
        let mut lines = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            lines.push(format!(
                "{}  {}\n",
                image::hex(&build::read(&path)?),
                name.display()
            ));
        }
        lines.sort_by(|a, b| a.get(64..).cmp(&b.get(64..)));
        self.write("SHA256SUMS", lines.concat().as_bytes())
            .map(drop)
    }
}
