use std::sync::Arc;

use super::*;
use crate::serve::facts::Attribution;

struct Lab {
    store: Store,
    writer: Writer,
    metrics: Arc<Metrics>,
    directory: tempfile::TempDir,
}

fn lab() -> Lab {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
    let (store, writer) = Store::open(directory.path(), Arc::clone(&metrics)).unwrap();
    Lab {
        store,
        writer,
        metrics,
        directory,
    }
}

fn id(number: usize) -> String {
    format!("{number:032x}-{number:x}")
}

fn line(number: usize, extra: &str) -> String {
    format!(
        r#"{{"@timestamp":"2026-11-23T04:00:{:02}.5Z","event.id":"{}","message":"line {number}"{extra}}}"#,
        number % 60,
        id(number)
    )
}

fn incoming(json: &str, mode: Mode) -> Incoming {
    let facts = Facts::parse(json).unwrap();
    let (id, home) = (facts.id.clone(), "2026.11.23".to_owned());
    Incoming::new(id, home, mode, json.to_owned(), facts)
}

impl Lab {
    async fn put(&self, lane: Lane, mode: Mode, lines: &[String]) -> Vec<Stored> {
        let rows = lines.iter().map(|json| incoming(json, mode)).collect();
        let room = self.store.room(1).await.unwrap();
        let pending = self.store.write(lane, rows, room).await.unwrap();
        pending.committed().await.unwrap()
    }

