//! A secret in a line, whatever stands around it.

use crate::input::{Input, parts};
use crate::render::Rendered;

const SECRET: &str = "hQ7zVx2Kp9";

/// How secrets stand in lines; `$` is the secret.
const FORMS: &[&str] = &[
    " password: $ ",
    " passwd=$ ",
    ",\"password\":\"$\",",
    ",\"dbPassword\": \"a $ b\",",
    ",\\\"api_key\\\":\\\"$\\\",",
    ",\\\\\\\"token\\\\\\\":\\\\\\\"$\\\\\\\",",
    "?access_token=$&x=1",
    " Authorization: Basic $\" ",
    " Bearer $ ",
    " eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.$ ",
    " -----BEGIN RSA PRIVATE KEY-----\n$\n-----END RSA PRIVATE KEY----- ",
    " client-key-data: LS0tLS1CRUdJTiB$ ",
    " kind: Secret data: $ ",
];

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let form = input.one_of(FORMS);
    let mut around = parts(input.rest());
    let (before, after) = (
        around.next().unwrap_or_default(),
        around.next().unwrap_or_default(),
    );
    if has(before) || has(after) {
        return;
    }
    let planted = form.replace('$', SECRET);
    let text = [before, planted.as_bytes(), after].concat();
    let rendered = Rendered::new(&text, 0);
    for output in [&rendered.bulk, &rendered.entry] {
        assert!(
            !has(output),
            "{:?} comes out as {:?}",
            String::from_utf8_lossy(&text),
            String::from_utf8_lossy(output)
        );
    }
}

fn has(bytes: &[u8]) -> bool {
    bytes
        .windows(SECRET.len())
        .any(|window| window == SECRET.as_bytes())
}
