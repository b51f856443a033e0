use model::evidence::{SpanFacts, SpanKind};
use model::ids::{SpanId, TraceId};
use proptest::prelude::*;

use super::{Known, START};
use crate::lookup::Request;
use crate::rules::{NoiseSettings, Rate, Rule, Rules};

fn facts(name: &str, kind: SpanKind, trace: u128) -> SpanFacts<'_> {
    SpanFacts {
        trace: TraceId(trace.to_be_bytes()),
        span: SpanId([1; 8]),
        parent: Some(SpanId([2; 8])),
        kind,
        name,
        rpc_method: None,
        rpc_service: None,
        service: "rsync.emco",
        statement: None,
        start: START,
        duration: 1_000_000,
        failed: false,
    }
}

fn rule(span: &SpanFacts<'_>, known: &Known) -> Option<Rule> {
    let judged = Rules::new(NoiseSettings::default()).judge(span, known);
    judged.map(|(rule, _)| rule)
}

#[test]
fn pollers_and_scrapes_are_noise_unless_they_failed() {
    let known = Known {
        polls: true,
        ..Known::default()
    };
    let mut find = facts("resources.find", SpanKind::Client, 7);
    assert_eq!(rule(&find, &known), Some(Rule::MetricsPoll));
    assert_eq!(rule(&find, &Known::default()), None);
    find.failed = true;
    assert_eq!(rule(&find, &known), None);

    let scrape = facts("get /metrics", SpanKind::Unset, 7);
    let served = |status| Known {
        request: Some(Request { status, path: None }),
        ..Known::default()
    };
    assert_eq!(rule(&scrape, &Known::default()), Some(Rule::Scrape));
    assert_eq!(rule(&scrape, &served(200)), Some(Rule::Scrape));
    assert_eq!(rule(&scrape, &served(503)), None);
    let other = facts("get /metrics/other", SpanKind::Unset, 7);
    assert_eq!(rule(&other, &Known::default()), None);
}

#[test]
fn a_read_a_second_after_the_last_call_of_its_parent_is_a_poll() {
    let mut rules = Rules::new(NoiseSettings::default());
    let mut judge = |name: &'static str, at: u64, trace| {
        let mut call = facts(name, SpanKind::Client, trace);
        call.start = START.plus(at * 1_000_000);
        rules.judge(&call, &Known::default()).map(|(rule, _)| rule)
    };
    let range = "etcdserverpb.kv/range";
    let read = Some(Rule::EtcdRead);
    assert_eq!(judge(range, 0, 7), read, "nothing is known of its parent");
    assert_eq!(judge(range, 1_005, 7), Some(Rule::EtcdPoll));
    assert_eq!(judge(range, 1_500, 8), read, "another trace");
    assert_eq!(judge("etcdserverpb.kv/put", 1_600, 7), None);
    assert_eq!(judge(range, 2_010, 7), read, "a put came in between");
    assert_eq!(judge(range, 3_012, 7), Some(Rule::EtcdPoll));
    assert_eq!(judge(range, 9_000, 7), read, "too long ago");
    assert_eq!(judge(range, 8_000, 7), read, "out of order");
}

#[test]
fn a_failed_read_is_kept_and_still_the_last_call() {
    let mut rules = Rules::new(NoiseSettings::default());
    let mut call = facts("etcdserverpb.kv/range", SpanKind::Client, 7);
    call.failed = true;
    assert_eq!(rules.judge(&call, &Known::default()), None);
    call.failed = false;
    call.start = call.end().plus(1_000_000_000);
    let judged = rules.judge(&call, &Known::default());
    assert_eq!(judged.map(|(rule, _)| rule), Some(Rule::EtcdPoll));
}

#[test]
fn a_share_of_traces_is_kept_whatever_ids_callers_choose() {
    let settings = NoiseSettings {
        etcd_reads: Rate::try_from(0.25).unwrap(),
        ..NoiseSettings::default()
    };
    let known = Known::default();
    let mut rules = Rules::new(settings);
    for stride in [1_u128, 1 << 64, (1 << 64) + 1, 0x9e37_79b9_7f4a_7c15] {
        let kept = (1..=10_000)
            .filter(|number| {
                let call = facts("etcdserverpb.kv/range", SpanKind::Client, number * stride);
                rules.judge(&call, &known).is_some_and(|(_, kept)| kept)
            })
            .count();
        assert!((2_300..2_700).contains(&kept), "{kept} with {stride:x}");
    }
}

proptest! {
    /// Whatever was seen before, a trace is kept or not, by its id alone; all and nothing are exact.
    #[test]
    fn the_id_alone_decides(traces in prop::collection::vec(any::<u128>(), 1..64), rate in 0.0..1.0) {
        let rules = |rate| Rules::new(NoiseSettings {
            etcd_reads: Rate::try_from(rate).unwrap(),
            etcd_polls: Rate::try_from(rate).unwrap(),
            ..NoiseSettings::default()
        });
        let mut used = rules(rate);
        for trace in traces {
            let call = facts("etcdserverpb.kv/range", SpanKind::Client, trace);
            let keeps = |rules: &mut Rules| rules.judge(&call, &Known::default()).unwrap().1;
            prop_assert_eq!(keeps(&mut used), keeps(&mut rules(rate)));
            prop_assert!(keeps(&mut rules(1.0)) && !keeps(&mut rules(0.0)));
        }
    }
}

#[test]
fn shares_beyond_the_whole_are_refused() {
    for bad in ["1.5", "-0.1", ".nan"] {
        let error = serde_saphyr::from_str::<NoiseSettings>(&format!("scrapes: {bad}"));
        assert!(error.is_err(), "{bad}");
    }
    let settings: NoiseSettings = serde_saphyr::from_str("scrapes: 1\netcd_reads: 0").unwrap();
    assert_eq!(
        (settings.scrapes, settings.etcd_reads),
        (Rate::ALL, Rate::NONE)
    );
}
