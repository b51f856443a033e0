//! A real Elasticsearch node from its published jars: only the core, the HTTP transport and the
//! common part of its extensions are published, which is enough for indexing and searching.
//!
//! The jars are a test tool and never part of what is shipped.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::recipe;

const VERSION: &str = "8.19.21";
const ALL: &str = include_str!("../../peers/elasticsearch/all.xml");
const BASE: &str = include_str!("../../peers/elasticsearch/base.xml");
const LAUNCHER: &str = include_str!("../../peers/elasticsearch/EsLauncher.java");
const RUN: &str = include_str!("../../peers/elasticsearch/run.sh");
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

/// The modules that the node loads: name and plugin class.
const MODULES: [(&str, &str); 2] = [
    (
        "transport-netty4",
        "org.elasticsearch.transport.netty4.Netty4Plugin",
    ),
    ("x-pack-core", "org.elasticsearch.xpack.core.XPackPlugin"),
];

/// Installs into `<dir>/elasticsearch`: `classes`, `lib`, `home` and
/// `run.sh HTTP_PORT DATA_DIR TRANSPORT_PORT [setting=value ...]`.
pub(crate) fn install(dir: &Path) -> Result<()> {
    let text = format!("{VERSION}{ALL}{BASE}{LAUNCHER}{RUN}{COPY}{MODULES:?}");
    recipe::make(&dir.join("elasticsearch"), &text, |folder| {
        jars(folder, "all.xml", ALL, "all")?;
        jars(folder, "base.xml", BASE, "lib")?;
        compile(folder)?;
        for (name, class) in MODULES {
            module(folder, name, class)?;
        }
        for empty in ["config", "plugins", "lib"] {
            let path = folder.join("home").join(empty);
            fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        }
        fs::remove_dir_all(folder.join("all")).context("remove the jars that were sorted")?;
        let run = folder.join("run.sh");
        recipe::write(&run, RUN)?;
        File::open(&run)
            .and_then(|file| file.set_permissions(PermissionsExt::from_mode(0o755)))
            .with_context(|| format!("make {} executable", run.display()))
    })
}

/// Has Maven copy what the project `pom` depends on into `target`.
fn jars(folder: &Path, name: &str, pom: &str, target: &str) -> Result<()> {
    recipe::write(&folder.join(name), pom)?;
    recipe::step(
        "fetch the jars of Elasticsearch",
        Command::new("mvn")
            .args(["-B", "-q", "-f", name, COPY])
            .arg(format!(
                "-DoutputDirectory={}",
                folder.join(target).display()
            ))
            .current_dir(folder),
    )
}

fn compile(folder: &Path) -> Result<()> {
    recipe::write(&folder.join("EsLauncher.java"), LAUNCHER)?;
    recipe::step(
        "compile the launcher of Elasticsearch",
        Command::new("javac")
            .args(["-cp", "all/*", "-d", "classes", "EsLauncher.java"])
            .current_dir(folder),
    )
}

/// Sorts what is not in `lib` into the module's folder and describes it to the node.
fn module(folder: &Path, name: &str, class: &str) -> Result<()> {
    let home = folder.join("home/modules").join(name);
    let descriptor = format!(
        "description=test peer\nname={name}\nversion={VERSION}\nclassname={class}\n\
         java.version=17\nelasticsearch.version={VERSION}\n"
    );
    recipe::write(&home.join("plugin-descriptor.properties"), &descriptor)?;
    for entry in fs::read_dir(folder.join("all")).context("list the jars of Elasticsearch")? {
        let jar = entry.context("list the jars of Elasticsearch")?;
        let file = jar.file_name().to_string_lossy().into_owned();
        let of_transport = file.starts_with("netty-") || file.starts_with("transport-netty4-");
        let wanted = of_transport == (name == "transport-netty4");
        let in_lib = folder.join("lib").join(&file).is_file();
        if wanted && !in_lib {
            fs::copy(jar.path(), home.join(&file)).with_context(|| format!("copy {file}"))?;
        }
    }
    Ok(())
}
