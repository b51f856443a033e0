//! What attribution must reach on a workload that is played at its own pace with the default wait.
//!
//! The floors of the traced recording are promises; lines with their person may be five points below
//! exact ones. Those of the generator only notice what broke: they stand at least five points below the
//! worst of three seeds.

use std::path::Path;

use testkit::truth::{Attribution, Group};

use super::corpus::Origin;

/// The longest time that a sidecar lets a line wait: what has not come by then never comes.
pub(crate) const LONGEST_WAIT: &str = "20s";

/// Least coverage of the lines of one service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Floor {
    /// The service.
    pub(crate) service: &'static str,
    /// Only lines printed while so many of its requests were open; all lines if there is none.
    pub(crate) open: Option<&'static str>,
    /// Least share of exact request lines, in percent; 0 where that is not judged.
    pub(crate) exact: f64,
    /// Least share of exact lines whose person is right, too, in percent, if that is judged.
    pub(crate) user: Option<f64>,
    /// Least share of background lines that are marked so, in percent, if that is judged.
    pub(crate) marked: Option<f64>,
    /// So many lines may be missing from each share: what chance takes from a service of few lines.
    pub(crate) spare: u64,
}

/// The lines of two calls of a service of few lines: a kill takes the evidence of a whole call, and which
/// call that is depends on the moment.
const TWO_CALLS: u64 = 16;

const fn floor(service: &'static str, exact: f64) -> Floor {
    Floor {
        service,
        open: None,
        exact,
        user: None,
        marked: None,
        spare: 0,
    }
}

const fn killed(service: &'static str, exact: f64, user: f64) -> Floor {
    Floor {
        spare: TWO_CALLS,
        ..with_person(service, exact, user)
    }
}

const fn with_person(service: &'static str, exact: f64, user: f64) -> Floor {
    Floor {
        user: Some(user),
        ..floor(service, exact)
    }
}

const fn by_open(open: &'static str, exact: f64, user: f64) -> Floor {
    Floor {
        open: Some(open),
        ..with_person("orchestrator", exact, user)
    }
}

/// Of `truth/traced`.
pub(crate) const TRACED: &[Floor] = &[
    by_open("1-5", 97.0, 92.0),
    by_open("6-10", 93.0, 88.0),
    by_open("more", 88.0, 83.0),
    floor("clm", 97.0),
    floor("ncm", 97.0),
    floor("gac", 97.0),
    floor("dcm", 75.0),
];

/// Of `truth/traced` where sidecars are killed on the way: each restart is a gap, in which nothing is
/// claimed, and spans are lost with it. Three points and two calls below what is measured without kills.
pub(crate) const KILLED: &[Floor] = &[
    killed("orchestrator", 90.3, 86.3),
    killed("clm", 96.2, 86.6),
    killed("ncm", 97.0, 89.4),
    killed("gac", 94.1, 80.1),
    killed("dcm", 78.3, 68.2),
    killed("rsync", 48.3, 46.8),
];

/// Of `truth/traced` where lines wait as long as they can.
pub(crate) const PATIENT: &[Floor] = &[Floor {
    marked: Some(99.0),
    ..floor("dcm", 0.0)
}];

/// Of the generator.
pub(crate) const GENERATED: &[Floor] = &[
    by_open("1-5", 86.0, 70.0),
    floor("clm", 81.0),
    floor("ncm", 78.0),
    floor("dcm", 95.0),
    floor("rsync", 50.0),
];

/// The floors of a workload whose lines wait so long, and in which sidecars are killed or not; nothing
/// where none were set.
pub(crate) fn of(origin: &Origin, wait: &str, kills: bool) -> Option<Vec<Floor>> {
    match origin {
        Origin::Generated(_) if kills => Some(Vec::new()),
        Origin::Generated(_) => Some(GENERATED.to_vec()),
        Origin::Recorded(path) if path.ends_with(Path::new("truth/traced")) => {
            if kills {
                return Some(KILLED.to_vec());
            }
            let patient = if wait == LONGEST_WAIT { PATIENT } else { &[] };
            Some([TRACED, patient].concat())
        }
        Origin::Recorded(_) => None,
    }
}

/// Which floors were missed and by how much, one sentence each.
pub(crate) fn missed(floors: &[Floor], attribution: &Attribution) -> Vec<String> {
    let judged = floors.iter().map(|floor| floor.missed(attribution));
    judged.flatten().collect()
}

