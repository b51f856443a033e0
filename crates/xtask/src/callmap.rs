//! Makes the ledger's call map: `crates/correlate/data/callmap.tsv` from the static analysis of
//! EMCO's call graph (JSON, beside the workspace like the recordings).
//!
//! The table's format is described where it is read, in `crates/correlate/src/callmap.rs`. What the
//! analysis calls `msg`, levels, keys and positions is left out; sets of indices become bit masks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{say, workspace};

/// The table, inside the repository.
pub(crate) const OUTPUT: &str = "crates/correlate/data/callmap.tsv";
/// The analysis, beside the workspace.
const INPUT: &str = "../shared/reference/emco-callmap.json";

/// gRPC methods that goroutines call according to the analysis, but only for the request that waits
/// for them.
const NOT_LOOSE: [&str; 1] = ["installapp/InstallApp"];
/// gRPC methods that are called outside any request although the analysis cannot see it.
const LOOSE: [&str; 1] = ["readyNotify/Alert"];

#[derive(Debug, Deserialize)]
struct Analysis {
    services: BTreeMap<String, Service>,
}

#[derive(Debug, Deserialize)]
struct Service {
    entries: Vec<Entry>,
    #[serde(rename = "async")]
    roots: BTreeMap<String, Root>,
    sites: Vec<Site>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    kind: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Root {
    id: u32,
    kind: String,
    started_by: Vec<u32>,
    direct: Option<Vec<u32>>,
    joined: bool,
    background: bool,
    calls: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Site {
    file: String,
    line: u32,
    func: String,
    via: Option<String>,
    msg: Option<String>,
    fmt: bool,
    http: Vec<u32>,
    grpc: Vec<u32>,
    #[serde(rename = "async")]
    asyncs: Vec<u32>,
    background: Vec<u32>,
    startup: bool,
}

impl Root {
    /// Whether the request that starts it waits for its end.
    fn is_awaited(&self) -> bool {
        let starters = self.direct.as_ref().unwrap_or(&self.started_by);
        self.joined && !starters.is_empty()
    }
}

/// Writes the table.
pub(crate) fn run() -> Result<ExitCode> {
    let root = workspace::root();
    let table = make(&root)?.with_context(|| format!("{INPUT} is not there"))?;
    let path = root.join(OUTPUT);
    std::fs::write(&path, &table).with_context(|| format!("write {}", path.display()))?;
    say::note(format_args!("{OUTPUT}: {} lines", table.lines().count()));
    Ok(ExitCode::SUCCESS)
}

/// The table's text; nothing if the analysis is not on this machine.
pub(crate) fn make(root: &Path) -> Result<Option<String>> {
    let path = root.join(INPUT);
    if !path.is_file() {
        return Ok(None);
    }
    let analysis = workspace::read_text(&path)?;
    let analysis: Analysis =
        serde_json::from_str(&analysis).with_context(|| format!("understand {INPUT}"))?;
    Ok(Some(table(&analysis)?))
}

fn table(analysis: &Analysis) -> Result<String> {
    let loose = loose(analysis);
    let mut out = String::with_capacity(512 * 1024);
    for (name, service) in &analysis.services {
        writeln!(out, "service\t{name}")?;
        for Entry { kind, name } in &service.entries {
            let is_loose = kind == "grpc" && loose.contains(name.as_str());
            let kind = if is_loose { "loose" } else { kind };
            writeln!(out, "e\t{kind}\t{name}")?;
        }
        write_roots(&mut out, service)?;
        write_sites(&mut out, service)?;
    }
    Ok(out)
}

/// gRPC methods that goroutines call for which no request waits.
fn loose(analysis: &Analysis) -> BTreeSet<&str> {
    let roots = analysis.services.values().flat_map(|s| s.roots.values());
    let detached = roots.filter(|root| !root.is_awaited());
    let called = detached.flat_map(|root| root.calls.iter().map(String::as_str));
    called
        .filter(|name| !NOT_LOOSE.contains(name))
        .chain(LOOSE)
        .collect()
}

fn write_roots(out: &mut String, service: &Service) -> Result<()> {
    let mut roots: Vec<_> = service.roots.iter().collect();
    roots.sort_by_key(|(_, root)| root.id);
    for (name, root) in roots {
        let flags = match (root.background, root.is_awaited()) {
            (true, true) => "bj",
            (true, false) => "b",
            (false, true) => "j",
            (false, false) => "-",
        };
        let (id, kind, mask) = (root.id, &root.kind, mask(&root.started_by)?);
        writeln!(out, "a\t{id}\t{kind}\t{flags}\t{mask:x}\t{}", renamed(name))?;
    }
    Ok(())
}

fn write_sites(out: &mut String, service: &Service) -> Result<()> {
    let mut sites: Vec<_> = service.sites.iter().collect();
    sites.sort_by_key(|site| (&site.file, site.line, &site.func));
    for site in sites {
        let entries = mask(&site.http)? | mask(&site.grpc)?;
        writeln!(
            out,
            "s\t{}\t{}\t{}\t{}\t{entries:x}\t{:x}\t{:x}\t{}",
            site.file,
            site.line,
            renamed(&site.func),
            if site.startup { "u" } else { "-" },
            mask(&site.asyncs)?,
            mask(&site.background)?,
            text(site)
        )?;
    }
    Ok(())
}

fn mask(indices: &[u32]) -> Result<u128> {
    indices.iter().try_fold(0, |mask, index| {
        let bit = 1_u128.checked_shl(*index);
        Ok(mask | bit.with_context(|| format!("index {index} does not fit into a mask"))?)
    })
}

/// Go 1.21 renamed the literals of package variables.
fn renamed(function: &str) -> String {
    function.replace(".glob..func", ".init.func")
}

/// The constant beginning of a plain-text statement; `-` if it has none.
fn text(site: &Site) -> String {
    let message = site
        .via
        .as_ref()
        .and(site.msg.as_deref())
        .unwrap_or_default();
    let end = if site.fmt { message.find('%') } else { None };
    let constant = end.and_then(|end| message.get(..end)).unwrap_or(message);
    let line = constant.replace('\t', " ");
    let line = line.split('\n').next().unwrap_or_default();
    if line.trim().is_empty() {
        "-".to_owned()
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sets_become_masks_and_flags() {
        let analysis = json!({ "services": { "clm": {
            "entries": [
                { "kind": "http", "name": "GET /v2/a" },
                { "kind": "grpc", "name": "x/Called" },
                { "kind": "grpc", "name": "x/Other" },
            ],
            "async": {
                "m.glob..func1": { "id": 1, "kind": "go", "background": true, "calls": ["x/Called"] },
                "m.wait": { "id": 0, "kind": "errgroup", "started_by": [0], "joined": true, "calls": ["x/Other"] },
            },
            "sites": [
                { "file": "b.go", "line": 9, "func": "m.b", "startup": true },
                { "file": "a.go", "line": 2, "func": "m.a", "http": [0], "grpc": [2], "async": [1],
                  "via": "log", "msg": "Added\t%s to", "fmt": true },
            ],
        } } });
        let analysis = serde_json::from_value(analysis).unwrap();
        assert_eq!(
            table(&analysis).unwrap(),
            "service\tclm\n\
             e\thttp\tGET /v2/a\ne\tloose\tx/Called\ne\tgrpc\tx/Other\n\
             a\t0\terrgroup\tj\t1\tm.wait\na\t1\tgo\tb\t0\tm.init.func1\n\
             s\ta.go\t2\tm.a\t-\t5\t2\t0\tAdded \n\
             s\tb.go\t9\tm.b\tu\t0\t0\t0\t-\n"
        );
    }

    #[test]
    fn an_index_beyond_the_mask_is_an_error() {
        assert!(mask(&[0, 127]).is_ok());
        assert!(mask(&[128]).is_err());
    }
}
