//! Secrets in files, as a pod gets them: read for every use, so that they can be replaced at any time.

use std::fs::File;
use std::io::{Error as IoError, ErrorKind, Read as _};
use std::path::Path;

use http::HeaderValue;

use crate::Error;

/// No secret is longer than this, in bytes.
const BYTES_MAX: u64 = 16 << 10;

/// The content of a file without the end of its line: blanks may be part of a password.
///
/// # Errors
/// [`Error::Secret`] if it cannot be read, is no text, or holds nothing.
pub fn read(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text))
        .map_err(bad(path))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.trim().is_empty() {
        return Err(bad(path)(IoError::other("the file holds no secret")));
    }
    Ok(secret.to_owned())
}

/// `Authorization: Bearer` with the token in a file, which no log shows.
///
/// # Errors
/// [`Error::Secret`] if there is none, or none that fits into a header.
pub fn bearer(path: &Path) -> Result<HeaderValue, Error> {
    header(path, &format!("Bearer {}", read(path)?.trim()))
}

/// A header with what was read from `path`, which no log shows.
///
/// # Errors
/// [`Error::Secret`] if it does not fit into a header.
pub fn header(path: &Path, text: &str) -> Result<HeaderValue, Error> {
    let invalid = |_| IoError::new(ErrorKind::InvalidData, "it does not fit into a header");
    let value = HeaderValue::try_from(text).map_err(invalid);
    let mut value = value.map_err(bad(path))?;
    value.set_sensitive(true);
    Ok(value)
}

fn bad(path: &Path) -> impl Fn(IoError) -> Error {
    let path = path.to_owned();
    move |source| Error::Secret {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn a_token_is_taken_without_the_white_space_around_it_and_never_shown() {
        let value = bearer(file(b" abc.def\n").path()).unwrap();
        assert_eq!(value, "Bearer abc.def");
        assert!(value.is_sensitive());
        assert!(!format!("{value:?}").contains("abc"));
    }

    #[test]
    fn what_is_no_secret_says_where_and_not_what() {
        for content in [&b" \n"[..], b"\xff\xfe", b"two\nlines"] {
            let file = file(content);
            let error = crate::chain(&bearer(file.path()).unwrap_err());
            assert!(
                error.contains(&file.path().display().to_string()),
                "{error}"
            );
            assert!(!error.contains("lines"), "{error}");
        }
        let error = bearer(Path::new("/nowhere/token")).unwrap_err();
        assert_eq!(error.label(), "secret_file");
    }
}
