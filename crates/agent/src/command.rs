//! From the command line to an exit code.

use std::io::Write as _;
use std::process::ExitCode;

use crate::cli::{Arguments, Command, Configuration};
use crate::configuration::{Mistakes, Sources, UnknownService, Variables};
use crate::environment;
use crate::{prepare, probe, process, wrap};

/// `EX_USAGE` of sysexits.h: the settings are wrong.
const BAD_SETTINGS: u8 = 64;

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
        Command::Probe { address, wait } => probe(&address, wait.as_deref()),
        Command::Wrap(wrap) => wrap::run(&wrap),
        Command::Prepare(prepare) => match prepare::prepare(&prepare) {
            Ok(()) => ExitCode::SUCCESS,
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

fn probe(address: &str, wait: Option<&str>) -> ExitCode {
    let health = match wait {
        Some(wait) => probe::wait(address, wait),
        None => probe::ask(address),
    };
    match health {
        Ok(health) => say(&health),
        // EMCO's pod must not fail because of us
        Err(error) if wait.is_some() => say_error(&format_args!("{error:#}")),
        Err(error) => return fail(&error),
    }
    ExitCode::SUCCESS
}

fn sources(configuration: Configuration) -> Sources {
    Sources {
        file: configuration.config,
        variables: Variables::from(environment::variables()),
        pod: environment::pod_identity(),
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