impl Floor {
    fn missed(&self, attribution: &Attribution) -> Vec<String> {
        let group = self.group(attribution).unwrap_or_default();
        let (request, background) = (group.request_lines, group.background_lines);
        let measured = match self.marked {
            Some(_) => background.total,
            None => request.total,
        };
        if measured == 0 {
            return vec![format!("{}: there is no line to measure", self.place())];
        }
        let requests = |what, part, least| self.says(what, part, request.total, least);
        let said = [
            requests("request lines are exact", request.exact, Some(self.exact)),
            requests(
                "request lines have their person",
                request.user_exact,
                self.user,
            ),
            self.says(
                "background lines are marked",
                background.marked,
                background.total,
                self.marked,
            ),
        ];
        said.into_iter().flatten().collect()
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of lines, taken as a share"
    )]
    fn says(&self, what: &str, part: u64, total: u64, least: Option<f64>) -> Option<String> {
        let share = part as f64 * 100.0 / total as f64;
        let spared = (part + self.spare) as f64 * 100.0 / total as f64;
        let least = least.filter(|least| spared < *least)?;
        Some(format!(
            "{}: {share:.2} % of {total} {what}, {:.2} points below the floor of {least} %",
            self.place(),
            least - share,
        ))
    }

    fn group(&self, attribution: &Attribution) -> Option<Group> {
        let service = attribution.by_service.get(self.service)?;
        match self.open {
            None => Some(service.all),
            Some(open) => service.by_open_requests.get(open).copied(),
        }
    }

    fn place(&self) -> String {
        match self.open {
            None => self.service.to_owned(),
            Some(open) => format!("{} with {open} requests open", self.service),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::truth::{BackgroundLines, RequestLines};

    /// Everything just at its floor, in thousandths.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shares of a thousand"
    )]
    fn just(floors: &[Floor]) -> Attribution {
        let mut attribution = Attribution::default();
        for floor in floors {
            let exact = (floor.exact * 10.0) as u64;
            let user = (floor.user.unwrap_or_default() * 10.0) as u64;
            *lines(&mut attribution, floor) = RequestLines {
                total: 1000,
                exact,
                user_exact: user,
                ambiguous: 1000 - exact,
                ..RequestLines::default()
            };
        }
        attribution
    }

    fn lines<'a>(attribution: &'a mut Attribution, floor: &Floor) -> &'a mut RequestLines {
        let service = attribution.by_service.entry(floor.service.to_owned());
        let service = service.or_default();
        let group: &mut Group = match floor.open {
            None => &mut service.all,
            Some(open) => service.by_open_requests.entry(open.to_owned()).or_default(),
        };
        &mut group.request_lines
    }

    /// By how much a floor is missed when one line of a thousand is missing that may not be.
    fn points(floor: &Floor) -> String {
        let lines = 1 + floor.spare;
        format!("{}.{}0 points below", lines / 10, lines % 10)
    }

    #[test]
    fn each_floor_is_missed_by_one_line_less() {
        for floors in [TRACED, GENERATED, KILLED] {
            assert_eq!(missed(floors, &just(floors)), [""; 0]);
            for floor in floors {
                let mut attribution = just(floors);
                let less = lines(&mut attribution, floor);
                less.exact -= 1 + floor.spare;
                let said = missed(floors, &attribution);
                let [said] = said.as_slice() else {
                    panic!("{floor:?}: {said:?}");
                };
                assert!(said.starts_with(&floor.place()), "{said}");
                assert!(said.contains("are exact, "), "{said}");
                assert!(said.contains(&points(floor)), "{said}");
            }
        }
    }

    #[test]
    fn each_person_too_few_is_told_apart() {
        for floors in [TRACED, GENERATED, KILLED] {
            for floor in floors.iter().filter(|floor| floor.user.is_some()) {
                let mut attribution = just(floors);
                lines(&mut attribution, floor).user_exact -= 1 + floor.spare;
                let said = missed(floors, &attribution);
                let [said] = said.as_slice() else {
                    panic!("{floor:?}: {said:?}");
                };
                assert!(said.starts_with(&floor.place()), "{said}");
                assert!(said.contains("have their person, "), "{said}");
                assert!(said.contains(&points(floor)), "{said}");
            }
        }
    }

    #[test]
    fn what_was_not_measured_has_reached_nothing() {
        let said = missed(TRACED, &Attribution::default());
        assert_eq!(said.len(), TRACED.len());
        assert!(said.iter().all(|said| said.contains("no line to measure")));
    }

    #[test]
    fn everything_ambiguous_misses_every_floor() {
        let mut attribution = just(TRACED);
        for floor in TRACED {
            let lines = lines(&mut attribution, floor);
            *lines = RequestLines {
                total: 1000,
                ambiguous: 1000,
                ..RequestLines::default()
            };
        }
        let with_person = TRACED.iter().filter(|floor| floor.user.is_some());
        let floors = TRACED.len() + with_person.count();
        assert_eq!(missed(TRACED, &attribution).len(), floors);
    }

    #[test]
    fn only_workloads_that_were_measured_have_floors() {
        let recorded = |path: &str, wait| of(&Origin::Recorded(path.into()), wait, false);
        assert_eq!(
            recorded("corpus/truth/traced", "2s").as_deref(),
            Some(TRACED)
        );
        assert_eq!(recorded("corpus/truth/calm", "2s"), None);
        assert_eq!(recorded("corpus/emco/traced", "2s"), None);
        let generated = |kills| of(&Origin::Generated(3), "2s", kills);
        assert_eq!(generated(false).as_deref(), Some(GENERATED));
        assert_eq!(generated(true), Some(Vec::new()));
        let traced = Origin::Recorded("corpus/truth/traced".into());
        assert_eq!(of(&traced, "2s", true).as_deref(), Some(KILLED));
        let patient = recorded("corpus/truth/traced", LONGEST_WAIT).unwrap();
        assert_eq!(patient, [TRACED, PATIENT].concat());
    }

    #[test]
    fn background_lines_that_are_not_marked_are_told() {
        let said = |marked| {
            let mut attribution = Attribution::default();
            let dcm = attribution.by_service.entry("dcm".to_owned()).or_default();
            dcm.all.background_lines = BackgroundLines {
                total: 1000,
                marked,
                wrong: 0,
            };
            missed(PATIENT, &attribution)
        };
        assert_eq!(said(990), [""; 0]);
        let expected = "dcm: 98.90 % of 1000 background lines are marked, \
                        0.10 points below the floor of 99 %";
        assert_eq!(said(989), [expected]);
        assert_eq!(missed(PATIENT, &Attribution::default()).len(), 1);
    }
}
