//! Runs one target: under libFuzzer in the instrumented build (the target is named by
//! `EMCO_FUZZ_TARGET`), else on the files that are named: `fuzz <target> <file>…`.
#![cfg_attr(feature = "libfuzzer", no_main)]

#[cfg(feature = "libfuzzer")]
mod instrumented {
    use std::sync::OnceLock;

    use fuzz::Target;

    static TARGET: OnceLock<&'static Target> = OnceLock::new();

    fn choose() {
        let name = std::env::var("EMCO_FUZZ_TARGET").unwrap_or_default();
        match fuzz::find(&name) {
            Some(target) => drop(TARGET.set(target)),
            None => panic!("EMCO_FUZZ_TARGET names no target: {name:?}"),
        }
    }

    libfuzzer_sys::fuzz_target!(init: choose(), |data: &[u8]| {
        if let Some(target) = TARGET.get() {
            (target.run)(data);
        }
    });
}

#[cfg(not(feature = "libfuzzer"))]
fn main() -> std::process::ExitCode {
    use std::io::Write as _;
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some(target) = fuzz::find(&name.to_string_lossy()) else {
        let names: Vec<_> = fuzz::TARGETS.iter().map(|target| target.name).collect();
        let usage = format!("fuzz <target> <file>…, targets are {}\n", names.join(", "));
        return match std::io::stderr().write_all(usage.as_bytes()) {
            Ok(()) | Err(_) => std::process::ExitCode::from(64),
        };
    };
    for path in arguments {
        match std::fs::read(&path) {
            Ok(data) => (target.run)(&data),
            Err(error) => panic!("read {}: {error}", path.display()),
        }
    }
    std::process::ExitCode::SUCCESS
}
