use std::io::Write as _;

use proptest::prelude::*;
use rmp::encode as mp;

use super::*;

fn text(out: &mut Vec<u8>, value: &str) {
    mp::write_str(out, value).unwrap();
}

fn event_time_bytes(out: &mut Vec<u8>, seconds: u32, nanos: u32) {
    mp::write_ext_meta(out, 8, 0).unwrap();
    out.extend_from_slice(&seconds.to_be_bytes());
    out.extend_from_slice(&nanos.to_be_bytes());
}

fn record(out: &mut Vec<u8>, message: &str) {
    mp::write_map_len(out, 1).unwrap();
    text(out, "message");
    text(out, message);
}

fn entries(messages: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        mp::write_array_len(&mut out, 2).unwrap();
        event_time_bytes(&mut out, 1_795_406_977, 672_424_268);
        record(&mut out, message);
    }
    out
}

fn options(out: &mut Vec<u8>, chunk: &str, gzip: bool) {
    mp::write_map_len(out, 2).unwrap();
    text(out, "chunk");
    text(out, chunk);
    text(out, "compressed");
    text(out, if gzip { "gzip" } else { "text" });
}

fn packed(messages: &[&str], chunk: &str, gzip: bool) -> Vec<u8> {
    let mut body = entries(messages);
    if gzip {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&body).unwrap();
        body = encoder.finish().unwrap();
    }
    let mut out = Vec::new();
    mp::write_array_len(&mut out, 3).unwrap();
    text(&mut out, "emco.rsync");
    mp::write_bin(&mut out, &body).unwrap();
    options(&mut out, chunk, gzip);
    out
}

fn forward_mode(messages: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    mp::write_array_len(&mut out, 2).unwrap();
    text(&mut out, "emco.rsync");
    mp::write_array_len(&mut out, u32::try_from(messages.len()).unwrap()).unwrap();
    out.extend_from_slice(&entries(messages));
    out
}

fn message_mode(message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    mp::write_array_len(&mut out, 4).unwrap();
    text(&mut out, "emco.rsync");
    mp::write_uint(&mut out, 1_795_406_977).unwrap();
    record(&mut out, message);
    options(&mut out, "c1", false);
    out
}

fn said(message: &Message) -> Vec<String> {
    let entries = message.entries.iter();
    entries.map(|entry| entry.json.clone()).collect()
}

fn parse(bytes: &[u8]) -> Message {
    Message::parse(bytes).unwrap().expect("no heartbeat")
}

