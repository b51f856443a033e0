//! An image as one file, made without a daemon and always the same from the same input.
//!
//! The file is an OCI image layout in a tar archive, with the one file more that `docker load` reads:
//!
//! | entry | is |
//! |---|---|
//! | `blobs/sha256/<digest>` | the layer (gzip), the configuration, the manifest |
//! | `index.json` | the list of manifests: one, with its platform and its names |
//! | `manifest.json` | the same image as Docker's own archives say it |
//! | `oci-layout` | the version of the layout |
//!
//! What could differ between two runs is fixed: in an archive folders come first and all stand in the
//! order of their names, belong to user 0 and have time 0; the layer is compressed at one level, by a
//! library that the lock file pins and that does the same on every processor.
//! Only `created` is a time, and it is an argument.

use std::io::Write;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// User and group of the process, neither root nor anybody's.
pub(super) const USER: &str = "65532:65532";
/// Where system roots are looked for.
pub(super) const ROOTS: &str = "etc/ssl/certs/ca-certificates.crt";

const OPERATING_SYSTEM: &str = "linux";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// The byte in gzip's header that names the system; 255 is not known.
const NO_SYSTEM: u8 = 255;

/// What an image says about itself, besides its files.
#[derive(Clone, Debug)]
pub(super) struct Description {
    /// Name of the program, and of the image without registry.
    pub(super) name: String,
    /// One sentence.
    pub(super) summary: String,
    /// Version of the program.
    pub(super) version: String,
    /// The commit it was built from, where that is known.
    pub(super) revision: Option<String>,
    /// SPDX expression.
    pub(super) licence: String,
    /// RFC 3339.
    pub(super) created: String,
    /// Registry and folder in front of the name, or nothing.
    pub(super) repository: Option<String>,
    /// What follows the name.
    pub(super) tag: String,
    /// The machine, by its name in images.
    pub(super) architecture: String,
}

/// A file of an image; its folders are made with it.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// Path without a leading slash.
    pub(super) path: String,
    /// Its bytes.
    pub(super) content: Vec<u8>,
    /// Whether it is a program.
    pub(super) is_executable: bool,
}

/// A finished image.
#[derive(Debug)]
pub(super) struct Image {
    /// The archive.
    pub(super) archive: Vec<u8>,
    /// Digest of the manifest: what the image is called in a registry, for good.
    pub(super) digest: String,
    /// What a registry holds of it: manifest, configuration and compressed layer.
    pub(super) bytes: u64,
}

impl Description {
    /// The name one gives to pull it.
    pub(super) fn reference(&self) -> String {
        let (name, tag) = (&self.name, &self.tag);
        match &self.repository {
            Some(repository) => format!("{repository}/{name}:{tag}"),
            None => format!("{name}:{tag}"),
        }
    }

    /// The name that container runtimes complete a short one to.
    fn full_reference(&self) -> String {
        let reference = self.reference();
        match &self.repository {
            Some(_) => reference,
            None => format!("docker.io/library/{reference}"),
        }
    }

    /// The labels of the image, which are the annotations of its manifest, too.
    fn labels(&self) -> Value {
        let mut labels = json!({
            "org.opencontainers.image.created": self.created,
            "org.opencontainers.image.description": self.summary,
            "org.opencontainers.image.licenses": self.licence,
            "org.opencontainers.image.title": self.name,
            "org.opencontainers.image.version": self.version,
        });
        if let (Some(labels), Some(revision)) = (labels.as_object_mut(), &self.revision) {
            labels.insert(
                "org.opencontainers.image.revision".to_owned(),
                json!(revision),
            );
        }
        labels
    }
}