    async fn indexed(&self) {
        loop {
            let (documents, indexed) = self.store.read(search::counts).await.unwrap();
            if documents == indexed {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn find(&self, query: Query) -> Vec<String> {
        let find = move |connection: &rusqlite::Connection| query.page(connection, None, 100);
        let found = self.store.read(find).await.unwrap();
        let messages = found.documents.into_iter().map(|(_, facts)| facts.message);
        messages.collect()
    }

    async fn receipts(&self, lane: Lane) -> Vec<serde_json::Value> {
        let query = ReceiptQuery {
            lane: Some(lane),
            after: 0,
            limit: 1000,
            whole: false,
        };
        let page = self.store.read(move |c| query.page(c)).await.unwrap();
        let lines = page.lines.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

#[tokio::test]
async fn one_document_on_two_lanes_is_shown_once_and_receipted_twice() {
    let lab = lab();
    let lines = [line(1, "")];
    let created = [Stored::Created];
    assert_eq!(lab.put(Lane::Forward, Mode::Create, &lines).await, created);
    assert_eq!(lab.put(Lane::Elastic, Mode::Create, &lines).await, created);
    assert_eq!(
        lab.put(Lane::Forward, Mode::Create, &lines).await,
        [Stored::Duplicate]
    );
    assert_eq!(lab.find(Query::default()).await, ["line 1"]);
    let forward = lab.receipts(Lane::Forward).await;
    assert_eq!(forward.len(), 1);
    assert_eq!(forward[0]["arrivals"], 2);
    assert_eq!(forward[0]["conflicts"], 0);
    assert_eq!(forward[0]["id"], id(1));
    assert_eq!(lab.receipts(Lane::Elastic).await[0]["arrivals"], 1);
    assert_eq!(lab.metrics.stored(Lane::Forward, "duplicate"), 1);
}

#[tokio::test]
async fn the_same_id_with_other_content_is_a_conflict_and_the_first_stays() {
    let lab = lab();
    let first = line(1, r#","user.id":"alice""#);
    let second = line(1, r#","user.id":"bob""#);
    lab.put(Lane::Forward, Mode::Create, &[first]).await;
    lab.put(Lane::Forward, Mode::Create, std::slice::from_ref(&second))
        .await;
    lab.put(Lane::Elastic, Mode::Create, &[second]).await;
    let forward = lab.receipts(Lane::Forward).await;
    assert_eq!(forward[0]["conflicts"], 1);
    assert_eq!(forward[0]["user"], "alice");
    let elastic = lab.receipts(Lane::Elastic).await;
    assert_eq!(elastic[0]["user"], "bob", "each lane's own words are kept");
}

#[tokio::test]
async fn an_overwritten_document_is_found_by_its_new_words_only() {
    let lab = lab();
    lab.put(
        Lane::Elastic,
        Mode::Create,
        &[line(1, r#","emco.app":"firewall""#)],
    )
    .await;
    lab.indexed().await;
    let changed = [line(1, r#","emco.app":"router""#)];
    let updated = lab.put(Lane::Elastic, Mode::Overwrite, &changed).await;
    assert_eq!(updated, [Stored::Updated]);
    let text = |text: &str| Query {
        text: text.to_owned(),
        ..Query::default()
    };
    assert!(lab.find(text("firewall")).await.is_empty());
    assert_eq!(lab.find(text("router")).await, ["line 1"]);
}

#[tokio::test]
async fn text_facets_and_time_narrow_together() {
    let lab = lab();
    let lines = [
        r#","service.name":"rsync","log.level":"error","user.id":"alice","emco.attribution.outcome":"attributed""#,
        r#","service.name":"rsync","log.level":"info","emco.attribution.outcome":"background""#,
        r#","service.name":"dcm","log.level":"info","emco.fields":{"error":"no such-cluster"}"#,
    ];
    let lines: Vec<String> = lines.iter().enumerate().map(|(n, x)| line(n, x)).collect();
    lab.put(Lane::Forward, Mode::Create, &lines).await;
    lab.indexed().await;
    let query = |change: fn(&mut Query)| {
        let mut query = Query::default();
        change(&mut query);
        query
    };
    for (query, expected) in [
        (
            query(|q| q.text = "line".to_owned()),
            vec!["line 2", "line 1", "line 0"],
        ),
        (
            query(|q| q.text = "LIN -1".to_owned()),
            vec!["line 2", "line 0"],
        ),
        (query(|q| q.text = "-line".to_owned()), vec![]),
        (
            query(|q| q.text = "such-cluster".to_owned()),
            vec!["line 2"],
        ),
        (query(|q| q.text = "\"line 1\"".to_owned()), vec!["line 1"]),
        (
            query(|q| q.text = "\" ( * \"\" AND OR ^".to_owned()),
            vec![],
        ),
        (
            query(|q| q.text = "***".to_owned()),
            vec!["line 2", "line 1", "line 0"],
        ),
        (query(|q| q.user = "alice".to_owned()), vec!["line 0"]),
        (
            query(|q| q.service = "rsync".to_owned()),
            vec!["line 1", "line 0"],
        ),
        (
            query(|q| q.attribution = Some(Attribution::Background)),
            vec!["line 1"],
        ),
        (query(|q| q.to = Some(1)), vec![]),
    ] {
        assert_eq!(lab.find(query.clone()).await, expected, "{query:?}");
    }
    let rsync = query(|q| q.service = "rsync".to_owned());
    let facets = lab.store.read(move |c| rsync.facets(c)).await.unwrap();
    assert_eq!(facets.total, 2);
    let names = |list: &[(String, u64)]| -> Vec<String> {
        list.iter().map(|(name, n)| format!("{name}={n}")).collect()
    };
    assert_eq!(names(&facets.services), ["rsync=2", "dcm=1"]);
    assert_eq!(names(&facets.levels), ["error=1", "info=1"]);
    assert_eq!(names(&facets.users), ["alice=1"]);
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    let lab = lab();
    // Many documents of one instant: the cursor has to tell them apart.
    let lines: Vec<String> = (0..250).map(|n| line(n * 60, "")).collect();
    lab.put(Lane::Forward, Mode::Create, &lines).await;
    let (mut seen, mut cursor) = (std::collections::HashSet::new(), None);
    loop {
        let page = move |c: &rusqlite::Connection| Query::default().page(c, cursor, 40);
        let found = lab.store.read(page).await.unwrap();
        for (_, facts) in found.documents {
            assert!(seen.insert(facts.id));
        }
        cursor = found.next.map(|next| next.to_string().parse().unwrap());
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 250);
}

#[tokio::test]
async fn nothing_is_answered_before_the_transaction_is_committed() {
    let lab = lab();
    let blocker = rusqlite::Connection::open(lab.directory.path().join("lab.sqlite")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let rows = vec![incoming(&line(1, ""), Mode::Create)];
    let room = lab.store.room(1).await.unwrap();
    let mut pending = lab.store.write(Lane::Forward, rows, room).await.unwrap();
    // The writer has taken the group once its queue is empty, and now waits for the lock.
    while lab.store.writes.capacity() < lab.store.writes.max_capacity() {
        tokio::task::yield_now().await;
    }
    assert!(pending.0.try_recv().is_err(), "answered before the commit");
    blocker.execute_batch("COMMIT").unwrap();
    assert_eq!(pending.committed().await.unwrap(), [Stored::Created]);
    assert_eq!(lab.find(Query::default()).await, ["line 1"]);
}

#[tokio::test]
async fn what_waits_together_is_committed_together() {
    let lab = lab();
    let blocker = rusqlite::Connection::open(lab.directory.path().join("lab.sqlite")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut pending = Vec::new();
    for number in 0..100 {
        let rows = vec![incoming(&line(number, ""), Mode::Create)];
        let room = lab.store.room(1).await.unwrap();
        pending.push(lab.store.write(Lane::Forward, rows, room).await.unwrap());
    }
    blocker.execute_batch("COMMIT").unwrap();
    for one in pending {
        assert_eq!(one.committed().await.unwrap(), [Stored::Created]);
    }
    let commits = lab.metrics.commits.get();
    assert!(
        commits <= 2,
        "{commits} transactions for 100 waiting messages"
    );
}

#[tokio::test]
async fn closing_keeps_everything_and_the_index_goes_on_where_it_was() {
    let lab = lab();
    let lines: Vec<String> = (0..2000).map(|n| line(n, "")).collect();
    lab.put(Lane::Forward, Mode::Create, &lines).await;
    let Lab {
        store,
        writer,
        metrics,
        directory,
    } = lab;
    drop(store);
    tokio::task::spawn_blocking(|| writer.join()).await.unwrap();
    let (store, writer) = Store::open(directory.path(), Arc::clone(&metrics)).unwrap();
    let lab = Lab {
        store,
        writer,
        metrics,
        directory,
    };
    lab.indexed().await;
    let query = Query {
        text: "line".to_owned(),
        ..Query::default()
    };
    let facets = lab.store.read(move |c| query.facets(c)).await.unwrap();
    assert_eq!(facets.total, 2000);
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_refused() {
    let lab = lab();
    let path = lab.directory.path().join("lab.sqlite");
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let refused = Store::open(lab.directory.path(), Arc::clone(&lab.metrics));
    let message = refused.err().expect("refused").to_string();
    assert!(message.contains("has version 99"), "{message}");
}

#[tokio::test]
async fn a_store_of_an_older_program_is_brought_up_to_date() {
    let lab = lab();
    lab.put(Lane::Forward, Mode::Create, &[line(1, "")]).await;
    let older = "DROP TABLE spans; DROP TABLE samples; PRAGMA user_version = 1;";
    let connection = rusqlite::Connection::open(lab.directory.path().join("lab.sqlite")).unwrap();
    connection.execute_batch(older).unwrap();
    drop(lab.store);
    tokio::task::spawn_blocking(|| lab.writer.join())
        .await
        .unwrap();
    let (store, _writer) = Store::open(lab.directory.path(), lab.metrics).unwrap();
    let span = IncomingSpan {
        trace: "t".to_owned(),
        ..IncomingSpan::default()
    };
    let room = store.room(1).await.unwrap();
    let stored = store.write_spans(vec![span], room).await.unwrap();
    assert_eq!(stored.created, 1);
    let (documents, _) = store.read(counts).await.unwrap();
    assert_eq!(documents, 1, "what was there still is");
}

#[tokio::test]
async fn samples_are_kept_when_they_say_something_new() {
    let lab = lab();
    let sample = |seconds: u64, requests: f64| {
        let sample = Sample {
            time: seconds * 1_000_000_000,
            requests,
            ..Sample::default()
        };
        vec![("rsync".to_owned(), sample)]
    };
    for (seconds, requests, new) in [
        (100, 0.0, 1),
        (105, 0.0, 0),
        (110, 3.0, 1),
        (110, 4.0, 0),
        (180, 3.0, 1),
    ] {
        let stored = lab.store.write_samples(sample(seconds, requests)).await;
        assert_eq!(stored.unwrap(), new, "{seconds}");
    }
    let of = |from: u64, to: u64| {
        let read = move |c: &rusqlite::Connection| {
            samples(c, "rsync", from * 1_000_000_000, to * 1_000_000_000)
        };
        lab.store.read(read)
    };
    let times = |samples: Vec<Sample>| -> Vec<u64> {
        let times = samples.iter().map(|sample| sample.time / 1_000_000_000);
        times.collect()
    };
    assert_eq!(times(of(0, 999).await.unwrap()), [100, 110, 180]);
    let with_the_last_before = times(of(120, 999).await.unwrap());
    assert_eq!(with_the_last_before, [110, 180]);
    let much_later = 100_000;
    let stored = lab.store.write_samples(sample(much_later, 5.0)).await;
    assert_eq!(stored.unwrap(), 1);
    assert_eq!(times(of(0, 999_999).await.unwrap()), [much_later]);
}
