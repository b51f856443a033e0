//! The files of one container as they lie on disk, oldest first, and how each is recognised.

use std::io;
use std::path::{Path, PathBuf};

use model::ids::FileKey;

use crate::content::first_line;
use crate::disk::{Disk, Stat};
use crate::event::ContainerInfo;
use crate::identity::file_key;
use crate::names::{LogName, Order};

/// Most files of one plain path that are looked at, newest first: each is opened to recognise it.
const PLAIN_FILES_MAX: usize = 128;

/// One log file on disk.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) path: PathBuf,
    pub(crate) order: Order,
    pub(crate) gzip: bool,
    pub(crate) stat: Stat,
}

/// All log files of the container in the order in which they were written. `others` are plain files
/// of their own, never siblings.
pub(crate) fn list<D: Disk>(
    disk: &D,
    container: &ContainerInfo,
    others: &[PathBuf],
) -> io::Result<Vec<Listed>> {
    let mut listed = if container.is_cri() {
        list_cri(disk, &container.path)?
    } else {
        list_plain(disk, &container.path, others)?
    };
    // Of a rotated file that is there twice the plain form comes first.
    listed.sort_by(|a, b| (&a.order, a.gzip).cmp(&(&b.order, b.gzip)));
    if !container.is_cri() {
        listed.drain(..listed.len().saturating_sub(PLAIN_FILES_MAX));
    }
    Ok(listed)
}

/// The key of a CRI file that begins with `head`; none while its first line is not complete.
pub(crate) fn cri_key(container: &ContainerInfo, restart: u32, head: &[u8]) -> Option<FileKey> {
    let pod = container.pod.as_ref()?;
    let line = first_line(head)?;
    Some(file_key(&pod.uid, &container.name, restart, line))
}

fn list_cri<D: Disk>(disk: &D, directory: &Path) -> io::Result<Vec<Listed>> {
    let mut listed = Vec::new();
    for name in disk.list(directory)? {
        let Some(LogName { order, gzip }) = LogName::parse_cri(&name) else {
            continue;
        };
        let path = directory.join(name);
        // Between listing and looking it may have been rotated: it is found under its new name by
        // the next scan, which the rename itself causes.
        if let Some(stat) = stat_file(disk, &path) {
            listed.push(Listed {
                path,
                order,
                gzip,
                stat,
            });
        }
    }
    Ok(listed)
}

fn list_plain<D: Disk>(disk: &D, live: &Path, others: &[PathBuf]) -> io::Result<Vec<Listed>> {
    let (Some(directory), Some(base)) = (live.parent(), live.file_name().and_then(|n| n.to_str()))
    else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut listed = Vec::new();
    for name in disk.list(directory)? {
        let path = directory.join(&name);
        let gzip = if name == base {
            false
        } else {
            match LogName::sibling_of(base, &name) {
                Some(gzip) if !others.contains(&path) => gzip,
                _ => continue,
            }
        };
        if let Some(stat) = stat_file(disk, &path) {
            let order = if name == base {
                Order::live_plain()
            } else {
                Order::sibling(stat.modified, &name)
            };
            listed.push(Listed {
                path,
                order,
                gzip,
                stat,
            });
        }
    }
    Ok(listed)
}

fn stat_file<D: Disk>(disk: &D, path: &Path) -> Option<Stat> {
    disk.stat(path).ok().filter(|stat| !stat.directory)
}
