//! What has to lie in a pod's shared volumes before its containers start: this program, the directory
//! of copies, and EMCO's configuration with our address in it.
//!
//! Init containers may run again, beside containers that use what they made before: everything is
//! replaced in one step, and only if it is different.
//!
//! A pod must not fail because of us. There are two things whose absence would make the application
//! fail, or run with the wrong configuration, and only they are errors: the program that it is started
//! by, and a configuration that can be neither changed nor copied.

mod overlay;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result};

use crate::cli::Prepare;

/// This program, whatever its name was when it was started.
const PROGRAM: &str = "/proc/self/exe";
const INSTALLED: &str = "emco-observer";
/// Everybody may run it.
const PROGRAM_MODE: u32 = 0o755;
/// The application is another user.
const FILE_MODE: u32 = 0o644;
/// Everybody may make something in it, and remove only what is their own.
const SHARED_MODE: u32 = 0o1777;
/// Kubernetes allows a configuration of 1 MiB.
const CONFIGURATION_BYTES_MAX: u64 = 4 << 20;

/// From where a configuration is copied, and to where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlay {
    from: PathBuf,
    to: PathBuf,
}

impl FromStr for Overlay {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok(Self {
                from: from.into(),
                to: to.into(),
            }),
            _ => Err("has to be two paths with a colon between them"),
        }
    }
}

/// Does what is asked for, all of it, whatever fails.
///
/// # Errors
/// If the application would start without its command or its configuration.
pub(crate) fn prepare(wanted: &Prepare) -> Result<()> {
    for directory in &wanted.output {
        if let Err(error) = share(directory) {
            let path = directory.display();
            say(&format_args!(
                "cannot make {path}, output will not be copied: {error}"
            ));
        }
    }
    let mut result = Ok(());
    for Overlay { from, to } in &wanted.overlay {
        result = result.and(lay_over(from, to));
    }
    if let Some(directory) = &wanted.install {
        result = result.and(install(directory));
    }
    result
}

fn share(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let shared = Permissions::from_mode(SHARED_MODE);
    let mode = fs::metadata(directory)?.permissions().mode();
    if mode & 0o7777 == SHARED_MODE {
        return Ok(());
    }
    fs::set_permissions(directory, shared)
}

fn install(directory: &Path) -> Result<()> {
    let to = directory.join(INSTALLED);
    let context = || format!("cannot install this program as {}", to.display());
    let program = File::open(PROGRAM).with_context(context)?;
    if is_installed(&program, &to) {
        say(&format_args!("{} is there", to.display()));
        return Ok(());
    }
    replace(&to, PROGRAM_MODE, program).with_context(context)?;
    say(&format_args!("installed {}", to.display()));
    Ok(())
}

/// Whether what is there is the same program and can be run.
fn is_installed(program: &File, to: &Path) -> bool {
    let same = || -> io::Result<bool> {
        let (ours, theirs) = (program.metadata()?, fs::metadata(to)?);
        let runs = theirs.permissions().mode() & PROGRAM_MODE == PROGRAM_MODE;
        Ok(runs && ours.len() == theirs.len() && has_content(File::open(PROGRAM)?, to)?)
    };
    same().unwrap_or(false)
}

/// Whether the file has exactly these bytes.
fn has_content(mut content: impl io::Read, path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let (mut wanted, mut found) = (Vec::new(), Vec::new());
    loop {
        wanted.clear();
        found.clear();
        io::Read::by_ref(&mut content)
            .take(1 << 16)
            .read_to_end(&mut wanted)?;
        io::Read::by_ref(&mut file)
            .take(1 << 16)
            .read_to_end(&mut found)?;
        if wanted != found || wanted.is_empty() {
            return Ok(wanted == found);
        }
    }
}

fn lay_over(from: &Path, to: &Path) -> Result<()> {
    let (from_said, to_said) = (from.display(), to.display());
    let mut text = Vec::new();
    let read = File::open(from).and_then(|file| {
        file.take(CONFIGURATION_BYTES_MAX + 1)
            .read_to_end(&mut text)
    });
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // the application would not have had it without us either
            say(&format_args!(
                "{from_said} is not there, so there is no {to_said}"
            ));
            return Ok(());
        }
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot read the configuration {from_said}"));
        }
    }
    let context = || format!("cannot write the configuration {to_said}");
    let edited = if text.len() as u64 > CONFIGURATION_BYTES_MAX {
        Err("is too long".to_owned())
    } else {
        overlay::edit(&text)
    };
    match edited {
        Ok(edited) => {
            put(to, &edited).with_context(context)?;
            say(&format_args!(
                "{to_said} is {from_said} with our address for spans"
            ));
        }
        Err(why) => {
            // as it is, of whatever length
            let whole = File::open(from).with_context(context)?;
            replace(to, FILE_MODE, whole).with_context(context)?;
            say(&format_args!(
                "{from_said} {why}: {to_said} is an exact copy, spans will not come here"
            ));
        }
    }
    Ok(())
}

fn put(to: &Path, text: &[u8]) -> io::Result<()> {
    if has_content(text, to).unwrap_or(false) {
        return Ok(());
    }
    replace(to, FILE_MODE, text)
}

/// Writes a file beside its place and puts it there in one step: somebody may be using the one before.
fn replace(to: &Path, mode: u32, mut content: impl io::Read) -> io::Result<()> {
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut name = to.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(mode);
    let written = file.open(&new).and_then(|mut file| {
        io::copy(&mut content, &mut file)?;
        file.flush()?;
        // whatever our mask is
        file.set_permissions(Permissions::from_mode(mode))?;
        fs::rename(&new, to)
    });
    if written.is_err() {
        // of no use, and the volume is small
        drop(fs::remove_file(&new));
    }
    written
}

fn say(what: &dyn std::fmt::Display) {
    drop(writeln!(io::stderr(), "emco-observer prepare: {what}"));
}

#[cfg(test)]
mod tests;
