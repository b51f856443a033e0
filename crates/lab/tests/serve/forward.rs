use std::io::{Read, Write};

use crate::lab::{Lab, id, packed, read_ack};

#[test]
fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let mut stream = lab.connect();
    let messages = (0..200).map(|n| packed(n * 50..n * 50 + 50, &format!("{n:03}")));
    let bytes: Vec<u8> = messages.flatten().collect();
    let mut sender = stream.try_clone().unwrap();
    // The lab is killed while this still sends, so its errors mean nothing.
    let sending = std::thread::spawn(move || drop(sender.write_all(&bytes)));
    let acknowledged: Vec<String> = (0..40).map(|_| read_ack(&mut stream)).collect();
    lab.kill();
    sending.join().unwrap();
    let store = rusqlite::Connection::open(data.path().join("lab.sqlite")).unwrap();
    let mut statement = store
        .prepare("SELECT count(*) FROM receipts WHERE lane = 'forward' AND id = ?1")
        .unwrap();
    for (position, chunk) in acknowledged.iter().enumerate() {
        assert_eq!(*chunk, format!("{position:03}"), "in the order they came");
        for number in position * 50..position * 50 + 50 {
            let found: i64 = statement.query_row([id(number)], |row| row.get(0)).unwrap();
            assert_eq!(found, 1, "line {number} of chunk {chunk}");
        }
    }
}

#[test]
fn a_message_in_pieces_and_heartbeats_between_are_understood() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let mut stream = lab.connect();
    stream.set_nodelay(true).unwrap();
    for round in ["one", "two"] {
        stream.write_all(&[0xc0]).unwrap();
        for piece in packed(0..3, round).chunks(11) {
            stream.write_all(piece).unwrap();
        }
        assert_eq!(read_ack(&mut stream), round);
    }
    let receipts = lab.receipts("lane=forward");
    assert_eq!(receipts.len(), 3);
    assert!(receipts.iter().all(|receipt| receipt["arrivals"] == 2));
    assert!(
        receipts
            .iter()
            .all(|receipt| receipt["home"] == "2026.11.23")
    );
    assert_eq!(lab.metric("emco_observer_lab_forward_heartbeats_total"), 2);
}

#[test]
fn garbage_closes_its_own_connection_and_is_counted() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let mut good = lab.connect();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\xc1\xc1", b"\x92\x01\x02"] {
        let mut stream = lab.connect();
        stream.write_all(garbage).unwrap();
        let mut rest = Vec::new();
        // Closed with bytes unread may arrive as a reset: an end as well.
        if stream.read_to_end(&mut rest).is_ok() {
            assert!(rest.is_empty(), "an answer to garbage");
        }
    }
    good.write_all(&packed(0..1, "abc")).unwrap();
    assert_eq!(read_ack(&mut good), "abc");
    let count = |reason: &str| {
        lab.metric(&format!(
            "emco_observer_lab_forward_errors_total{{reason=\"{reason}\"}}"
        ))
    };
    // a connection is counted when it is closed on our side, maybe after the peer saw its end
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while count("not_a_message") + count("not_messagepack") < 3 && std::time::Instant::now() < until
    {
    }
    assert_eq!(count("not_a_message"), 2);
    assert_eq!(count("not_messagepack"), 1);
}

#[test]
fn a_stop_keeps_what_was_acknowledged_and_ends_well() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let mut stream = lab.connect();
    stream.write_all(&packed(0..500, "abc")).unwrap();
    assert_eq!(read_ack(&mut stream), "abc");
    assert!(lab.stop(), "exit code 0");
    let lab = Lab::start(data.path());
    assert_eq!(lab.receipts("lane=forward").len(), 500);
    let found = lab.get("/api/v1/search?limit=1").json();
    assert_eq!(found["total"], 500);
}
