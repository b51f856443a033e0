//! Reads an image's archive back, knowing nothing of how it was made, and checks that each part is
//! what another part says it is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::elf::Elf;
use super::image::{USER, digest};

/// No archive and no layer is larger, in bytes.
const BYTES_MAX: u64 = 512 << 20;
const PROGRAM_MODE: u32 = 0o755;

/// What an archive holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// Digest of the manifest.
    pub(super) digest: String,
    /// Names of the files in the image.
    pub(super) files: Vec<String>,
    /// Length of the file system, unpacked.
    pub(super) bytes_unpacked: u64,
}

/// One entry of a tar archive.
#[derive(Debug)]
struct Entry {
    content: Vec<u8>,
    mode: u32,
}

type Entries = BTreeMap<String, Entry>;

/// Checks `archive`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(archive: &[u8]) -> Result<Checked> {
    let entries = read_tar(archive).context("read the archive")?;
    let layout = parse(content(&entries, "oci-layout")?)?;
    ensure!(
        layout.pointer("/imageLayoutVersion") == Some(&Value::from("1.0.0")),
        "oci-layout has another version"
    );
    let mut used = BTreeSet::from(["oci-layout", "index.json", "manifest.json"].map(str::to_owned));
    let index = parse(content(&entries, "index.json")?)?;
    let [listed] = list(&index, "/manifests")? else {
        bail!("index.json does not list one manifest");
    };
    let manifest = parse(described(&entries, listed, &mut used)?)?;
    let config = at(&manifest, "/config")?;
    let config = parse(described(&entries, config, &mut used)?)?;
    let [layer] = list(&manifest, "/layers")? else {
        bail!("the manifest does not have one layer");
    };
    let layer = decompress(described(&entries, layer, &mut used)?)?;
    let [diff_id] = list(&config, "/rootfs/diff_ids")? else {
        bail!("the configuration does not name one layer");
    };
    ensure!(
        diff_id.as_str() == Some(&digest(&layer)),
        "the layer is not the one of the configuration"
    );
    check_docker(&entries, &manifest)?;
    for name in entries.keys() {
        ensure!(used.contains(name), "nothing refers to {name}");
    }
    let files = check_files(&layer, &config, listed)?;
    Ok(Checked {
        digest: text(listed, "/digest")?.to_owned(),
        files,
        bytes_unpacked: u64::try_from(layer.len())?,
    })
}

/// Docker's list has to name the same blobs.
fn check_docker(entries: &Entries, manifest: &Value) -> Result<()> {
    let docker = parse(content(entries, "manifest.json")?)?;
    let config = path_of(text(manifest, "/config/digest")?)?;
    let layer = path_of(text(manifest, "/layers/0/digest")?)?;
    ensure!(
        text(&docker, "/0/Config")? == config && text(&docker, "/0/Layers/0")? == layer,
        "manifest.json names other blobs than the manifest"
    );
    text(&docker, "/0/RepoTags/0").map(drop)
}

/// The program is there, can be run by anybody, needs nothing that is not there, and is for the
/// machine that all parts name.
fn check_files(layer: &[u8], config: &Value, listed: &Value) -> Result<Vec<String>> {
    let entries = read_tar(layer).context("read the layer")?;
    ensure!(
        text(config, "/config/User")? == USER,
        "the image runs as {}",
        text(config, "/config/User")?
    );
    let entry_point = text(config, "/config/Entrypoint/0")?;
    let path = entry_point.trim_start_matches('/');
    let program = entries
        .get(path)
        .with_context(|| format!("{entry_point} is not in the image"))?;
    ensure!(
        program.mode == PROGRAM_MODE,
        "{entry_point} has mode {:o}",
        program.mode
    );
    let elf = Elf::parse(&program.content).with_context(|| format!("look at {entry_point}"))?;
    ensure!(
        elf.is_static,
        "{entry_point} needs libraries, the image has none"
    );
    for (part, name) in [
        (config, "/architecture"),
        (listed, "/platform/architecture"),
    ] {
        ensure!(
            elf.architecture == Some(text(part, name)?),
            "{entry_point} is for another machine than the image"
        );
    }
    Ok(entries.into_keys().collect())
}

/// All entries of a tar archive; names are unique, and time and owner are fixed.
fn read_tar(bytes: &[u8]) -> Result<Entries> {
    let mut entries = Entries::new();
    for entry in tar::Archive::new(bytes).entries()? {
        let mut entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned())?;
        let header = entry.header();
        ensure!(
            header.mtime()? == 0 && header.uid()? == 0 && header.gid()? == 0,
            "{name} has a time or an owner"
        );
        let mode = header.mode()?;
        let is_folder = header.entry_type().is_dir();
        let mut content = Vec::new();
        entry
            .by_ref()
            .take(BYTES_MAX)
            .read_to_end(&mut content)
            .with_context(|| format!("read {name}"))?;
        let known = entries.contains_key(&name);
        ensure!(!known, "{name} is there twice");
        if !is_folder {
            entries.insert(name, Entry { content, mode });
        }
    }
    Ok(entries)
}

fn decompress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(BYTES_MAX)
        .read_to_end(&mut content)
        .context("decompress the layer")?;
    Ok(content)
}

/// The blob that a descriptor names, if it has the digest and the size that the descriptor says.
fn described<'a>(
    entries: &'a Entries,
    descriptor: &Value,
    used: &mut BTreeSet<String>,
) -> Result<&'a [u8]> {
    let named = text(descriptor, "/digest")?;
    let path = path_of(named)?;
    let blob = content(entries, &path)?;
    ensure!(digest(blob) == named, "{path} has another digest");
    let size = at(descriptor, "/size")?.as_u64();
    ensure!(
        size == Some(u64::try_from(blob.len())?),
        "{path} has another size"
    );
    used.insert(path);
    Ok(blob)
}

fn path_of(digest: &str) -> Result<String> {
    let hex = digest
        .strip_prefix("sha256:")
        .with_context(|| format!("{digest} is not of SHA-256"))?;
    Ok(format!("blobs/sha256/{hex}"))
}

fn content<'a>(entries: &'a Entries, name: &str) -> Result<&'a [u8]> {
    let entry = entries
        .get(name)
        .with_context(|| format!("{name} is missing"))?;
    Ok(&entry.content)
}

fn parse(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).context("understand JSON")
}

fn at<'a>(value: &'a Value, pointer: &str) -> Result<&'a Value> {
    value
        .pointer(pointer)
        .with_context(|| format!("there is no {pointer}"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    at(value, pointer)?
        .as_str()
        .with_context(|| format!("{pointer} is no text"))
}

fn list<'a>(value: &'a Value, pointer: &str) -> Result<&'a [Value]> {
    let list = at(value, pointer)?.as_array();
    list.map(Vec::as_slice)
        .with_context(|| format!("{pointer} is no list"))
}
