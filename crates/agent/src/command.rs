//! From the command line to an exit code.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cli::{Arguments, Command, Configuration};
use crate::configuration::{Mistakes, Sources, UnknownService, Variables};
use crate::environment;
use crate::process;

/// `EX_USAGE` of sysexits.h: the settings are wrong.
const BAD_SETTINGS: u8 = 64;
/// Longest answer of a probe that is read.
const PROBE_BYTES_MAX: u64 = 64 * 1024;
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Does what the arguments say.
pub(crate) fn execute(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Run(configuration) => start(configuration),
        Command::Check(configuration) => match sources(configuration).load() {
            Ok(settings) => {
                if let Some(unknown) = UnknownService::find(&settings.service) {
                    say_warning(&unknown);
                }
                say("settings are fine");
                ExitCode::SUCCESS
            }
            Err(mistakes) => refuse(&mistakes),
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

fn start(configuration: Configuration) -> ExitCode {
    let sources = sources(configuration);
    let loaded = sources.load();
    if let Err(mistakes) = &loaded {
        if !environment::in_pod() {
            return refuse(mistakes);
        }
        // EMCO's pod must not fail because of us: stay up without doing anything, and say why
        say_mistakes(mistakes);
    }
    match process::run(sources, &loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn sources(configuration: Configuration) -> Sources {
    Sources {
        file: configuration.config,
        variables: Variables::from(environment::variables()),
        pod: environment::pod_identity(),
    }
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

fn refuse(mistakes: &Mistakes) -> ExitCode {
    say_mistakes(mistakes);
    ExitCode::from(BAD_SETTINGS)
}

fn fail(error: &anyhow::Error) -> ExitCode {
    say_error(&format_args!("{error:#}"));
    ExitCode::FAILURE
}

fn say_mistakes(mistakes: &Mistakes) {
    drop(writeln!(std::io::stderr(), "{mistakes}"));
}

fn say_warning(warning: &dyn std::fmt::Display) {
    drop(writeln!(std::io::stderr(), "warning: {warning}"));
}

fn say_error(error: &dyn std::fmt::Display) {
    // nothing is left to do if standard error is closed
    drop(writeln!(std::io::stderr(), "emco-observer: {error}"));
}

fn say(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}