/// Makes an image of `files`, with the program `/<name>` as its entry point.
pub(super) fn pack(description: &Description, files: &[File]) -> Result<Image> {
    let layer = layer(files)?;
    let compressed = compress(&layer)?;
    let config = bytes_of(&json!({
        "architecture": description.architecture,
        "config": {
            "Entrypoint": [format!("/{}", description.name)],
            "Labels": description.labels(),
            "User": USER,
            "WorkingDir": "/",
        },
        "created": description.created,
        "history": [{
            "created": description.created,
            "created_by": "cargo xtask dist",
        }],
        "os": OPERATING_SYSTEM,
        "rootfs": { "diff_ids": [digest(&layer)], "type": "layers" },
    }))?;
    let manifest = bytes_of(&json!({
        "annotations": description.labels(),
        "config": descriptor(CONFIG_TYPE, &config),
        "layers": [descriptor(LAYER_TYPE, &compressed)],
        "mediaType": MANIFEST_TYPE,
        "schemaVersion": 2,
    }))?;
    let bytes = manifest.len() + config.len() + compressed.len();
    Ok(Image {
        digest: digest(&manifest),
        bytes: u64::try_from(bytes)?,
        archive: archive(description, config, compressed, manifest)?,
    })
}

/// The layout around the three blobs.
fn archive(
    description: &Description,
    config: Vec<u8>,
    layer: Vec<u8>,
    manifest: Vec<u8>,
) -> Result<Vec<u8>> {
    let mut listed = descriptor(MANIFEST_TYPE, &manifest);
    if let Some(listed) = listed.as_object_mut() {
        let names = json!({
            "io.containerd.image.name": description.full_reference(),
            "org.opencontainers.image.ref.name": description.tag,
        });
        let platform = json!({
            "architecture": description.architecture,
            "os": OPERATING_SYSTEM,
        });
        listed.insert("annotations".to_owned(), names);
        listed.insert("platform".to_owned(), platform);
    }
    let index = json!({ "manifests": [listed], "mediaType": INDEX_TYPE, "schemaVersion": 2 });
    let docker = json!([{
        "Config": blob(&config),
        "Layers": [blob(&layer)],
        "RepoTags": [description.reference()],
    }]);
    let plain = |path: String, content| File {
        path,
        content,
        is_executable: false,
    };
    let files = [
        plain("index.json".to_owned(), bytes_of(&index)?),
        plain("manifest.json".to_owned(), bytes_of(&docker)?),
        plain(
            "oci-layout".to_owned(),
            bytes_of(&json!({ "imageLayoutVersion": "1.0.0" }))?,
        ),
        plain(blob(&config), config),
        plain(blob(&layer), layer),
        plain(blob(&manifest), manifest),
    ];
    tar(&files)
}

/// The file system.
fn layer(files: &[File]) -> Result<Vec<u8>> {
    tar(files)
}

/// A tar archive of `files` and their folders, in the order of their names.
fn tar(files: &[File]) -> Result<Vec<u8>> {
    let mut folders: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let ends = file.path.match_indices('/').map(|(at, _)| at);
            ends.filter_map(|end| file.path.get(..=end))
        })
        .map(str::to_owned)
        .collect();
    folders.sort();
    folders.dedup();
    let mut files: Vec<&File> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut builder = tar::Builder::new(Vec::new());
    for folder in folders {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        builder
            .append_data(&mut header, &folder, [].as_slice())
            .with_context(|| format!("archive {folder}"))?;
    }
    for file in files {
        let mode = if file.is_executable { 0o755 } else { 0o644 };
        let bytes = u64::try_from(file.content.len())?;
        let mut header = header(tar::EntryType::Regular, mode, bytes);
        builder
            .append_data(&mut header, &file.path, file.content.as_slice())
            .with_context(|| format!("archive {}", file.path))?;
    }
    builder.into_inner().context("end an archive")
}

fn header(kind: tar::EntryType, mode: u32, bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .operating_system(NO_SYSTEM)
        .write(Vec::new(), Compression::best());
    encoder.write_all(bytes).context("compress the layer")?;
    encoder.finish().context("compress the layer")
}

/// What names a blob and says what it is.
fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "digest": digest(content), "mediaType": media_type, "size": content.len() })
}

/// `sha256:` and the digest in hexadecimal form.
pub(super) fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex(content))
}

/// The SHA-256 digest in hexadecimal form.
pub(super) fn hex(content: &[u8]) -> String {
    const_hex::encode(Sha256::digest(content))
}

/// Where a blob is in the layout.
fn blob(content: &[u8]) -> String {
    format!("blobs/sha256/{}", hex(content))
}

fn bytes_of(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("write JSON")
}
