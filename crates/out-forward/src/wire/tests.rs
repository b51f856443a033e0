use proptest::prelude::*;

use super::*;

fn helo() -> Vec<u8> {
    // Two-element array, map of three; the nonce as binary that is no UTF-8, the salt as string.
    let mut bytes = vec![0x92, 0xa4];
    bytes.extend_from_slice(b"HELO");
    bytes.extend_from_slice(&[0x83, 0xa5]);
    bytes.extend_from_slice(b"nonce");
    bytes.extend_from_slice(&[0xc4, 3, 0xff, 0x00, 0xfe, 0xa4]);
    bytes.extend_from_slice(b"auth");
    bytes.extend_from_slice(&[0xa2, 0x80, 0x81, 0xa9]);
    bytes.extend_from_slice(b"keepalive");
    bytes.push(0xc2);
    bytes
}

#[test]
fn a_message_as_an_independent_decoder_reads_it() {
    let chunk = ChunkId::new(u128::from_be_bytes(*b"0123456789abcdef"));
    for gzip in [false, true] {
        let mut message = message_head("emco.logs", 5);
        message.extend_from_slice(b"\x92\x00\x81\xa1k");
        message.extend_from_slice(&message_tail(chunk, 70_000, gzip));
        let mut rest = message.as_slice();
        let value = rmpv::decode::read_value(&mut rest).unwrap();
        assert!(rest.is_empty());
        assert_eq!(value[0], rmpv::Value::from("emco.logs"));
        assert_eq!(
            value[1],
            rmpv::Value::from(&b"\x92\x00\x81\xa1k"[..]),
            "a binary"
        );
        assert_eq!(
            value[2]["chunk"],
            rmpv::Value::from("MDEyMzQ1Njc4OWFiY2RlZg==")
        );
        assert_eq!(value[2]["size"], rmpv::Value::from(70_000));
        let compressed = if gzip {
            rmpv::Value::from("gzip")
        } else {
            rmpv::Value::Nil
        };
        assert_eq!(value[2]["compressed"], compressed);
    }
}

#[test]
fn a_message_as_bytes() {
    let chunk = ChunkId::new(1);
    let mut message = message_head("emco.logs", 2);
    message.extend_from_slice(&[0x92, 0xc0]);
    message.extend_from_slice(&message_tail(chunk, 1, true));
    insta::assert_snapshot!(const_hex::encode(message));
}

#[test]
fn a_ping_as_bytes() {
    let (helo, _) = read_helo(&helo()).unwrap().unwrap();
    let login = Some(("alice", &b"secret"[..]));
    insta::assert_snapshot!(const_hex::encode(ping(
        &helo, "pod-1", "salt", b"key", login
    )));
}

#[test]
fn every_message_of_a_receiver_cut_at_every_byte_is_incomplete_and_nothing_else() {
    let mut ack = vec![0x82, 0xa5];
    ack.extend_from_slice(b"extra");
    ack.extend_from_slice(&[0x92, 0xcd, 1, 2, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0, 0xa3]);
    ack.extend_from_slice(b"ack");
    ack.extend_from_slice(&[0xd9, 4]);
    ack.extend_from_slice(b"id==");
    let mut pong = vec![0x95, 0xa4];
    pong.extend_from_slice(b"PONG");
    pong.extend_from_slice(&[0xc2, 0xa3]);
    pong.extend_from_slice(b"no!");
    pong.extend_from_slice(&[0xa0, 0xa0]);
    let helo = helo();
    for cut in 0..ack.len() {
        assert!(read_ack(&ack[..cut]).unwrap().is_none(), "{cut}");
        assert_ne!(begins_like_helo(&ack[..cut]), Some(true), "{cut}");
    }
    for cut in 0..pong.len() {
        assert!(read_pong(&pong[..cut]).unwrap().is_none(), "{cut}");
    }
    for cut in 0..helo.len() {
        assert!(read_helo(&helo[..cut]).unwrap().is_none(), "{cut}");
        let told = (cut >= 6).then_some(true);
        assert_eq!(begins_like_helo(&helo[..cut]), told, "{cut}");
    }
    assert_eq!(read_ack(&ack).unwrap(), Some((&b"id=="[..], ack.len())));
    let (pong, length) = read_pong(&pong).unwrap().unwrap();
    assert_eq!(
        (pong.accepted, pong.reason.as_str(), length),
        (false, "no!", 13)
    );
    let (read, length) = read_helo(&helo).unwrap().unwrap();
    assert_eq!(length, helo.len());
    assert_eq!(
        (read.nonce, read.auth),
        (vec![0xff, 0, 0xfe], vec![0x80, 0x81])
    );
    assert!(!read.keepalive);
}

#[test]
fn what_is_no_acknowledgement_is_garbage() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request"[..],
        b"\x80",
        b"\x81\xa3ack\x01",
        b"\xc1",
        b"\x81\xa1x\xc1",
    ] {
        let error = read_ack(bytes).unwrap_err();
        assert_eq!(error.label(), "garbage", "{bytes:?}");
    }
}

#[test]
fn a_message_that_never_ends_is_refused_at_the_cap() {
    let mut endless = b"\x81\xa3ack\xdb\x7f\xff\xff\xff".to_vec();
    assert!(read_ack(&endless).unwrap().is_none());
    endless.resize(RECEIVED_BYTES_MAX, b'x');
    assert_eq!(read_ack(&endless).unwrap_err().label(), "oversized");
    let mut nested = vec![0x81, 0xa1, b'x'];
    nested.resize(200, 0x91);
    assert_eq!(
        read_ack(&nested).unwrap_err().label(),
        "garbage",
        "nesting is bounded"
    );
}

#[test]
fn the_receivers_own_words_are_shortened_and_stay_on_one_line() {
    let long = shorten("é\n".repeat(1000).as_bytes());
    assert_eq!(long.chars().count(), REASON_CHARS_MAX);
    assert!(!long.contains('\n'));
}

proptest! {
    /// Whatever a receiver sends is a message, incomplete, or refused: never a panic, and never a
    /// message longer than what came.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let lengths = [
            read_ack(&bytes).ok().flatten().map(|(_, length)| length),
            read_helo(&bytes).ok().flatten().map(|(_, length)| length),
            read_pong(&bytes).ok().flatten().map(|(_, length)| length),
        ];
        prop_assert!(lengths.into_iter().flatten().all(|length| length <= bytes.len()));
    }

    /// A valid message with one byte changed is read or refused as well.
    #[test]
    fn a_damaged_helo_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = helo();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(Some((_, length))) = read_helo(&bytes) {
            prop_assert!(length <= bytes.len());
        }
        begins_like_helo(&bytes);
    }
}
