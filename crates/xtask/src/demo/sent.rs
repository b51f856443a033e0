//! The spans that the workload sent, read again from the recording: which bodies were sent, and which of
//! them a sidecar acknowledged, stands in the manifest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::bufread::MultiGzDecoder;
use testkit::manifest::SpanBody;
use testkit::spans::SpanAccount;

const FOLDER: &str = "spans";
const BODY_BYTES_MAX: u64 = 256 << 20;

/// Reads all `bodies` of the recording in `corpus`.
pub(crate) fn read(corpus: &Path, bodies: &[SpanBody]) -> Result<SpanAccount> {
    let mut bundles: BTreeMap<&str, Vec<&SpanBody>> = BTreeMap::new();
    for body in bodies {
        bundles.entry(&body.bundle).or_default().push(body);
    }
    let mut account = SpanAccount::default();
    for (bundle, mut bodies) in bundles {
        bodies.sort_by_key(|body| body.offset);
        let path = corpus.join(FOLDER).join(bundle);
        read_bundle(&path, &bodies, &mut account)
            .with_context(|| format!("read the spans of {}", path.display()))?;
    }
    Ok(account)
}

fn read_bundle(path: &Path, bodies: &[&SpanBody], account: &mut SpanAccount) -> Result<()> {
    let mut reader = MultiGzDecoder::new(BufReader::new(File::open(path)?));
    let mut at = 0;
    let mut bytes = Vec::new();
    for body in bodies {
        let skipped = body.offset.checked_sub(at).context("bodies overlap")?;
        io::copy(&mut reader.by_ref().take(skipped), &mut io::sink())?;
        bytes.clear();
        let length = body.length.min(BODY_BYTES_MAX);
        reader.by_ref().take(length).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 == body.length, "it ends inside a body");
        at = body.offset + body.length;
        account.send(&bytes, body.accepted)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn span(id: u32) -> String {
        format!(r#"[{{"traceId":"a","id":"{id}","localEndpoint":{{"serviceName":"clm"}}}}]"#)
    }

    fn corpus(text: &str) -> tempfile::TempDir {
        let corpus = tempfile::tempdir().unwrap();
        std::fs::create_dir(corpus.path().join(FOLDER)).unwrap();
        let path = corpus.path().join(FOLDER).join("clm.gz");
        let mut encoder = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
        corpus
    }

    fn body(number: usize, accepted: bool) -> SpanBody {
        let length = span(0).len();
        SpanBody {
            bundle: "clm.gz".to_owned(),
            offset: (number * length) as u64,
            length: length as u64,
            accepted,
            ..SpanBody::default()
        }
    }

    #[test]
    fn bodies_are_found_again_in_any_order_and_with_holes() {
        let corpus = corpus(&[0, 1, 2, 3].map(span).concat());
        let bodies = [body(3, true), body(0, true), body(2, false)];
        let mut account = read(corpus.path(), &bodies).unwrap();
        for id in ["0", "2", "1"] {
            account.store("clm", "a", id);
        }
        let report = account.report();
        // 3 is lost, 1 was in no body
        assert_eq!(
            (report.acknowledged, report.lost, report.unknown),
            (2, 1, 1)
        );
    }

    #[test]
    fn a_recording_that_does_not_fit_is_an_error() {
        let cut = corpus(&span(0));
        for body in [
            body(1, true),
            SpanBody {
                bundle: "absent".to_owned(),
                ..body(0, true)
            },
        ] {
            let error = format!("{:#}", read(cut.path(), &[body]).unwrap_err());
            assert!(error.contains("read the spans of"), "{error}");
        }
    }
}
