//! Images of one program, as archives that containerd reads.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

/// What holds the namespaces of a pod.
pub(super) const PAUSE: &str = "localhost/pause:1";

/// Writes the images of what is installed in `programs` into `folder`.
pub(super) fn write_own(folder: &Path, programs: &Path) -> Vec<PathBuf> {
    let all = [("pause", PAUSE), ("application", super::Node::APPLICATION)];
    let each = all.map(|(name, image)| {
        let path = folder.join(format!("{name}.tar"));
        write(&path, image, name, &programs.join(name));
        path
    });
    each.to_vec()
}

#[expect(clippy::expect_used, reason = "a test panics where it fails")]
fn write(path: &Path, image: &str, name: &str, program: &Path) {
    let program = fs::read(program).expect("read a program");
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, name, &program, 0o755);
    let layer = layer.into_inner().expect("end a layer");
    let digest = hex(&layer);
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Entrypoint": [format!("/{name}")]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    })
    .to_string();
    let config_name = format!("{}.json", hex(config.as_bytes()));
    let layer_name = format!("{digest}.tar");
    let manifest = json!([{"Config": config_name, "RepoTags": [image], "Layers": [layer_name]}]);
    let mut archive = tar::Builder::new(File::create(path).expect("create an image"));
    for (name, content) in [
        (&config_name, config.as_bytes()),
        (&layer_name, &layer),
        (&"manifest.json".to_owned(), manifest.to_string().as_bytes()),
    ] {
        append(&mut archive, name, content, 0o644);
    }
    archive.finish().expect("end an image");
}

#[expect(clippy::expect_used, reason = "a test panics where it fails")]
fn append(archive: &mut tar::Builder<impl std::io::Write>, name: &str, content: &[u8], mode: u32) {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_size(u64::try_from(content.len()).expect("a size"));
    archive
        .append_data(&mut header, name, content)
        .expect("write an image");
}

fn hex(content: &[u8]) -> String {
    const_hex::encode(Sha256::digest(content))
}
