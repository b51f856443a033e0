//! Images are always the same, whole, and as others expect them; broken ones are found.

use std::io::Read;

use serde_json::Value;

use super::check::check;
use super::elf::tests::program;
use super::image::{Description, File, Image, digest, hex, pack};

const AMD64: u16 = 0x3e;
const LOADED: u32 = 1;
const INTERPRETER: u32 = 3;

fn description() -> Description {
    Description {
        name: "emco-thing".to_owned(),
        summary: "A thing".to_owned(),
        version: "1.2.3".to_owned(),
        revision: Some("0123456789ab".to_owned()),
        licence: "Apache-2.0".to_owned(),
        created: "2026-01-02T03:04:05Z".to_owned(),
        repository: None,
        tag: "1.2.3-rc1".to_owned(),
        architecture: "amd64".to_owned(),
    }
}

fn file(path: &str, content: &[u8], is_executable: bool) -> File {
    File {
        path: path.to_owned(),
        content: content.to_vec(),
        is_executable,
    }
}

fn files() -> Vec<File> {
    vec![
        file("emco-thing", &program(AMD64, LOADED), true),
        file("licenses/LICENSE", b"text", false),
        file(super::image::ROOTS, b"roots", false),
    ]
}

fn image() -> Image {
    pack(&description(), &files()).unwrap()
}

/// Names and contents of a tar archive, in its order.
fn entries(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (name, content)
    });
    entries.collect()
}

fn json(image: &Image, name: &str) -> Value {
    let entries = entries(&image.archive);
    let (_, content) = entries.iter().find(|(entry, _)| entry == name).unwrap();
    serde_json::from_slice(content).unwrap()
}

/// The archive after `change` had its way with names and contents.
fn changed(change: impl Fn(&str, Vec<u8>) -> Option<(String, Vec<u8>)>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries(&image().archive) {
        if name.ends_with('/') {
            continue;
        }
        if let Some((name, content)) = change(&name, content) {
            let mut header = tar::Header::new_ustar();
            header.set_size(u64::try_from(content.len()).unwrap());
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            builder
                .append_data(&mut header, name, content.as_slice())
                .unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn problem(archive: &[u8]) -> String {
    format!("{:#}", check(archive).unwrap_err())
}

#[test]
fn the_same_input_makes_the_same_bytes_in_any_order_of_files() {
    let mut reversed = files();
    reversed.reverse();
    let again = pack(&description(), &reversed).unwrap();
    assert_eq!(image().archive, again.archive);
    assert_eq!(image().digest, again.digest);
    let mut other = description();
    other.created = "2026-01-02T03:04:06Z".to_owned();
    assert_ne!(pack(&other, &files()).unwrap().digest, again.digest);
}

/// The digest is what operators pin: neither a compiler nor a library may change it unnoticed.
#[test]
fn the_digest_of_a_fixed_image_is_known() {
    assert_eq!(
        image().digest,
        "sha256:ed928755058023c6e0326d69e54c3c2c0fcbc73dee1182d25b39ec63bd6f019d"
    );
}

#[test]
fn an_image_is_what_its_parts_say() {
    let image = image();
    let checked = check(&image.archive).unwrap();
    assert_eq!(checked.digest, image.digest);
    assert_eq!(
        checked.files,
        [
            "emco-thing",
            "etc/ssl/certs/ca-certificates.crt",
            "licenses/LICENSE"
        ]
    );
}

#[test]
fn names_are_there_for_each_reader() {
    let image = image();
    let index = json(&image, "index.json");
    let listed = &index["manifests"][0];
    let names = &listed["annotations"];
    assert_eq!(names["org.opencontainers.image.ref.name"], "1.2.3-rc1");
    assert_eq!(
        names["io.containerd.image.name"],
        "docker.io/library/emco-thing:1.2.3-rc1"
    );
    assert_eq!(
        json(&image, "manifest.json")[0]["RepoTags"][0],
        "emco-thing:1.2.3-rc1"
    );
    let mut description = description();
    description.repository = Some("registry.example:5000/emco".to_owned());
    let image = pack(&description, &files()).unwrap();
    let expected = "registry.example:5000/emco/emco-thing:1.2.3-rc1";
    let index = json(&image, "index.json");
    let names = &index["manifests"][0]["annotations"];
    assert_eq!(names["io.containerd.image.name"], expected);
    assert_eq!(json(&image, "manifest.json")[0]["RepoTags"][0], expected);
}

#[test]
fn the_configuration_runs_the_program_as_nobody() {
    let image = image();
    let manifest = json(&image, &format!("blobs/sha256/{}", &image.digest[7..]));
    let named = manifest["config"]["digest"].as_str().unwrap();
    let config = json(&image, &format!("blobs/sha256/{}", &named[7..]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"][0], "/emco-thing");
    let labels = &config["config"]["Labels"];
    assert_eq!(labels, &manifest["annotations"]);
    assert_eq!(labels["org.opencontainers.image.revision"], "0123456789ab");
    assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");
}

#[test]
fn programs_that_could_not_run_in_the_image_are_refused() {
    let with = |files: &[File]| problem(&pack(&description(), files).unwrap().archive);
    let dynamic = program(AMD64, INTERPRETER);
    assert_eq!(
        with(&[file("emco-thing", &dynamic, true)]),
        "/emco-thing needs libraries, the image has none"
    );
    let other = program(0xb7, LOADED);
    assert_eq!(
        with(&[file("emco-thing", &other, true)]),
        "/emco-thing is for another machine than the image"
    );
    let plain = program(AMD64, LOADED);
    assert_eq!(
        with(&[file("emco-thing", &plain, false)]),
        "/emco-thing has mode 644"
    );
    assert_eq!(
        with(&[file("other", &plain, true)]),
        "/emco-thing is not in the image"
    );
}

#[test]
fn archives_that_are_not_whole_are_refused() {
    let image = image();
    let manifest = format!("blobs/sha256/{}", &image.digest[7..]);
    let without = |gone: &str| {
        problem(&changed(|name, content| {
            (name != gone).then(|| (name.to_owned(), content))
        }))
    };
    for name in ["index.json", "manifest.json", "oci-layout", &manifest] {
        assert_eq!(without(name), format!("{name} is missing"));
    }
    let flipped = problem(&changed(|name, mut content| {
        if name == manifest {
            content[0] ^= 1;
        }
        Some((name.to_owned(), content))
    }));
    assert_eq!(flipped, format!("{manifest} has another digest"));
    let extra = changed(|name, content| {
        let name = if name == "oci-layout" { "more" } else { name };
        Some((name.to_owned(), content))
    });
    assert_eq!(problem(&extra), "oci-layout is missing");
    assert!(check(&image.archive[..image.archive.len() / 2]).is_err());
    assert!(check(b"").is_err());
}

#[test]
fn digests_are_those_of_everybody() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex(b""), empty);
    assert_eq!(digest(b""), format!("sha256:{empty}"));
}
