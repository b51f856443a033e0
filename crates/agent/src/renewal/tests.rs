use super::*;
use bytes::Bytes;

/// Answers everything, or nothing, and says who it is.
struct Fake {
    name: &'static str,
    silent: bool,
    seen: mpsc::Sender<(&'static str, u64)>,
}

impl Output for Fake {
    async fn run(
        self,
        mut batches: mpsc::Receiver<Batch>,
        answers: mpsc::Sender<(BatchId, Answer)>,
        stop: CancellationToken,
    ) {
        let work = async {
            while let Some(batch) = batches.recv().await {
                self.seen.send((self.name, batch.id.0)).await.unwrap();
                if self.silent {
                    std::future::pending::<()>().await;
                }
                answers.send((batch.id, Answer::Delivered)).await.unwrap();
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }
}

fn batch(id: u64) -> Batch {
    Batch {
        id: BatchId(id),
        bytes: Bytes::new(),
        ends: Vec::new(),
    }
}

struct Scene {
    batches: mpsc::Sender<Batch>,
    answers: mpsc::Receiver<(BatchId, Answer)>,
    seen: mpsc::Receiver<(&'static str, u64)>,
    see: mpsc::Sender<(&'static str, u64)>,
    renewal: Renewal<Fake>,
    task: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

fn scene(silent: bool) -> Scene {
    let (see, seen) = mpsc::channel(16);
    let (batches, to_output) = mpsc::channel(4);
    let (its_answers, answers) = mpsc::channel(4);
    let stop = CancellationToken::new();
    let (output, renewal) = renewing(Fake {
        name: "old",
        silent,
        seen: see.clone(),
    });
    let task = tokio::spawn(output.run(to_output, its_answers, stop.clone()));
    Scene {
        batches,
        answers,
        seen,
        see,
        renewal,
        task,
        stop,
    }
}

fn new(scene: &Scene) -> Fake {
    Fake {
        name: "new",
        silent: false,
        seen: scene.see.clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn batches_go_to_the_newest_output() {
    let mut scene = scene(false);
    scene.batches.send(batch(1)).await.unwrap();
    assert_eq!(
        scene.answers.recv().await,
        Some((BatchId(1), Answer::Delivered))
    );
    scene.renewal.renew(new(&scene));
    while scene.renewal.0.lock().is_some() {
        tokio::task::yield_now().await;
    }
    scene.batches.send(batch(2)).await.unwrap();
    assert_eq!(
        scene.answers.recv().await,
        Some((BatchId(2), Answer::Delivered))
    );
    assert_eq!(scene.seen.recv().await, Some(("old", 1)));
    assert_eq!(scene.seen.recv().await, Some(("new", 2)));
    drop(scene.batches);
    scene.task.await.unwrap();
}

/// Nothing is lost with an output that hangs: not what it has, nor what waits before it.
#[tokio::test(start_paused = true)]
async fn what_the_old_output_never_answers_is_sent_again() {
    let mut scene = scene(true);
    for id in 1..=3 {
        scene.batches.send(batch(id)).await.unwrap();
    }
    assert_eq!(scene.seen.recv().await, Some(("old", 1)));
    scene.renewal.renew(new(&scene));
    let mut again = BTreeSet::new();
    let mut delivered = BTreeSet::new();
    while again.len() + delivered.len() < 3 {
        match scene.answers.recv().await.unwrap() {
            (
                id,
                Answer::Retry {
                    label: LABEL,
                    after: None,
                },
            ) => assert!(again.insert(id)),
            (id, Answer::Delivered) => assert!(delivered.insert(id)),
            other => panic!("{other:?}"),
        }
    }
    assert!(again.contains(&BatchId(1)));
    assert!(again.is_disjoint(&delivered), "each is answered once");
    scene.batches.send(batch(4)).await.unwrap();
    assert_eq!(
        scene.answers.recv().await,
        Some((BatchId(4), Answer::Delivered))
    );
    drop(scene.batches);
    scene.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_it_without_answers() {
    let mut scene = scene(true);
    scene.batches.send(batch(1)).await.unwrap();
    assert_eq!(scene.seen.recv().await, Some(("old", 1)));
    scene.stop.cancel();
    scene.task.await.unwrap();
    assert_eq!(scene.answers.recv().await, None);
}
