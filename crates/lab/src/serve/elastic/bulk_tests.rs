use proptest::prelude::*;

use super::*;

fn all(body: &[u8], step: usize) -> (Vec<Item>, Result<(), Error>) {
    let mut parser = Parser::new(Some("fallback".to_owned()));
    let mut items = Vec::new();
    for piece in body.chunks(step) {
        parser.feed(piece);
        loop {
            match parser.next() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => return (items, Err(error)),
            }
        }
    }
    let end = parser.finish();
    (items, end)
}

const BODY: &[u8] = b"{\"create\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{\"message\":\"x\"}\n\
{\"index\":{}}\r\n{\"message\":\"y\"}\r\n\n{\"delete\":{\"_id\":\"1\"}}\n";

#[test]
fn items_come_out_whole_however_the_body_is_cut() {
    let (expected, end) = all(BODY, BODY.len());
    end.unwrap();
    let names: Vec<_> = expected
        .iter()
        .map(|item| (item.action.name(), item.index.as_str(), item.id.as_deref()))
        .collect();
    assert_eq!(
        names,
        [
            ("create", "a", Some("1")),
            ("index", "fallback", None),
            ("delete", "fallback", Some("1")),
        ]
    );
    assert_eq!(expected[1].source, b"{\"message\":\"y\"}");
    for step in 1..BODY.len() {
        let (items, end) = all(BODY, step);
        end.unwrap();
        assert_eq!(items, expected, "cut every {step} bytes");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (body, expected) in [
        ("", "request body is required"),
        ("{\"create\":{}}", "must be terminated by a newline"),
        (
            "{\"create\":{}}\n",
            "the action of line [1] has no document",
        ),
        (
            "nonsense\n{}\n",
            "Malformed action/metadata line [1]: not valid",
        ),
        (
            "{\"create\":{}}\n{}\n[]\n",
            "Malformed action/metadata line [3]",
        ),
        ("{\"upsert\":{}}\n{}\n", "but found [upsert]"),
        ("{}\n{}\n", "expected an object with one action"),
        (
            "{\"create\":{},\"index\":{}}\n{}\n",
            "expected an object with one action",
        ),
        ("{\"create\":{\"_id\":\"\"}}\n{}\n", "must not be empty"),
        ("{\"create\":5}\n{}\n", "its metadata are not valid"),
    ] {
        let (_, end) = all(body.as_bytes(), 7);
        let error = end.expect_err(body).to_string();
        assert!(error.contains(expected), "{body}: {error}");
    }
}

#[test]
fn a_line_without_end_is_refused_before_it_fills_memory() {
    let mut parser = Parser::new(None);
    let piece = vec![b'x'; 1 << 20];
    let refused = (0..64).find_map(|pieces| {
        parser.feed(&piece);
        parser.next().err().map(|error| (pieces, error))
    });
    assert_eq!(refused, Some((16, Error::LineTooLong { line: 1 })));
}

#[test]
fn index_names_follow_elasticsearchs_rules() {
    for name in ["emco-logs-2026.11.23", "a"] {
        assert_eq!(index_refusal(name), None, "{name}");
    }
    for name in ["", "Upper", "_x", "-x", "..", "a b", "a/b", "a*", "a\n"] {
        assert!(index_refusal(name).is_some(), "{name}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_items_or_an_error(body in prop::collection::vec(any::<u8>(), 0..400), step in 1usize..50) {
        let (items, _) = all(&body, step);
        prop_assert!(items.len() <= body.len());
    }
}