#[test]
fn every_mode_says_the_same() {
    let expected = [r#"{"message":"a"}"#, r#"{"message":"b \"q\""}"#];
    let messages = ["a", "b \"q\""];
    for bytes in [
        packed(&messages, "c1", false),
        packed(&messages, "c1", true),
        forward_mode(&messages),
    ] {
        let message = parse(&bytes);
        assert_eq!(said(&message), expected);
        assert_eq!(
            message.entries[0].time,
            UnixNanos(1_795_406_977_672_424_268)
        );
    }
    let single = parse(&message_mode("a"));
    assert_eq!(said(&single), expected[..1]);
    assert_eq!(single.entries[0].time, UnixNanos(1_795_406_977_000_000_000));
}

#[test]
fn an_acknowledgement_repeats_the_chunk_byte_for_byte() {
    let ack = parse(&packed(&["a"], "p8n9gmxTQVC8", false)).ack.unwrap();
    let mut expected = Vec::new();
    mp::write_map_len(&mut expected, 1).unwrap();
    text(&mut expected, "ack");
    text(&mut expected, "p8n9gmxTQVC8");
    assert_eq!(ack, expected);
    assert_eq!(parse(&forward_mode(&["a"])).ack, None);
}

#[test]
fn all_types_become_json() {
    let mut out = Vec::new();
    mp::write_array_len(&mut out, 3).unwrap();
    text(&mut out, "t");
    event_time_bytes(&mut out, 1, 5);
    mp::write_map_len(&mut out, 9).unwrap();
    text(&mut out, "nil");
    mp::write_nil(&mut out).unwrap();
    text(&mut out, "bool");
    mp::write_bool(&mut out, true).unwrap();
    text(&mut out, "neg");
    mp::write_sint(&mut out, -70_000).unwrap();
    text(&mut out, "fix");
    mp::write_sint(&mut out, -3).unwrap();
    text(&mut out, "big");
    mp::write_uint(&mut out, u64::MAX).unwrap();
    text(&mut out, "float");
    mp::write_f64(&mut out, 1.5).unwrap();
    text(&mut out, "nan");
    mp::write_f64(&mut out, f64::NAN).unwrap();
    text(&mut out, "list");
    mp::write_array_len(&mut out, 2).unwrap();
    mp::write_bin(&mut out, b"a\xff").unwrap();
    event_time_bytes(&mut out, 1, 5);
    mp::write_uint(&mut out, 7).unwrap();
    mp::write_map_len(&mut out, 0).unwrap();
    let message = parse(&out);
    assert_eq!(
        message.entries[0].json,
        "{\"nil\":null,\"bool\":true,\"neg\":-70000,\"fix\":-3,\"big\":18446744073709551615,\
         \"float\":1.5,\"nan\":null,\"list\":[\"a\u{fffd}\",\"1970-01-01T00:00:01.000000005Z\"],\
         \"7\":{}}"
    );
}

#[test]
fn what_is_no_message_is_named() {
    let mut deep = b"\x93\xa1t\x01\x81\xa1k".to_vec();
    deep.extend(std::iter::repeat_n(0x91, 100));
    deep.push(0xc0);
    for (bytes, label) in [
        (&b"GET / HTTP/1.1\r\n"[..], "not_a_message"),
        (b"\xc1", "not_messagepack"),
        (b"\x91\xa1t", "truncated"),
        (b"\x92\x01\x02", "not_a_message"),
        (b"\x93\xa1t\x01\x05", "not_a_message"),
        (
            b"\x93\xa1t\xcb\x00\x00\x00\x00\x00\x00\x00\x00\x80",
            "not_a_message",
        ),
        (b"\x92\xa1t\x91\x05", "not_a_message"),
        (b"\x92\xa1t\xc4\x01\x92", "truncated"),
        (b"\x93\xa1t\xc4\x00\x05", "not_a_message"),
        (b"\x93\xa1t\xc4\x01x\x81\xaacompressed\xa4gzip", "gzip"),
        (b"\x93\xa1t\x01\x81\xc0\xc0", "key"),
        (&deep, "too_deep"),
    ] {
        let mut framer = Framer::default();
        framer.spare().extend_from_slice(bytes);
        let error = match framer.next() {
            Err(error) => error,
            Ok(Some(frame)) => Message::parse(frame).expect_err("no message"),
            Ok(None) => panic!("{bytes:x?} is whole"),
        };
        assert_eq!(error.label(), label, "{bytes:x?}: {error}");
    }
}

#[test]
fn claims_of_enormous_sizes_are_refused_before_they_cost_anything() {
    for bytes in [
        &b"\xdd\xff\xff\xff\xff"[..],
        b"\x92\xa1t\xc6\xff\xff\xff\xff",
        b"\x92\xa1t\xdf\xff\xff\xff\xff",
    ] {
        let mut framer = Framer::default();
        framer.spare().extend_from_slice(bytes);
        let error = framer.next().expect_err("too long");
        assert_eq!(error.label(), "too_long", "{bytes:x?}");
    }
}

#[test]
fn a_bomb_of_zeros_is_refused() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder
        .write_all(&vec![0xc0; MESSAGE_BYTES_MAX + 2])
        .unwrap();
    let mut out = Vec::new();
    mp::write_array_len(&mut out, 3).unwrap();
    text(&mut out, "t");
    mp::write_bin(&mut out, &encoder.finish().unwrap()).unwrap();
    options(&mut out, "c", true);
    let error = Message::parse(&out).expect_err("too long");
    assert_eq!(error.label(), "too_long");
}

proptest! {
    /// However a stream is cut, the same messages come out.
    #[test]
    fn fragmentation_changes_nothing(
        texts in prop::collection::vec("[a-z\u{e9}\"]{0,40}", 1..5),
        cuts in prop::collection::vec(1usize..60, 1..40),
    ) {
        let mut stream = Vec::new();
        for text in &texts {
            stream.extend(packed(&[text, "second"], text, text.len() % 2 == 0));
            stream.push(0xc0);
            stream.extend(message_mode(text));
        }
        let (mut framer, mut seen, mut rest) = (Framer::default(), Vec::new(), &stream[..]);
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            framer.spare().extend_from_slice(piece);
            rest = after;
            while let Some(frame) = framer.next().unwrap() {
                if let Some(message) = Message::parse(frame).unwrap() {
                    seen.extend(said(&message));
                }
            }
        }
        let json = |text: &str| serde_json::json!({"message": text}).to_string();
        let expected: Vec<String> = texts
            .iter()
            .flat_map(|text| [json(text), json("second"), json(text)])
            .collect();
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(framer.left(), 0);
    }

    /// No bytes make it panic, and what it takes as a message is inside what it was given.
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut framer = Framer::default();
        framer.spare().extend_from_slice(&bytes);
        while let Ok(Some(frame)) = framer.next() {
            if let Ok(Some(message)) = Message::parse(frame) {
                for entry in message.entries {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&entry.json).is_ok());
                }
            }
        }
    }

    /// A damaged message is an error or other content, never a panic.
    #[test]
    fn a_flipped_byte_never_panics(at in 0usize..80, to in any::<u8>()) {
        let mut bytes = packed(&["some text", "more"], "chunk", false);
        let at = at.min(bytes.len() - 1);
        bytes[at] = to;
        let mut framer = Framer::default();
        framer.spare().extend_from_slice(&bytes);
        while let Ok(Some(frame)) = framer.next() {
            drop(Message::parse(frame));
        }
    }
}
