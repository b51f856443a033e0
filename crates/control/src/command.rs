//! From the command line to an exit code.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use garde::Validate;
use serde::de::DeserializeOwned;

use crate::cli::{Arguments, Command, Files, Inject, Output, Status, Upgrade};
use crate::inject::{Namespace, Settings, Surroundings};
use crate::manifests::{self, Report};
use crate::serve;
use crate::settings;
use crate::status::{self, Question};
use crate::upgrade::{self, Order};
use crate::verify;

/// `EX_USAGE` of sysexits.h: the settings are wrong.
const BAD_SETTINGS: u8 = 64;
/// Largest settings file.
const SETTINGS_BYTES_MAX: u64 = 1 << 20;
/// Largest file of manifests.
const MANIFESTS_BYTES_MAX: u64 = 256 << 20;

/// Does what the arguments say.
pub fn execute(arguments: Arguments) -> ExitCode {
    let done = match arguments.command {
        Command::Inject(arguments) => match settings(&arguments) {
            Ok(settings) => reported(inject(&arguments, &settings)),
            Err(error) => return failed(&error, BAD_SETTINGS),
        },
        Command::Eject(files) => reported(eject(&files)),
        Command::Serve(arguments) => match read_settings(arguments.config.as_deref()) {
            Ok(settings) => serve::run(settings).map(|()| ExitCode::SUCCESS),
            Err(error) => return failed(&error, BAD_SETTINGS),
        },
        Command::Status(arguments) => match question(&arguments) {
            Ok(question) => answer(&question, arguments.output),
            Err(error) => return failed(&error, BAD_SETTINGS),
        },
        Command::Upgrade(arguments) => match order(arguments) {
            Ok(order) => upgrade::run(&order, &mut std::io::stdout()).map(|()| ExitCode::SUCCESS),
            Err(error) => return failed(&error, BAD_SETTINGS),
        },
        Command::Verify(arguments) => {
            verify::run(&arguments, &mut std::io::stdout()).map(|()| ExitCode::SUCCESS)
        }
        Command::Say { text } => verify::say(&text).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| failed(&error, 1))
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    say(&format!("emco-observer-control: {error:#}"));
    ExitCode::from(code)
}

fn reported(done: Result<Report>) -> Result<ExitCode> {
    let report = done?;
    say(report.to_string().trim_end());
    Ok(if report.failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn inject(arguments: &Inject, settings: &Settings) -> Result<Report> {
    let surroundings = Surroundings {
        server: arguments.kubernetes_version,
        oldest_node: arguments.kubernetes_version,
        namespace: Namespace {
            // whoever hands manifests over has selected them
            inject: Some(true),
            pod_security: arguments.pod_security,
            istio: arguments.istio(),
        },
    };
    let text = read(&arguments.files.filename, MANIFESTS_BYTES_MAX)?;
    let done = manifests::inject(&text, settings, &surroundings);
    finish(&arguments.files, done)
}

fn eject(files: &Files) -> Result<Report> {
    let text = read(&files.filename, MANIFESTS_BYTES_MAX)?;
    finish(files, manifests::eject(&text))
}

fn finish(files: &Files, done: Result<(String, Report), manifests::Error>) -> Result<Report> {
    let (text, report) =
        done.with_context(|| format!("cannot read {}", files.filename.display()))?;
    match &files.output_file {
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
        }
        None => std::io::stdout()
            .write_all(text.as_bytes())
            .context("cannot write to stdout"),
    }?;
    Ok(report)
}

/// What `status` asks, with the settings of the control plane if they are named.
fn question(arguments: &Status) -> Result<Question> {
    let settings: settings::Settings = read_settings(arguments.config.as_deref())?;
    let named = arguments.config.as_ref();
    let image = named.map(|_| settings.injection.image.clone());
    Ok(Question {
        namespaces: arguments.namespaces.clone(),
        settings_are_known: named.is_some(),
        image: arguments.image.clone().or(image),
        settings: settings.injection,
    })
}

/// What `upgrade` is to do.
fn order(arguments: Upgrade) -> Result<Order> {
    let settings: settings::Settings = read_settings(Some(&arguments.config))?;
    Ok(Order {
        namespaces: arguments.namespaces,
        settings: settings.injection,
        timeout: arguments.timeout,
        restart: arguments.restart,
        dry_run: arguments.dry_run,
    })
}

fn answer(question: &Question, output: Output) -> Result<ExitCode> {
    let answer = status::run(question)?;
    let text = match output {
        Output::Text => answer.to_text(),
        Output::Json => answer.to_json()?,
    };
    let mut stdout = std::io::stdout();
    stdout
        .write_all(text.as_bytes())
        .context("cannot write to stdout")?;
    for unread in &answer.unread {
        say(&format!("emco-observer-control: {unread}"));
    }
    Ok(if answer.unread.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The settings of injection: the file's, then the flags'.
fn settings(arguments: &Inject) -> Result<Settings> {
    let mut settings: Settings = read_settings(arguments.settings.as_deref())?;
    if let Some(image) = &arguments.image {
        settings.image.clone_from(image);
    }
    settings.logs = arguments.logs.unwrap_or(settings.logs);
    settings.sidecar = arguments.sidecar.unwrap_or(settings.sidecar);
    settings.evidence = arguments.evidence.unwrap_or(settings.evidence);
    settings.overlay &= !arguments.no_overlay;
    settings.validate().context("settings cannot be used")?;
    Ok(settings)
}

/// The settings in a file; all are defaults without one.
fn read_settings<T>(path: Option<&Path>) -> Result<T>
where
    T: Default + DeserializeOwned + Validate<Context = ()>,
{
    let Some(path) = path else {
        return Ok(T::default());
    };
    let text = read(path, SETTINGS_BYTES_MAX)?;
    serde_saphyr::from_str_valid(&text)
        .map_err(|error| anyhow!("settings in {}: {error}", path.display()))
}

/// All of a file, or of stdin.
fn read(path: &Path, bytes_max: u64) -> Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let mut text = String::new();
    let file: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).with_context(cannot)?)
    };
    let read = file.take(bytes_max + 1).read_to_string(&mut text);
    read.with_context(cannot)?;
    if text.len() as u64 > bytes_max {
        return Err(anyhow!(
            "{} has more than {bytes_max} bytes",
            path.display()
        ));
    }
    Ok(text)
}

#[expect(clippy::print_stderr, reason = "the result may go to stdout")]
fn say(text: &str) {
    eprintln!("{text}");
}
