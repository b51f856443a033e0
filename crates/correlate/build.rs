//! Compresses the call map, one text for each service, so that what a service does not need is
//! neither large in the binary nor ever in memory.
//!
//! Writes `sections.rs`, an array of `(name, compressed text, length of the text)` in order of
//! names, to the folder that cargo names.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use flate2::Compression;
use flate2::write::DeflateEncoder;

const TABLE: &str = "data/callmap.tsv";

#[expect(clippy::disallowed_methods, reason = "a file of ours")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={TABLE}");
    let table = fs::read_to_string(TABLE)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut sections = String::from("[\n");
    let table = table.strip_prefix("service\t").unwrap_or_default();
    for section in table.split("\nservice\t") {
        let name = section.lines().next().unwrap_or_default();
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(section.as_bytes())?;
        fs::write(out.join(name), encoder.finish()?)?;
        let length = section.len();
        writeln!(
            sections,
            "    ({name:?}, include_bytes!({name:?}), {length}),"
        )?;
    }
    sections.push_str("]\n");
    fs::write(out.join("sections.rs"), sections)?;
    Ok(())
}
