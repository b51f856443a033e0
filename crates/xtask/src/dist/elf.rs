//! What a program is, read from its ELF header: for which machine, and whether it needs anything
//! of the system that runs it.

use anyhow::{Context, Result, ensure};

const MAGIC: &[u8] = b"\x7fELF";
/// `EI_CLASS` and `EI_DATA`: 64 bits, little endian.
const CLASS: [u8; 2] = [2, 1];
const MACHINE: usize = 18;
const HEADERS: usize = 32;
const HEADER_BYTES: usize = 54;
const HEADER_COUNT: usize = 56;
/// Segment that names the dynamic loader.
const INTERPRETER: u32 = 3;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elf {
    /// The machine, by its name in images; nothing where images know no name for it.
    pub(super) architecture: Option<&'static str>,
    /// Whether it runs without a loader, and so without libraries.
    pub(super) is_static: bool,
}

impl Elf {
    /// Reads the header of `program`.
    pub(super) fn parse(program: &[u8]) -> Result<Self> {
        ensure!(program.starts_with(MAGIC), "it is no ELF program");
        ensure!(
            program.get(4..6) == Some(&CLASS),
            "it is not for 64 bits in little endian"
        );
        let first = usize::try_from(u64::from_le_bytes(array(program, HEADERS)?))?;
        let bytes = usize::from(u16::from_le_bytes(array(program, HEADER_BYTES)?));
        let count = usize::from(u16::from_le_bytes(array(program, HEADER_COUNT)?));
        let mut is_static = true;
        for index in 0..count {
            let at = first
                .checked_add(index * bytes)
                .context("its headers lie outside of it")?;
            is_static &= u32::from_le_bytes(array(program, at)?) != INTERPRETER;
        }
        let architecture = match u16::from_le_bytes(array(program, MACHINE)?) {
            0x3e => Some("amd64"),
            0xb7 => Some("arm64"),
            _ => None,
        };
        Ok(Self {
            architecture,
            is_static,
        })
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let end = at.checked_add(N).context("it is cut short")?;
    let part = bytes.get(at..end).context("it is cut short")?;
    Ok(<[u8; N]>::try_from(part)?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The smallest program: its header, and one segment of `kind`.
    pub(in super::super) fn program(machine: u16, kind: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..6].copy_from_slice(&CLASS);
        bytes[MACHINE..][..2].copy_from_slice(&machine.to_le_bytes());
        bytes[HEADERS..][..8].copy_from_slice(&64_u64.to_le_bytes());
        bytes[HEADER_BYTES..][..2].copy_from_slice(&56_u16.to_le_bytes());
        bytes[HEADER_COUNT..][..2].copy_from_slice(&1_u16.to_le_bytes());
        bytes[64..][..4].copy_from_slice(&kind.to_le_bytes());
        bytes
    }

    #[test]
    fn static_and_dynamic_programs_are_told_apart() {
        let elf = |machine, kind| Elf::parse(&program(machine, kind)).unwrap();
        let is_static = elf(0x3e, 1);
        assert_eq!(is_static.architecture, Some("amd64"));
        assert!(is_static.is_static);
        assert!(!elf(0x3e, INTERPRETER).is_static);
        assert_eq!(elf(0xb7, 1).architecture, Some("arm64"));
        assert_eq!(elf(0x08, 1).architecture, None);
    }

    #[test]
    fn the_program_that_runs_needs_a_loader() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(!Elf::parse(&own).unwrap().is_static);
    }

    #[test]
    fn what_is_no_program_or_cut_short_is_an_error() {
        let whole = program(0x3e, 1);
        for length in 0..68 {
            assert!(Elf::parse(&whole[..length]).is_err(), "{length}");
        }
        assert!(Elf::parse(b"#!/bin/sh\n").is_err());
        let mut far = whole;
        far[HEADERS..][..8].fill(0xff);
        assert!(Elf::parse(&far).is_err());
    }
}
