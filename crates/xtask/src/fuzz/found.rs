//! A promise that a target broke: what is said of it, and the input for other machines.

use std::fmt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::outcome::Outcome;
use super::play::Play;
use crate::test::Failures;
use crate::{say, workspace};

/// Longest input whose bytes are said, in bytes.
const BYTES_MAX: u64 = 2048;

/// A broken promise.
#[derive(Debug)]
pub(super) struct Found {
    target: String,
    /// What broke.
    said: String,
    /// The smallest input that breaks it.
    input: Option<PathBuf>,
    /// Everything that was said.
    log: PathBuf,
}

impl Found {
    /// What is known of an outcome that is not clean, its input made small.
    pub(super) fn of(play: &Play, outcome: &Outcome) -> Self {
        let smallest = |input: &PathBuf| {
            let smallest = play.minimise(&outcome.target, input);
            smallest.unwrap_or_else(|error| {
                say::note(format_args!(
                    "{} stays as it is: {error:#}",
                    input.display()
                ));
                input.clone()
            })
        };
        Self {
            target: outcome.target.clone(),
            said: outcome.said.clone(),
            input: outcome.input.as_ref().map(smallest),
            log: outcome.log.clone(),
        }
    }

    /// Says it at the end of the gate, with the input's bytes if they are few: who reads that may not
    /// have the machine on which it was found.
    pub(super) fn say(&self, failures: &mut Failures) {
        failures.say(self);
        let Some(input) = &self.input else {
            return;
        };
        match workspace::read_bytes(input, BYTES_MAX) {
            Ok(bytes) => {
                failures.say(format_args!("  its {} bytes as base64:", bytes.len()));
                failures.say_whole(format!("  {}", STANDARD.encode(bytes)));
            }
            Err(error) => failures.say(format_args!("  its bytes are not said: {error:#}")),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        writeln!(f, "{target}: {}", self.said)?;
        let Some(input) = &self.input else {
            return write!(f, "  look into {}", self.log.display());
        };
        let path = input.display();
        write!(
            f,
            "  again:    cargo run -p fuzz -- {target} {path}\n  \
             to keep:  cp {path} tests/fuzz/regressions/{target}/<what it is about>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(input: Option<PathBuf>) -> String {
        let found = Found {
            target: "framer".to_owned(),
            said: "index out of bounds".to_owned(),
            input,
            log: PathBuf::from("logs/framer.log"),
        };
        let mut failures = Failures::default();
        found.say(&mut failures);
        failures.shown(25).join("\n")
    }

    #[test]
    fn a_short_input_can_be_kept_on_another_machine() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("crash");
        let bytes: Vec<u8> = (0..=255).cycle().take(2048).collect();
        std::fs::write(&input, &bytes).unwrap();
        let text = said(Some(input.clone()));
        assert!(
            text.starts_with("framer: index out of bounds\n  again:"),
            "{text}"
        );
        assert!(text.contains("  its 2048 bytes as base64:\n"), "{text}");
        let last = text.lines().last().unwrap().trim();
        assert_eq!(STANDARD.decode(last).unwrap(), bytes);
        std::fs::write(&input, [0; 2049]).unwrap();
        let text = said(Some(input));
        assert!(text.ends_with("crash has more than 2048 bytes"), "{text}");
    }

    #[test]
    fn without_an_input_the_log_is_named() {
        assert_eq!(
            said(None),
            "framer: index out of bounds\n  look into logs/framer.log"
        );
    }
}
