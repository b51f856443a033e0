//! From the command line to an exit code.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cli::{Arguments, Command, Configuration};
use crate::environment;
use crate::lanes;
use crate::run;
use crate::settings::Settings;

/// `EX_USAGE` of sysexits.h: the settings are wrong.
const BAD_SETTINGS: u8 = 64;
/// Longest answer of a probe that is read.
const PROBE_BYTES_MAX: u64 = 64 * 1024;
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Does what the arguments say.
pub(crate) fn execute(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Run(configuration) => start(&configuration),
        Command::Check(configuration) => match load(&configuration) {
            Ok(_) => {
                say("settings are fine");
                ExitCode::SUCCESS
            }
            Err(error) => refuse(&error),
        },
        Command::Probe { address } => match probe(&address) {
            Ok(health) => {
                say(&health);
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        },
    }
}

fn start(configuration: &Configuration) -> ExitCode {
    let settings = match load(configuration) {
        Ok(settings) => settings,
        Err(error) if environment::in_pod() => {
            // EMCO's pod must not fail because of us: stay up without doing anything, and say why
            say_error(&error);
            Settings::degraded(format!("{error:#}"), |name| std::env::var(name).ok())
        }
        Err(error) => return refuse(&error),
    };
    match run::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn load(configuration: &Configuration) -> Result<Settings> {
    let text = configuration.config.as_deref().map(read).transpose()?;
    let settings = Settings::parse(
        text.as_deref().unwrap_or_default(),
        configuration.config.as_deref(),
    )?;
    let settings = settings.overlaid(|name| std::env::var(name).ok())?;
    let settings = settings.complete()?;
    check(&settings)?;
    Ok(settings)
}

/// Checks what the parts would refuse when they are set up.
fn check(settings: &Settings) -> Result<()> {
    telemetry::logs::Logs::check(&settings.log_level).context("`log_level` is not usable")?;
    lanes::check(&settings.lanes)?;
    for address in &settings.hub.addresses {
        address
            .parse::<net::Endpoint>()
            .with_context(|| format!("`hub.addresses` has {address:?}, which is no address"))?;
    }
    let nameless = |directory: &&PathBuf| in_tail::PodIdentity::parse(directory).is_none();
    if let Some(directory) = settings.logs.pod_dir.as_ref().filter(nameless)
        && environment::pod_identity().is_none()
    {
        bail!(
            "`logs.pod_dir` is {}, but its name is not <namespace>_<pod>_<uid>; set POD_NAMESPACE, \
             POD_NAME and POD_UID",
            directory.display()
        );
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    let file = std::fs::File::open(path)
        .with_context(|| format!("cannot open settings file {}", path.display()))?;
    let mut text = String::new();
    file.take(1 << 20)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read settings file {}", path.display()))?;
    Ok(text)
}

fn probe(address: &str) -> Result<String> {
    let context = || format!("cannot ask {address} for its health; is the sidecar running there?");
    let socket = address
        .parse()
        .with_context(|| format!("{address} is no socket address"))?;
    let mut stream = TcpStream::connect_timeout(&socket, PROBE_TIMEOUT).with_context(context)?;
    stream
        .set_read_timeout(Some(PROBE_TIMEOUT))
        .with_context(context)?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).with_context(context)?;
    let mut answer = String::new();
    stream
        .take(PROBE_BYTES_MAX)
        .read_to_string(&mut answer)
        .with_context(context)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => bail!("{address} does not answer like a sidecar"),
    }
}

fn refuse(error: &anyhow::Error) -> ExitCode {
    say_error(error);
    ExitCode::from(BAD_SETTINGS)
}

fn fail(error: &anyhow::Error) -> ExitCode {
    say_error(error);
    ExitCode::FAILURE
}

fn say_error(error: &anyhow::Error) {
    // nothing is left to do if standard error is closed
    drop(writeln!(std::io::stderr(), "emco-observer: {error:#}"));
}

fn say(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}
