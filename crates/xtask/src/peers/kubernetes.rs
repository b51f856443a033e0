//! The API server of Kubernetes with its etcd and its controllers, in one program: objects are
//! validated, admitted and stored as in any cluster. There is no node, so nothing runs. A second
//! program is what a node runs; it is built only where somebody asks for it.
//!
//! It is built among the sources of Kubernetes. Their `go.mod` takes the libraries that Kubernetes
//! publishes as modules of their own from a folder that a module does not bring along; here it takes
//! the published ones of the same version, which `go.sum` beside each `main.go` pins.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::go::{Go, Module};
use super::recipe;
use crate::workspace;

const MODULE: Module = Module {
    path: "k8s.io/kubernetes",
    version: "v1.34.4",
    files: "h1:Yy6R4QB8C9kJPp25GFqEvX5XQwY5qzKeqD0Xx6oAcmk=",
    manifest: "h1:m6pZk6a179pRo2wsTiCPORJ86iOEQmfIzUvtyEF8BwA=",
};
/// The libraries' version for it.
const LIBRARIES: &str = "v0.34.4";
/// What etcd's server needs and its library for clients does not.
const MORE: &str = "\nrequire github.com/golang/groupcache v0.0.0-20210331224755-41bb18bfe9da
require github.com/grpc-ecosystem/go-grpc-middleware v1.3.0\n";
/// Who keeps the version that clients are told.
const TOLD_BY: [&str; 2] = [
    "k8s.io/component-base/version",
    "k8s.io/client-go/pkg/version",
];
/// What serves the API.
const SERVERS: Parts = Parts {
    peer: "kubernetes",
    main: include_str!("../../peers/kubernetes/main.go"),
    more: &[],
    sums: include_str!("../../peers/kubernetes/go.sum"),
    names: &["etcd", "kube-apiserver", "kube-controller-manager"],
};
/// What runs pods.
const NODE: Parts = Parts {
    peer: "node",
    main: include_str!("../../peers/node/main.go"),
    more: &[
        (
            "application",
            include_str!("../../peers/node/application.go"),
        ),
        ("pause", include_str!("../../peers/node/pause.go")),
    ],
    sums: concat!(
        include_str!("../../peers/kubernetes/go.sum"),
        include_str!("../../peers/node/go.sum"),
    ),
    names: &["kube-proxy", "kube-scheduler", "kubelet"],
};

/// Parts of Kubernetes that are one program.
struct Parts {
    /// The folder in which it is installed, and the program's own name.
    peer: &'static str,
    /// What it does under which name.
    main: &'static str,
    /// Small programs beside it.
    more: &'static [(&'static str, &'static str)],
    /// What pins libraries that the module's own `go.sum` does not.
    sums: &'static str,
    /// By what names it is called.
    names: &'static [&'static str],
}

/// Installs `<dir>/kubernetes/{etcd,kube-apiserver,kube-controller-manager}`.
pub(crate) fn install(dir: &Path) -> Result<()> {
    SERVERS.install(dir)
}

/// Installs `<dir>/node/{kube-proxy,kube-scheduler,kubelet}`, and beside them what runs in pods:
/// `pause` and `application`.
pub(crate) fn install_node(dir: &Path) -> Result<()> {
    NODE.install(dir)
}

impl Parts {
    fn install(&self, dir: &Path) -> Result<()> {
        let Self {
            peer,
            main,
            more,
            sums,
            names,
        } = self;
        let all: String = more.iter().map(|(_, text)| *text).collect();
        let text = format!("{MODULE:?}{LIBRARIES}{MORE}{main}{sums}{TOLD_BY:?}{names:?}{all}");
        recipe::make(&dir.join(peer), &text, |folder| {
            let go = Go::find(dir)?;
            let source = folder.join("source");
            go.fetch(&MODULE, &source)?;
            recipe::write(&source.join("cmd/peer/main.go"), main)?;
            let manifest = source.join("go.mod");
            let published = published(&workspace::read_text(&manifest)?)?;
            recipe::write(&manifest, &(published + MORE))?;
            File::options()
                .append(true)
                .open(source.join("go.sum"))
                .and_then(|mut file| file.write_all(sums.as_bytes()))
                .context("add to go.sum")?;
            go.build(&source, "./cmd/peer", &told(), &folder.join(peer))?;
            for (name, text) in *more {
                recipe::write(&source.join(format!("cmd/{name}/main.go")), text)?;
                go.build(&source, &format!("./cmd/{name}"), &[], &folder.join(name))?;
            }
            for name in *names {
                symlink(peer, folder.join(name)).with_context(|| format!("name {name}"))?;
            }
            recipe::clear(&source)
        })
    }
}

/// The `go.mod` of Kubernetes with the published libraries.
fn published(manifest: &str) -> Result<String> {
    let lines = manifest
        .lines()
        .filter(|line| !line.contains(" => ./staging/"))
        .map(|line| match line.strip_suffix(" v0.0.0") {
            Some(library) => format!("{library} {LIBRARIES}\n"),
            None => format!("{line}\n"),
        });
    let text: String = lines.collect();
    ensure!(
        text.contains(&format!("k8s.io/api {LIBRARIES}\n")) && !text.contains("=> ./"),
        "the go.mod of {} is not as it was",
        MODULE.path
    );
    Ok(text)
}

/// What the linker is told of the version.
fn told() -> Vec<(String, String)> {
    let version = MODULE.version;
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next(), numbers.next());
    let told = [
        ("gitVersion", version),
        ("gitMajor", major.unwrap_or_default()),
        ("gitMinor", minor.unwrap_or_default()),
    ];
    let each = TOLD_BY.iter().flat_map(|package| {
        told.map(|(name, value)| (format!("{package}.{name}"), value.to_owned()))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_taken_as_published() {
        let manifest = "require (\n\tk8s.io/api v0.0.0\n\tk8s.io/utils v0.0.0-20250604170112-4c\n)\n\
                        replace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n";
        assert_eq!(
            published(manifest).unwrap(),
            "require (\n\tk8s.io/api v0.34.4\n\tk8s.io/utils v0.0.0-20250604170112-4c\n)\n\
             replace (\n)\n"
        );
        published("require k8s.io/api v0.0.0\n\nreplace k8s.io/api => ./other\n").unwrap_err();
    }

    #[test]
    fn versions_belong_together() {
        assert_eq!(
            LIBRARIES.trim_start_matches("v0."),
            MODULE.version.trim_start_matches("v1.")
        );
        assert!(
            SERVERS
                .sums
                .contains(&format!("k8s.io/api {LIBRARIES} h1:"))
        );
        let told = told();
        let minor = told.iter().find(|(name, _)| name.ends_with(".gitMinor"));
        assert_eq!(minor.unwrap().1, "34");
        assert_eq!(told.len(), 6);
    }
}
